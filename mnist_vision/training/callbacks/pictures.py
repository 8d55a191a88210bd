"""Log pictures to TensorBoard before the first step."""

from lightning import Callback, LightningModule, Trainer

from mnist_vision.training.tensorboard import log_start


class Pictures(Callback):
    """Log the graph of the network and a grid of augmented training images."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log them once, in the first process; a resumed run has them."""
        if trainer.is_global_zero and trainer.global_step == 0:
            for logger in trainer.loggers:
                log_start(logger, pl_module, trainer.datamodule)  # type: ignore[arg-type,attr-defined]
