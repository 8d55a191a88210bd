"""Measure the project's speed as ratios in one run: `python -m mnist_vision.benchmark`."""

from omegaconf import DictConfig

from mnist_vision.cli.command import run_command


def main() -> None:
    """Runs the command."""
    run_command(task, "benchmark")


def task(config: DictConfig) -> None:
    """Measures the parts asked for and shows them as a table."""
    # torch and Lightning take seconds to import: not before the command line is known to be right.
    from mnist_vision.benchmarks.measures import run

    run(config)


if __name__ == "__main__":
    main()
