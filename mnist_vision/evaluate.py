"""Test a checkpoint: `python -m mnist_vision.evaluate ckpt_path=outputs/.../best.ckpt`."""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mnist_vision.cli.command import run_command
from mnist_vision.common.conf import CONF_DIR
from mnist_vision.common.files import shown

log = logging.getLogger("mnist_vision.evaluate")  # __name__ is __main__ under python -m


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

    from mnist_vision.common.accelerators import check_accelerator
    from mnist_vision.common.quiet import quiet_libraries
    from mnist_vision.evaluation.measure import check_data, run_test
    from mnist_vision.runs.directory import RunDirectory
    from mnist_vision.runs.record import Evaluation
    from mnist_vision.runs.summary import figure_lines
    from mnist_vision.training.checkpoints import read_checkpoint, rebuild_classifier

    quiet_libraries()
    check_accelerator("trainer.accelerator", config.trainer.accelerator)
    checkpoint = read_checkpoint(config.ckpt_path)
    model = rebuild_classifier(checkpoint, config.ckpt_path)
    OmegaConf.set_struct(config, False)
    config.data = _data_settings(config, checkpoint)
    datamodule = instantiate(config.data, _convert_="all")
    check_data(model, datamodule)
    outcome = run_test(model, datamodule, accelerator=config.trainer.accelerator)

    evaluation = Evaluation(
        architecture=model.architecture,
        ckpt_path=str(Path(config.ckpt_path).expanduser().resolve()),
        test=outcome.figures(),
        seconds={"test": outcome.seconds},
    )
    path = RunDirectory(config.output_dir).write_evaluation(evaluation, outcome.to_record())
    log.info("%s from %s", model.architecture, shown(config.ckpt_path))
    for line in figure_lines(evaluation.test):
        log.info(line)
    log.info("results            %s", shown(path))
    return evaluation.test.accuracy


def _data_settings(config: DictConfig, checkpoint: dict[str, Any]) -> Any:
    """The data to test on: those that are named or, with what is set, those of the training.

    Raises:
        UserError: If none are named, and the checkpoint does not hold the settings of its run.
    """
    from mnist_vision.runs.targets import check_targets
    from mnist_vision.training.checkpoints import stored_settings

    if "_target_" in config.data:
        return config.data
    where = f"ckpt_path={config.ckpt_path}"
    trained_on = stored_settings(checkpoint, config.ckpt_path).settings.get("data")
    check_targets(trained_on, CONF_DIR, (), where)
    changes = {key: value for key, value in config.data.items() if value is not None}
    return OmegaConf.merge(trained_on, changes)


if __name__ == "__main__":
    main()
