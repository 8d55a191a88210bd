"""Features of a frozen network, computed once an image."""

from collections.abc import Callable
from hashlib import blake2b

import torch
from torch import Tensor

MAX_BYTES = 2**30


class FeatureMemo:
    """Remembers the features of images that it has seen, by what is in the images.

    So it needs to know nothing of where images come from: those that come again, in another order
    or another batch, are found; augmented ones, which do not, are forgotten an epoch later, and so
    are those that the next epoch gives to another process. What goes beyond `MAX_BYTES` is computed
    each time.
    """

    def __init__(self) -> None:
        self._recent: dict[bytes, Tensor] = {}
        self._earlier: dict[bytes, Tensor] = {}

    def start_epoch(self) -> None:
        """Forgets the images that did not come since the last call."""
        self._earlier, self._recent = self._recent, {}

    @torch.no_grad()
    def features(self, images: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Gives `compute(images)`, computing what is not remembered.

        Args:
            images: `Tensor[B, ...]`.
            compute: The frozen network: maps each image, whatever its batch, to its features.
        """
        pixels = images.cpu().contiguous().flatten(1).view(torch.uint8).numpy()
        contents = [blake2b(image.tobytes()).digest() for image in pixels]
        known = [self._recall(content) for content in contents]
        unknown = [index for index, features in enumerate(known) if features is None]
        if unknown:
            for index, features in zip(unknown, compute(images[unknown]), strict=True):
                known[index] = features
                self._remember(contents[index], features)
        # A copy: what inference mode has made could not be learned from.
        return torch.stack([features for features in known if features is not None])

    def _recall(self, content: bytes) -> Tensor | None:
        features = self._earlier.pop(content, None)
        if features is not None:
            self._recent[content] = features
        return self._recent.get(content)

    def _remember(self, content: bytes, features: Tensor) -> None:
        num_bytes = features.numel() * features.element_size()
        if (len(self._recent) + len(self._earlier) + 1) * num_bytes <= MAX_BYTES:
            self._recent[content] = features.clone()  # a view would keep its whole batch
