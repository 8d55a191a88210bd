"""The figures of the lab's write-up, which this project does again."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reported:
    """What the write-up reports of an architecture; None and () for what it does not.

    Args:
        title: The architecture's name for people.
        figures: By the names that runs have them under.
        losses: Training loss per epoch.
        is_pretrained: Whether its network had learned on ImageNet before.
    """

    title: str
    figures: dict[str, float]
    losses: tuple[float, ...] = ()
    is_pretrained: bool = False


REPORTED = {
    "cnn": Reported(
        "CNN",
        {"test_accuracy": 0.9904, "test_f1": 0.9904},
        (0.2536, 0.0872, 0.0663, 0.0539, 0.0445, 0.0405, 0.0345, 0.0322, 0.0269, 0.0245),
    ),
    "faster_rcnn": Reported(
        "Faster R-CNN",
        {"test_accuracy": 0.8960, "test_f1": 0.8608},
        (0.0743, 0.0218, 0.0136),
    ),
    "vgg16": Reported(
        "VGG16",
        {"train_loss": 0.2746, "train_accuracy": 0.9127, "test_accuracy": 0.9850},
        is_pretrained=True,
    ),
    "alexnet": Reported(
        "AlexNet",
        {"train_loss": 0.2748, "train_accuracy": 0.9118, "test_accuracy": 0.9770},
        is_pretrained=True,
    ),
}
