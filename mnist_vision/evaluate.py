"""Test a checkpoint: `python -m mnist_vision.evaluate ckpt_path=outputs/.../best.ckpt`."""

from omegaconf import DictConfig

from mnist_vision.cli.command import run_command


def main() -> None:
    """Run the command."""
    run_command(task, "evaluate")


def task(config: DictConfig) -> float:
    """Test the checkpoint; return its test accuracy."""
    # torch and Lightning take seconds to import: not before the command line is checked.
    from mnist_vision.training.checkpoint_evaluation import evaluate_checkpoint

    return evaluate_checkpoint(config)


if __name__ == "__main__":
    main()
