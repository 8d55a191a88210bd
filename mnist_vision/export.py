"""Export a trained network: `python -m mnist_vision.export ckpt_path=outputs/.../best.ckpt`."""

from collections.abc import Callable

from omegaconf import DictConfig

from mnist_vision.cli.command import run_command


def main() -> None:
    """Run the command."""
    run_command(task, "export")


def task(config: DictConfig) -> Callable[[], None]:
    """Prepare to export the network of a checkpoint."""
    # torch and Lightning take seconds to import: not before the command line is checked.
    from mnist_vision.inference.exporting import prepare

    return prepare(config)


if __name__ == "__main__":
    main()
