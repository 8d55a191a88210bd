"""Test checkpoints: `python -m mnist_vision.evaluate ckpt_path=outputs/.../best.ckpt`."""

from collections.abc import Callable

from omegaconf import DictConfig

from mnist_vision.cli.command import run_command


def main() -> None:
    """Run the command."""
    run_command(task, "evaluate")


def task(config: DictConfig) -> Callable[[], float]:
    """Prepare the test of a network, or of an average; the test returns its accuracy."""
    # torch and Lightning take seconds to import: not before the command line is checked.
    from mnist_vision.inference import checkpoint_evaluation, ensemble_evaluation

    if ensemble_evaluation.is_ensemble(config):
        return ensemble_evaluation.prepare(config)
    return checkpoint_evaluation.prepare(config)


if __name__ == "__main__":
    main()
