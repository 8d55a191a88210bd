"""Silences the notices of libraries that do not apply here, and no others."""

import logging
import warnings


def quiet_libraries() -> None:
    """Keeps the libraries' greetings, tips and inapplicable advice off the terminal."""
    # These set their own level to INFO when they are imported.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # MLflow makes a new database and a new experiment for each run, which is as intended.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.loggers.mlflow").addFilter(_is_not_new_experiment)
    # The data is in memory: a worker process would only slow it down.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # Lightning's own call, deprecated by torch.
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")
    # A resumed run writes where it was.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty.*")


def _is_not_new_experiment(record: logging.LogRecord) -> bool:
    return not record.getMessage().endswith("not found. Creating it.")
