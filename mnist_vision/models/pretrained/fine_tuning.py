"""The base class of networks with ImageNet weights: input, weights, fine-tuning."""

import logging
from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import WeightsEnum

from mnist_vision.common.checks import Dropout, NonNegativeInt, Positive, check, checked
from mnist_vision.common.errors import FieldError
from mnist_vision.data.constants import NUM_CLASSES, PIXEL_MEAN, PIXEL_STD
from mnist_vision.models.classifier import DigitClassifier
from mnist_vision.models.pretrained.feature_cache import FeatureCache
from mnist_vision.models.pretrained.small_map_conv import use_small_map_convs
from mnist_vision.models.pretrained.weights import find_weights
from mnist_vision.models.standardization import standardize

log = logging.getLogger(__name__)


class PretrainedClassifier(DigitClassifier, ABC):
    """torchvision's network for ImageNet with a new last layer for the ten digits.

    The convolutions are divided into blocks, `features[a:b]`. The layers after them, `classifier`,
    are the head, which always trains. The last `num_trainable_blocks` blocks train too: all from
    the start or, with `epochs_per_block`, one more after every `epochs_per_block` epochs, beginning
    with the last block. Frozen blocks run in evaluation mode and get no gradient. While all blocks
    are frozen and images are not augmented, the features of each image are computed once.

    Lightning's `BackboneFinetuning` adds a parameter group for each layer that it unfreezes. Here
    all groups exist from the start, so that the schedule and a resumed run need no special case.

    An image is scaled to `image_size`, and its grey channel is copied to red, green and blue. If
    the last feature map is smaller than the output of the adaptive pooling, the pooling only
    repeats values. It is then removed, and its effect is folded into a smaller first linear layer.

    A subclass names the network, the ends of its blocks, and the smallest image size.

    Args:
        image_size: Side in pixels that images are scaled to.
        num_trainable_blocks: Blocks of convolutions that train, 0 (the head alone) to all.
        weights: The weights that training starts from: a name of torchvision's, the path of a state
            dict with torchvision's names, of the whole network or of its convolutions alone, or
            None for random weights. `load_pretrained` reads them.
        epochs_per_block: Epochs after which one more block trains, at least 1; 0 to train all from
            the start.
        backbone_lr_ratio: Learning rate of the convolutions over that of the head, above 0.
        dropout: Probability of dropping a unit in the head, 0 to 0.95.
        label_smoothing: Share of each target that is spread evenly over the ten digits, 0 to 0.95.
            Source: C. Szegedy et al., "Rethinking the Inception architecture for computer
            vision", 2016, https://arxiv.org/abs/1512.00567.
        standardize_images: Whether each image first gets the mean and the standard deviation of
            MNIST's pixels, so that brightness and contrast do not matter.

    Raises:
        FieldError: If an argument is outside its range.
    """

    known_weights: ClassVar[type[WeightsEnum]]
    block_ends: ClassVar[tuple[int, ...]]
    min_image_size: ClassVar[int]
    mean: Tensor
    std: Tensor

    @checked
    def __init__(
        self,
        image_size: int,
        num_trainable_blocks: int,
        weights: str | None,
        epochs_per_block: NonNegativeInt = 0,
        backbone_lr_ratio: Positive = 0.2,
        dropout: Dropout = 0.5,
        label_smoothing: Dropout = 0.0,
        standardize_images: bool = True,
    ) -> None:
        super().__init__()
        self._cache: FeatureCache | None = None
        check("image_size", image_size, Annotated[int, Field(ge=self.min_image_size)])
        blocks = Annotated[int, Field(ge=0, le=len(self.block_ends))]
        check("num_trainable_blocks", num_trainable_blocks, blocks)
        self.save_hyperparameters(logger=False)

        with torch.device("meta"):  # shapes only: most weights of the original are not needed
            network = self.make_network(dropout)
            use_small_map_convs(network.features)
            self._shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
            feature_map = network.features(torch.empty(1, 3, image_size, image_size))
            _, channels, self._side, _ = feature_map.shape
            self._pool_side, _ = network.avgpool.output_size
            _fit_to_digits(network.classifier, channels * min(self._side, self._pool_side) ** 2)
        self.features: nn.Sequential = network.features.to_empty(device="cpu")
        self.classifier: nn.Sequential = network.classifier.to_empty(device="cpu")
        self.pool = network.avgpool if self._side > self._pool_side else nn.Identity()
        _initialise(self)
        self.register_buffer("mean", torch.full([3, 1, 1], PIXEL_MEAN))
        self.register_buffer("std", torch.full([3, 1, 1], PIXEL_STD))
        # Pixels stored next to their channels: the layout that convolutions on a CPU are fast in.
        self.to(memory_format=torch.channels_last)
        self._freeze(num_trainable_blocks)

    @staticmethod
    @abstractmethod
    def make_network(dropout: float) -> Any:
        """Make torchvision's network: `features`, `avgpool` and `classifier`."""

    @property
    def blocks(self) -> list[nn.Sequential]:
        """The convolutions, from the image to the head."""
        starts = (0, *self.block_ends)
        return [self.features[a:b] for a, b in zip(starts, self.block_ends, strict=False)]

    def load_pretrained(self) -> None:
        """Load the weights that training starts from, and the normalisation of their input.

        Raises:
            FieldError: If the weights cannot be found or do not fit.
        """
        if self.hparams["weights"] is None:
            return
        found = find_weights(self.hparams["weights"], self.known_weights, self._shapes)
        first = f"classifier.{_linear_layers(self.classifier)[0]}.weight"
        if first in found.tensors and self._side < self._pool_side:
            found.tensors[first] = collapse(found.tensors[first], self._side, self._pool_side)
        # Layers that the weights lack, at least the last one, keep their random values.
        self.load_state_dict(found.tensors, strict=False)
        self.mean.copy_(found.mean[:, None, None])
        self.std.copy_(found.std[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits of images.

        Args:
            images: `Tensor[B, 1, H, W]` float32 in [0, 1].

        Returns:
            Logits `Tensor[B, 10]`.
        """
        if self._cache is None:
            features = self._compute_features(images)
        else:
            features = self._cache.features(images, self._compute_features)
        logits: Tensor = self.classifier(features)
        return logits

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Compute the cross-entropy of the logits and the smoothed targets."""
        smoothing = self.hparams["label_smoothing"]
        return {
            "loss_classifier": F.cross_entropy(self(images), targets, label_smoothing=smoothing)
        }

    def _compute_features(self, images: Tensor) -> Tensor:
        if self.hparams["standardize_images"]:
            images = standardize(images)
        scaled = F.interpolate(images, [self.hparams["image_size"]] * 2, mode="bilinear")
        features: Tensor = self.pool(self.features((scaled - self.mean) / self.std))
        return features.flatten(1)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """List the parameters of the head, and of all blocks that train in some epoch."""
        groups = [
            {"name": "head", "params": list(self.classifier.parameters())},
            {
                "name": "backbone",
                "params": [p for block in self._trainable_blocks() for p in block.parameters()],
                "lr_ratio": self.hparams["backbone_lr_ratio"],
            },
        ]
        return [group for group in groups if group["params"]]

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights, and drop the features of the old ones."""
        self._cache = None
        return super().load_state_dict(*args, **kwargs)

    def on_fit_start(self) -> None:
        """Check that the blocks can be unfrozen one by one.

        Raises:
            FieldError: If several processes train and blocks are unfrozen one by one.
        """
        self._cache = None
        epochs_per_block = self.hparams["epochs_per_block"]
        if not epochs_per_block:
            return
        if self.trainer.world_size > 1:
            problem = "must be 0 where several processes train: all of them need the same weights"
            raise FieldError("epochs_per_block", epochs_per_block, problem)
        num_blocks, max_epochs = self.hparams["num_trainable_blocks"], self.trainer.max_epochs
        assert max_epochs is not None
        num_reached = (max_epochs - 1) // epochs_per_block
        if num_reached < num_blocks:
            log.warning(
                f"epochs_per_block={epochs_per_block}: only {num_reached} of {num_blocks} blocks "
                f"will train in {max_epochs} epochs"
            )

    def on_train_epoch_start(self) -> None:
        """Freeze the blocks that do not train in this epoch; if none trains, cache features."""
        num_blocks = self.hparams["num_trainable_blocks"]
        if self.hparams["epochs_per_block"]:
            num_blocks = min(num_blocks, self.current_epoch // self.hparams["epochs_per_block"])
        self._freeze(num_blocks)
        for block in self.blocks:
            block.train(any(p.requires_grad for p in block.parameters()))
        datamodule = getattr(self.trainer, "datamodule", None)
        if num_blocks or datamodule is None or datamodule.augmentation is not None:
            self._cache = None
        elif self._cache is None:
            self._cache = FeatureCache()

    def on_fit_end(self) -> None:
        """Drop the features, and freeze what is never trained."""
        self._cache = None
        self._freeze(self.hparams["num_trainable_blocks"])
        self.features.train()

    def _trainable_blocks(self) -> list[nn.Sequential]:
        """The blocks that train in some epoch."""
        return self.blocks[len(self.block_ends) - self.hparams["num_trainable_blocks"] :]

    def _freeze(self, num_trainable_blocks: int) -> None:
        """Make the last blocks trainable, and no other."""
        num_frozen = len(self.block_ends) - num_trainable_blocks
        for index, block in enumerate(self.blocks):
            block.requires_grad_(index >= num_frozen)


def collapse(weight: Tensor, side: int, pool_side: int) -> Tensor:
    """Fold adaptive average pooling to a larger map into the layer after it.

    Args:
        weight: Weight of the layer after the pooling, `Tensor[units, C * pool_side**2]`.
        side: Side of the feature map before the pooling.
        pool_side: Side of the map after it, larger than `side`.

    Returns:
        `Tensor[units, C * side**2]`: weight of a layer with the same output without pooling.
    """
    positions = torch.eye(side**2).unflatten(1, (1, side, side))
    pooling = F.adaptive_avg_pool2d(positions, pool_side).flatten(1)
    collapsed: Tensor = weight.unflatten(1, (-1, pool_side**2)) @ pooling.T
    return collapsed.flatten(1)


def _fit_to_digits(classifier: nn.Sequential, num_features: int) -> None:
    """Replace the first layer by one for `num_features`, and the last by one for ten digits."""
    first, *_, last = _linear_layers(classifier)
    hidden, _ = classifier[first].get_parameter("weight").shape
    _, last_hidden = classifier[last].get_parameter("weight").shape
    classifier[first] = nn.Linear(num_features, hidden)
    classifier[last] = nn.Linear(last_hidden, NUM_CLASSES)


def _linear_layers(classifier: nn.Sequential) -> list[int]:
    return [index for index, layer in enumerate(classifier) if isinstance(layer, nn.Linear)]


def _initialise(network: nn.Module) -> None:
    """Initialise weights at random, as torchvision initialises its VGG.

    Convolutions keep the variance of activations. The weights of fully connected layers are small,
    so that all digits are almost equally likely at first.

    Source: K. He et al., "Delving deep into rectifiers", 2015, https://arxiv.org/abs/1502.01852.
    """
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
        elif isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.get_parameter("bias"))
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.get_parameter("bias"))
