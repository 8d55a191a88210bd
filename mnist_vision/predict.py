"""Read the digits of pictures: `python -m mnist_vision.predict input=PICTURE`."""

from collections.abc import Callable

from omegaconf import DictConfig

from mnist_vision.cli.command import run_command


def main() -> None:
    """Run the command."""
    run_command(task, "predict")


def task(config: DictConfig) -> Callable[[], None]:
    """Prepare to read pictures, and to write what was read."""
    # numpy and Pillow take time to import: not before the command line is checked.
    from mnist_vision.inference.file_prediction import prepare

    return prepare(config)


if __name__ == "__main__":
    main()
