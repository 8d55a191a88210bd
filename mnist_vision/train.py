"""Train an architecture, test it, keep the results: `python -m mnist_vision.train model=cnn`."""

from collections.abc import Callable

from omegaconf import DictConfig

from mnist_vision.cli.command import run_command


def main() -> None:
    """Run the command; `ckpt_path=FILE` continues a run with the settings it was started with."""
    run_command(task, "train", can_resume=True)


def task(config: DictConfig) -> Callable[[], float]:
    """Prepare a run, which returns the best validation accuracy: a search maximises it."""
    # torch and Lightning take seconds to import: not before the command line is checked.
    from mnist_vision.training.run import prepare

    return prepare(config)


if __name__ == "__main__":
    main()
