"""Names that earlier versions of this program used, in checkpoints and results."""

from typing import Any

# The beginnings of `_target_`s.
_TARGETS = {
    "mnist_vision.callbacks.": "mnist_vision.training.callbacks.",
    "mnist_vision.checkpoints.": "mnist_vision.training.checkpoints.",
    "mnist_vision.data.scenes.MNIST": "mnist_vision.data.scenes.mnist_scenes.MNIST",
    "mnist_vision.schedules.one_cycle": "mnist_vision.training.schedules.warmup_cosine",
    "mnist_vision.schedules.": "mnist_vision.training.schedules.",
}
_MODEL_ARGUMENTS = {
    "num_before_nms": "rpn_pre_nms_top_n",
    "num_proposals": "rpn_post_nms_top_n",
    "num_sampled_anchors": "rpn_batch_size_per_image",
    "num_sampled_proposals": "box_batch_size_per_image",
    "positive_fraction": "box_positive_fraction",
    "score_threshold": "box_score_thresh",
    "nms_iou": "box_nms_thresh",
    "num_detections": "box_detections_per_img",
}
# Architectures that did not standardise images in earlier versions.
_UNSTANDARDIZED = ("alexnet", "cnn", "faster_rcnn", "vgg16")
_AUGMENTATION = "mnist_vision.data.augmentation"
_CHOICES = {"one_cycle": "warmup_cosine"}


def rename_arguments(architecture: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Rename the arguments of a network, and add one that earlier versions did not have.

    Args:
        architecture: Its name, that of its module.
        arguments: By their names.
    """
    renamed = {_MODEL_ARGUMENTS.get(name, name): value for name, value in arguments.items()}
    added = {"standardize_images": False} if architecture in _UNSTANDARDIZED else {}
    return added | renamed


def rename_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Rename targets and the arguments of the model in nested settings of a run; add new ones."""
    renamed: dict[str, Any] = _rename_targets(settings)
    model = renamed.get("model")
    if isinstance(model, dict):
        module = str(model.get("_target_")).rpartition(".")[0]
        renamed["model"] = rename_arguments(module.rpartition(".")[2], model)
    data = renamed.get("data")
    if isinstance(data, dict) and isinstance(data.get("augmentation"), dict):
        data["augmentation"] = _wrap_augmentation(data["augmentation"])
    return renamed


def _wrap_augmentation(augmentation: dict[str, Any]) -> dict[str, Any]:
    """Make the one step of earlier versions a step of an augmentation."""
    if augmentation.get("_target_") != f"{_AUGMENTATION}.RandomAffine":
        return augmentation
    steps = {"digits": {"affine": augmentation}, "pictures": {}}
    return {"_target_": f"{_AUGMENTATION}.Augmentation"} | steps


def rename_choices(choices: dict[str, Any]) -> dict[str, Any]:
    """Rename the options that were chosen of the groups of the configuration."""
    return {
        group: _CHOICES.get(name, name) if isinstance(name, str) else name
        for group, name in choices.items()
    }


def _rename_targets(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: _rename_target(value)
            if key == "_target_" and isinstance(value, str)
            else _rename_targets(value)
            for key, value in node.items()
        }
    return [_rename_targets(value) for value in node] if isinstance(node, list) else node


def _rename_target(target: str) -> str:
    for old, new in _TARGETS.items():
        if target.startswith(old):
            return new + target.removeprefix(old)
    return target


def add_steps(rows: list[dict[str, float]], num_steps: int) -> list[dict[str, float]]:
    """Add the missing steps to the rows of a history; these rows are one epoch apart.

    Args:
        rows: Rows of a history.
        num_steps: The step of the last row.
    """
    return [
        row if "step" in row else row | {"step": num_steps * count // len(rows)}
        for count, row in enumerate(rows, 1)
    ]
