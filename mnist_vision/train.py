"""Train an architecture, test it, keep the results: `python -m mnist_vision.train model=cnn`."""

from omegaconf import DictConfig

from mnist_vision.cli.command import run_command


def main() -> None:
    """Run the command; `ckpt_path=FILE` continues a run with the settings it was started with."""
    run_command(task, "train", can_resume=True)


def task(config: DictConfig) -> float:
    """Train and test; return the best validation accuracy, which a search maximises."""
    # torch and Lightning take seconds to import: not before the command line is checked.
    from mnist_vision.training.run import run

    return run(config)


if __name__ == "__main__":
    main()
