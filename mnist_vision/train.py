"""Train an architecture, test it, keep the results: `python -m mnist_vision.train model=cnn`."""

from omegaconf import DictConfig

from mnist_vision.cli.command import run_command


def main() -> None:
    """Runs the command; `ckpt_path=FILE` of a run brings the settings it was started with."""
    run_command(task, "train", can_resume=True)


def task(config: DictConfig) -> float:
    """One run: data, model, trainer, fit, test, results.

    Returns:
        The best validation accuracy, which is what a search maximises.
    """
    # torch and Lightning take seconds to import: not before the command line is known to be right.
    from mnist_vision.training.run import run

    return run(config)


if __name__ == "__main__":
    main()
