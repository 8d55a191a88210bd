"""Silence those notices of libraries that do not apply here."""

import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

# By default MLflow sends usage data, and Weights & Biases error reports, to their vendors.
NO_REPORTS = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}


def quiet_libraries() -> None:
    """Keep greetings, tips and warnings of libraries that do not apply here off the terminal.

    Also turn off telemetry, unless environment variables turn it on.
    """
    for name, value in NO_REPORTS.items():
        os.environ.setdefault(name, value)
    # These set their own level to INFO when they are imported, and print if logging is not set up.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        logger.handlers.clear()
        logger.propagate = True
    # The table of trainer.enable_model_summary=true.
    logging.getLogger("lightning.pytorch.callbacks.model_summary").setLevel(logging.INFO)
    # Each run has an MLflow database of its own, with a new experiment.
    # If the disk is full, it prints tracebacks; the error itself is raised all the same.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    logging.getLogger("lightning.pytorch.loggers.mlflow").addFilter(_is_not_new_experiment)
    # The data is in memory, so worker processes would only slow loading down.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # The purpose of debug=overfit.
    warnings.filterwarnings("ignore", message="You requested to overfit but enabled .*")
    # MLflow logs mAP@0.5 as mAP0.5.
    warnings.filterwarnings("ignore", message="MLFlow only allows .* characters in metric name.*")
    # MLflow calls SQLAlchemy like this.
    warnings.filterwarnings("ignore", message="The ``noload`` loader strategy is deprecated.*")
    # Lightning calls a function that torch deprecates.
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")
    # The table counts weights, which are float32.
    warnings.filterwarnings(
        "ignore", message="Precision .* is not supported by the model summary.*"
    )
    # Damaged pictures are refused, or read as far as they go.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    # A resumed run writes into its directory.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty.*")


@contextmanager
def discard_output() -> Iterator[None]:
    """Discard what libraries print, log and warn of in this block; errors are raised as ever."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _is_not_new_experiment(record: logging.LogRecord) -> bool:
    return not record.getMessage().endswith("not found. Creating it.")
