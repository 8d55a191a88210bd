"""Measure speed against common baselines: `python -m mnist_vision.benchmark`."""

from collections.abc import Callable

from omegaconf import DictConfig

from mnist_vision.cli.command import run_command


def main() -> None:
    """Run the command."""
    run_command(task, "benchmark")


def task(config: DictConfig) -> Callable[[], None]:
    """Prepare to measure the chosen parts and to print them as a table."""
    # Importing torch and Lightning takes seconds: check the command line first.
    from mnist_vision.benchmarks.benchmark_suite import prepare

    return prepare(config)


if __name__ == "__main__":
    main()
