"""The data module of scenes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from mnist_vision.common.checks import Count, NonNegativeInt, Share, checked
from mnist_vision.data.augmentation import Augmentation
from mnist_vision.data.boxes import DigitBoxes
from mnist_vision.data.datamodule import MNISTDataModule, ValSize, identity_collate
from mnist_vision.data.scenes.drawing import draw_scenes
from mnist_vision.data.scenes.layout import CanvasSizes, NumDigits, Scales, SceneRules
from mnist_vision.data.scenes.scene_dataset import SceneBatches


class MNISTScenesDataModule(MNISTDataModule):
    """Scenes of several digits, as batches of images and of their digits' boxes and labels.

    `images` are float32 `[B, 1, S, S]` in [0, 1], `targets` are `DigitBoxes`, padded to the most
    digits of a scene. Training scenes show training digits only, validation scenes validation
    digits, test scenes test digits. `setup` lays out the scenes; tiles go to the device as bytes
    and are drawn there, a whole batch at a time. S is the largest canvas of the batch; pixels
    outside a smaller canvas are black. In training, the canvases of a batch have one size.

    Augmentation distorts the tile of each digit before it is drawn. The boxes are those of the
    distorted digits: they may overlap a little more than `max_overlap`, and end at the edge of the
    canvas.

    Args:
        root: See `MNISTDataModule`, also for `download`, `batch_size`, `eval_batch_size`,
            `val_size`, `split_seed` and `augmentation`. Batch sizes count scenes.
        canvas_sizes: See `SceneRules`, also for `num_digits`, `scales` and `max_overlap`.
        num_train_scenes: Scenes an epoch, at least 1; the same ones in each.
        num_val_scenes: Validation scenes, at least 1.
        num_test_scenes: Test scenes, at least 1.

    Raises:
        FieldError: If a setting is outside its range.
        UserError: If no canvas has room for what is asked.
    """

    gives_scenes = True

    @checked
    def __init__(
        self,
        root: str,
        *,
        canvas_sizes: CanvasSizes = (64, 96, 128),
        num_digits: NumDigits = (1, 5),
        scales: Scales = (0.6, 1.4),
        max_overlap: Share = 0.1,
        num_train_scenes: Count = 20_000,
        num_val_scenes: Count = 1000,
        num_test_scenes: Count = 2000,
        download: bool = True,
        batch_size: Count = 32,
        eval_batch_size: Count = 64,
        val_size: ValSize = 5000,
        split_seed: NonNegativeInt = 0,
        augmentation: Augmentation | None,
    ) -> None:
        super().__init__(
            root,
            download=download,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            val_size=val_size,
            split_seed=split_seed,
            augmentation=augmentation,
            # Digits are laid out on the CPU, and drawing takes far longer than sending them.
            device="cpu",
        )
        self.rules = SceneRules(canvas_sizes, num_digits, scales, max_overlap)
        self.num_train_scenes = num_train_scenes
        self.num_val_scenes = num_val_scenes
        self.num_test_scenes = num_test_scenes

    def setup(self, stage: str) -> None:
        """Lay out the scenes of a stage, from the digits that the parent loads for it.

        Validation and test sets have small canvases first. Training accuracy is measured on as many
        training scenes as there are validation scenes, or all, if there are fewer.

        Raises:
            UserError: If too few layouts fit on the canvases.
        """
        super().setup(stage)
        # A seed for each set, so that no set depends on those laid out before it.
        train_seed, val_seed, test_seed = (3 * self.split_seed + part for part in range(3))
        # The parent's loaders then batch scenes in the place of digits.
        if stage == "fit":
            train = self.rules.lay_out(self.train_set, self.num_train_scenes, train_seed)
            val = self.rules.lay_out(self.val_set, self.num_val_scenes, val_seed)
            sample = train.subset(torch.arange(min(len(val), len(train))))
            self.train_set = train
            self.val_set = val.by_canvas_size()
            self.train_sample = sample.by_canvas_size()
        elif stage == "test":
            test = self.rules.lay_out(self.test_set, self.num_test_scenes, test_seed)
            self.test_set = test.by_canvas_size()

    def train_dataloader(self) -> DataLoader[Any]:
        """Make batches of training scenes, in a new order in each epoch."""
        batches = SceneBatches(self.train_set, self.batch_size)
        return DataLoader(batches, batch_size=None, shuffle=True, collate_fn=identity_collate)

    def draw(self, batch: Any, distort: Callable[[Tensor], Tensor]) -> tuple[Tensor, DigitBoxes]:
        """Draw a batch of scenes, with digits after `distort`."""
        tiles, layouts = batch
        flat = (tiles.flatten(0, 1), layouts.labels.flatten())
        images, _ = super().draw(flat, distort)
        return draw_scenes(images.view(tiles.shape), layouts)
