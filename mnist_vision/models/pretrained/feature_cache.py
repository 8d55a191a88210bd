"""Features of a frozen network, computed once an image."""

from collections.abc import Callable
from hashlib import blake2b

import torch
from torch import Tensor

MAX_BYTES = 2**30


class FeatureCache:
    """A cache of the features of images.

    The key of an image is a digest of its pixels: batches are shuffled and carry no indices. When
    the cache holds `MAX_BYTES`, the features of further images are computed each time.
    """

    def __init__(self) -> None:
        self._features: dict[bytes, Tensor] = {}

    @torch.no_grad()
    def features(self, images: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Get the features of images, computing those that are not in the cache.

        Args:
            images: `Tensor[B, ...]`.
            compute: The frozen network: maps each image, whatever its batch, to its features.

        Returns:
            `Tensor[B, ...]`, the same as `compute(images)`.
        """
        pixels = images.cpu().contiguous().flatten(1).view(torch.uint8).numpy()
        keys = [blake2b(image.tobytes()).digest() for image in pixels]
        found = [self._features.get(key) for key in keys]
        missing = [index for index, features in enumerate(found) if features is None]
        if missing:
            for index, features in zip(missing, compute(images[missing]), strict=True):
                found[index] = features
                self._keep(keys[index], features)
        # Stacking copies: training cannot use tensors that inference mode has made.
        return torch.stack([features for features in found if features is not None])

    def _keep(self, key: bytes, features: Tensor) -> None:
        num_bytes = features.numel() * features.element_size()
        if (len(self._features) + 1) * num_bytes <= MAX_BYTES:
            self._features[key] = features.clone()  # a view would keep its whole batch
