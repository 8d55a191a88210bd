"""Test a checkpoint: `python -m mnist_vision.evaluate ckpt_path=outputs/.../best.ckpt`."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from mnist_vision.command import run_command
from mnist_vision.files import EVALUATION_FILE, PREDICTIONS_FILE, write_json

log = logging.getLogger(__name__)


def main() -> None:
    """Runs the command."""
    run_command(task, "evaluate")


def task(config: DictConfig) -> float:
    """Tests a checkpoint on all test images; gives the figures of its run's results.json.

    Returns:
        The test accuracy.
    """
    # torch and Lightning take seconds to import: not before the command line is known to be right.
    from hydra.utils import instantiate

    from mnist_vision.accelerators import check_accelerator
    from mnist_vision.checkpoints import load_classifier
    from mnist_vision.evaluation import run_test
    from mnist_vision.quiet import quiet_libraries
    from mnist_vision.results import test_lines, write_predictions

    quiet_libraries()
    check_accelerator("trainer.accelerator", config.trainer.accelerator)
    model = load_classifier(config.ckpt_path)
    datamodule = instantiate(config.data, _convert_="all")
    model.check_data(datamodule.gives_scenes)
    outcome = run_test(model, datamodule, accelerator=config.trainer.accelerator)

    output_dir = Path(config.output_dir)
    summary = outcome.summary()
    write_predictions(output_dir / PREDICTIONS_FILE, outcome)
    write_json(
        output_dir / EVALUATION_FILE,
        {
            "version": 1,
            "architecture": model.architecture,
            "ckpt_path": str(Path(config.ckpt_path).resolve()),
            "test": summary,
            "seconds": {"test": outcome.seconds},
        },
    )
    log.info("%s from %s", model.architecture, config.ckpt_path)
    for line in test_lines(summary):
        log.info(line)
    log.info("results            %s", output_dir / EVALUATION_FILE)
    accuracy: float = summary["accuracy"]
    return accuracy


if __name__ == "__main__":
    main()
