"""Measure what Lightning costs: an epoch under its Trainer against a plain loop."""

import time
from typing import Any

from hydra import compose
from hydra.utils import instantiate
from lightning import Callback, Trainer, seed_everything
from omegaconf import DictConfig
from torch.nn import functional as F

from mnist_vision.benchmarks.harness import (
    Row,
    choose_device,
    load_data,
    medians,
    seconds,
    synchronize,
    training_batches,
)
from mnist_vision.data.augmentation import Augmentation
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.models.classifier import DigitClassifier
from mnist_vision.training.callbacks.history import History

CALLBACKS = ("progress", "finite_loss", "learning_rate")


def measure_lightning(config: DictConfig) -> list[Row]:
    """Measure one training epoch of the default recipe, with and without Lightning."""
    datamodule = load_data(config)
    device = choose_device(config)
    if config.data.device == "auto" and device.type == "cuda":
        datamodule.train_set = datamodule.train_set.to(device)  # where the Trainer's are kept
    settings = compose("train")
    ours, theirs = medians(
        [
            lambda: _lightning_epoch(settings, config),
            lambda: _plain_epoch(settings, config, datamodule),
        ],
        config.repeats,
    )
    ratio = ours / theirs
    return [Row("training epoch", ours, theirs, "s", ratio, f"Lightning adds {ratio - 1:+.1%}")]


def _lightning_epoch(settings: DictConfig, config: DictConfig) -> float:
    clock = _EpochClock()
    callbacks = [instantiate(settings.callbacks[name]) for name in CALLBACKS]
    trainer: Trainer = instantiate(
        settings.trainer,
        max_epochs=1,
        limit_val_batches=0,
        accelerator=config.accelerator,
        precision="32-true",  # as the plain loop
        enable_checkpointing=False,
        callbacks=[History(), *callbacks, clock],
        logger=list(instantiate(settings.logger).values()),
    )
    datamodule = instantiate(config.data, _convert_="all")
    trainer.fit(_network(settings), datamodule=datamodule)
    return clock.seconds


def _plain_epoch(settings: DictConfig, config: DictConfig, datamodule: MNISTDataModule) -> float:
    device = choose_device(config)
    model = _network(settings).to(device)
    augmentation = instantiate(config.data.augmentation) or Augmentation()
    optimizer = instantiate(settings.optimizer)(model.parameters())
    num_steps = len(datamodule.train_dataloader())
    scheduler = instantiate(settings.scheduler)(optimizer, num_steps)

    def train() -> None:
        for images, targets in training_batches(datamodule, device):
            augmented = augmentation.degrade(augmentation.distort_digits(images))
            loss = F.cross_entropy(model(augmented), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()

    return seconds(train)


def _network(settings: DictConfig) -> DigitClassifier:
    seed_everything(0, verbose=False)
    model: DigitClassifier = instantiate(settings.model, _convert_="all")
    model.set_recipe(instantiate(settings.optimizer), instantiate(settings.scheduler))
    return model.train()


class _EpochClock(Callback):
    """Measure the time of an epoch, without the set-up before it."""

    seconds = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        synchronize()
        self.seconds = -time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        synchronize()
        self.seconds += time.perf_counter()
