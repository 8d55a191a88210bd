"""What the networks that come with ImageNet weights share: input, weights, fine-tuning."""

import logging
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import WeightsEnum

from mnist_vision.common.errors import FieldError, UserError, check_real, check_whole
from mnist_vision.data.mnist import NUM_CLASSES, PIXEL_MEAN, PIXEL_STD
from mnist_vision.models.classifier import DigitClassifier
from mnist_vision.models.pretrained.feature_memo import FeatureMemo
from mnist_vision.models.pretrained.small_map_conv import use_small_map_convs
from mnist_vision.models.pretrained.weights import find_weights

log = logging.getLogger(__name__)


class PretrainedClassifier(DigitClassifier, ABC):
    """torchvision's network for ImageNet, whose last layer is made anew for the ten digits.

    Its convolutions are cut into blocks, `features[a:b]`; what follows them, `classifier`, is its
    head. The head always trains, and of the blocks the last `num_trainable_blocks`: all from the
    start or, with `epochs_per_block`, one more, from the last on, each time that many epochs are
    over. What does not train takes part as in evaluation and gets no gradient. While no block
    trains, the features of an image that comes again, not augmented, are computed once and
    remembered.

    An image is scaled to `image_size` and its grey used as red, green and blue. Where the last
    feature map is smaller than what the pooling in front of the first fully connected layer makes
    of it, by repeating and averaging, the pooling is left out and that layer made smaller to the
    same effect.

    A subclass says which network it is, where its blocks end, and how small an image may be.

    Args:
        image_size: Side in pixels that images are scaled to.
        num_trainable_blocks: Blocks of convolutions that train, 0 (the head alone) to all.
        weights: Where training starts: the name of weights that torchvision has, the path of a
            state dict by torchvision's names, of the whole network or of its convolutions alone, or
            None for random weights. Read by `load_pretrained`, not here.
        epochs_per_block: Epochs after which another block begins to train, at least 1; 0 for no
            waiting.
        backbone_lr_ratio: The learning rate of convolutions, as a multiple of the head's, above 0.
        dropout: Probability of dropping a unit in the head, 0 to 0.95.
        label_smoothing: Share of each target that training spreads evenly over the ten digits, 0
            to 0.95. Source: C. Szegedy et al., "Rethinking the Inception architecture for computer
            vision", 2016, https://arxiv.org/abs/1512.00567.

    Raises:
        FieldError: If an argument is outside its range.
    """

    known_weights: ClassVar[type[WeightsEnum]]
    block_ends: ClassVar[tuple[int, ...]]
    min_image_size: ClassVar[int]
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        image_size: int,
        num_trainable_blocks: int,
        weights: str | None,
        epochs_per_block: int = 0,
        backbone_lr_ratio: float = 0.2,
        dropout: float = 0.5,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self._memo: FeatureMemo | None = None
        if weights is not None and not isinstance(weights, str):
            raise FieldError("weights", weights, "a name, a path, or null")
        check_whole("image_size", image_size, self.min_image_size)
        check_whole("num_trainable_blocks", num_trainable_blocks, 0, len(self.block_ends))
        check_whole("epochs_per_block", epochs_per_block, 0)
        check_real("backbone_lr_ratio", backbone_lr_ratio, 0, open_low=True)
        check_real("dropout", dropout, 0, 0.95)
        check_real("label_smoothing", label_smoothing, 0, 0.95)
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
        """The network as torchvision has it: `features`, `avgpool` and `classifier`."""

    @property
    def blocks(self) -> list[nn.Sequential]:
        """The convolutions, from the image to the head."""
        starts = (0, *self.block_ends)
        return [self.features[a:b] for a, b in zip(starts, self.block_ends, strict=False)]

    def load_pretrained(self) -> None:
        """Loads the weights that training starts from, and what they ask of the input.

        Raises:
            UserError: If they cannot be had or do not fit.
        """
        if self.hparams["weights"] is None:
            return
        found = find_weights(self.hparams["weights"], self.known_weights, self._shapes)
        first = f"classifier.{_linear_layers(self.classifier)[0]}.weight"
        if first in found.tensors and self._side < self._pool_side:
            found.tensors[first] = collapse(found.tensors[first], self._side, self._pool_side)
        # What is not among them, the last layer at least, stays as it was made.
        self.load_state_dict(found.tensors, strict=False)
        self.mean.copy_(found.mean[:, None, None])
        self.std.copy_(found.std[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Maps images to logits.

        Args:
            images: `Tensor[B, 1, H, W]` float32 in [0, 1].

        Returns:
            Logits `Tensor[B, 10]`.
        """
        if self._memo is None:
            features = self._compute_features(images)
        else:
            features = self._memo.features(images, self._compute_features)
        logits: Tensor = self.classifier(features)
        return logits

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The cross-entropy of the logits and the smoothed targets."""
        smoothing = self.hparams["label_smoothing"]
        return {
            "loss_classifier": F.cross_entropy(self(images), targets, label_smoothing=smoothing)
        }

    def _compute_features(self, images: Tensor) -> Tensor:
        scaled = F.interpolate(images, [self.hparams["image_size"]] * 2, mode="bilinear")
        features: Tensor = self.pool(self.features((scaled - self.mean) / self.std))
        return features.flatten(1)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The head's, and those of the blocks that train, now or later."""
        groups = [
            {"name": "head", "params": list(self.classifier.parameters())},
            {
                "name": "backbone",
                # By the setting, not by what is frozen just now: an epoch may have frozen more.
                "params": [p for block in self._trainable_blocks() for p in block.parameters()],
                "lr_ratio": self.hparams["backbone_lr_ratio"],
            },
        ]
        return [group for group in groups if group["params"]]

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Like any module's; what the old weights made of images is forgotten."""
        self._memo = None
        return super().load_state_dict(*args, **kwargs)

    def on_fit_start(self) -> None:
        """Forgets what an earlier training may have left.

        Raises:
            UserError: If blocks are to wait for their turn and several processes train.
        """
        self._memo = None
        epochs_per_block = self.hparams["epochs_per_block"]
        if not epochs_per_block:
            return
        if self.trainer.world_size > 1:
            raise UserError(
                f"model.epochs_per_block={epochs_per_block}: several processes need all weights "
                "that train from the start; set model.epochs_per_block=0, or trainer.devices=1"
            )
        num_blocks, max_epochs = self.hparams["num_trainable_blocks"], self.trainer.max_epochs
        assert max_epochs is not None
        num_reached = (max_epochs - 1) // epochs_per_block
        if num_reached < num_blocks:
            log.warning(
                f"model.epochs_per_block={epochs_per_block}: of {num_blocks} blocks only "
                f"{num_reached} will train within trainer.max_epochs={max_epochs}"
            )

    def on_train_epoch_start(self) -> None:
        """Freezes the blocks that do not train in this epoch; if none does, remembers features."""
        num_blocks = self.hparams["num_trainable_blocks"]
        if self.hparams["epochs_per_block"]:
            num_blocks = min(num_blocks, self.current_epoch // self.hparams["epochs_per_block"])
        self._freeze(num_blocks)
        for block in self.blocks:
            block.train(any(p.requires_grad for p in block.parameters()))
        if num_blocks:
            self._memo = None
            return
        self._memo = self._memo or FeatureMemo()
        self._memo.start_epoch()

    def on_fit_end(self) -> None:
        """Forgets the features, and is as it was before."""
        self._memo = None
        self._freeze(self.hparams["num_trainable_blocks"])
        self.features.train()

    def _trainable_blocks(self) -> list[nn.Sequential]:
        """Those that train, now or later."""
        return self.blocks[len(self.block_ends) - self.hparams["num_trainable_blocks"] :]

    def _freeze(self, num_trainable_blocks: int) -> None:
        """Leaves the last blocks trainable, and no other."""
        num_frozen = len(self.block_ends) - num_trainable_blocks
        for index, block in enumerate(self.blocks):
            block.requires_grad_(index >= num_frozen)


def collapse(weight: Tensor, side: int, pool_side: int) -> Tensor:
    """Takes adaptive average pooling to a larger map into the layer behind it.

    Args:
        weight: Of a layer that follows the pooling, `Tensor[units, C * pool_side**2]`.
        side: Side of the feature map in front of the pooling.
        pool_side: Side of the map behind it, larger than `side`.

    Returns:
        `Tensor[units, C * side**2]`: of a layer that gives the same without the pooling.
    """
    positions = torch.eye(side**2).unflatten(1, (1, side, side))
    pooling = F.adaptive_avg_pool2d(positions, pool_side).flatten(1)
    collapsed: Tensor = weight.unflatten(1, (-1, pool_side**2)) @ pooling.T
    return collapsed.flatten(1)


def _fit_to_digits(classifier: nn.Sequential, num_features: int) -> None:
    """Makes the first layer anew for so many features, and the last for the ten digits."""
    first, *_, last = _linear_layers(classifier)
    hidden, _ = classifier[first].get_parameter("weight").shape
    _, last_hidden = classifier[last].get_parameter("weight").shape
    classifier[first] = nn.Linear(num_features, hidden)
    classifier[last] = nn.Linear(last_hidden, NUM_CLASSES)


def _linear_layers(classifier: nn.Sequential) -> list[int]:
    return [index for index, layer in enumerate(classifier) if isinstance(layer, nn.Linear)]


def _initialise(network: nn.Module) -> None:
    """Random weights as torchvision gives its VGG.

    Convolutions keep activations at their size; fully connected layers are small, so that
    training starts from near equal odds.

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
