"""Silences the notices of libraries that do not apply here, and no others."""

import logging
import os
import warnings

# MLflow and Weights & Biases report their use and their errors to their makers.
NO_REPORTS = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}


def quiet_libraries() -> None:
    """Keeps the libraries' greetings, tips and inapplicable advice off the terminal.

    Nor do they report to their makers, unless the environment says that they may.
    """
    for name, value in NO_REPORTS.items():
        os.environ.setdefault(name, value)
    # These set their own level to INFO when they are imported.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # MLflow makes a new database and a new experiment for each run, which is as intended.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.loggers.mlflow").addFilter(_is_not_new_experiment)
    # The data is in memory: a worker process would only slow it down.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # As it should: debug=overfit.
    warnings.filterwarnings("ignore", message="You requested to overfit but enabled .*")
    # mAP@0.5 is mAP0.5 there.
    warnings.filterwarnings("ignore", message="MLFlow only allows .* characters in metric name.*")
    # MLflow's own use of SQLAlchemy.
    warnings.filterwarnings("ignore", message="The ``noload`` loader strategy is deprecated.*")
    # Lightning's own call, deprecated by torch.
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")
    # A resumed run writes where it was.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty.*")


def _is_not_new_experiment(record: logging.LogRecord) -> bool:
    return not record.getMessage().endswith("not found. Creating it.")
