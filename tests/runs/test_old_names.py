"""Checkpoints and results of earlier versions of this program."""

import pytest
import torch
from omegaconf import OmegaConf

from mnist_vision.models.faster_rcnn import FasterRCNN
from mnist_vision.runs.old_names import rename_arguments, rename_choices, rename_settings
from mnist_vision.training.checkpoints import load_classifier
from tests.conftest import composed, results_of

OLD_TARGETS = {
    "mnist_vision.training.callbacks.": "mnist_vision.callbacks.",
    "mnist_vision.training.checkpoints.": "mnist_vision.checkpoints.",
    "mnist_vision.training.schedules.warmup_cosine": "mnist_vision.schedules.one_cycle",
    "mnist_vision.training.schedules.": "mnist_vision.schedules.",
    "mnist_vision.data.scenes.mnist_scenes.": "mnist_vision.data.scenes.",
}
OLD_ARGUMENTS = {
    "rpn_pre_nms_top_n": "num_before_nms",
    "rpn_post_nms_top_n": "num_proposals",
    "rpn_batch_size_per_image": "num_sampled_anchors",
    "box_batch_size_per_image": "num_sampled_proposals",
    "box_positive_fraction": "positive_fraction",
    "box_score_thresh": "score_threshold",
    "box_nms_thresh": "nms_iou",
    "box_detections_per_img": "num_detections",
}


def as_before(node):
    """Settings as an earlier version wrote them."""
    if isinstance(node, dict) and set(node) == {"_target_", "digits", "pictures"}:
        assert set(node["digits"]) == {"affine"}
        assert not node["pictures"]
        return node["digits"]["affine"]
    if isinstance(node, dict):
        kept = {key: value for key, value in node.items() if key != "standardize_images"}
        return {OLD_ARGUMENTS.get(key, key): as_before(value) for key, value in kept.items()}
    if isinstance(node, list):
        return [as_before(value) for value in node]
    for new, old in OLD_TARGETS.items():
        if isinstance(node, str) and node.startswith(new):
            return old + node.removeprefix(new)
    return node


@pytest.mark.parametrize("experiment", ["scenes/faster_rcnn", "best/cnn", "best/alexnet"])
def test_settings_of_an_earlier_version_become_those_of_today(experiment):
    config = composed(f"experiment={experiment}", "callbacks=ema")
    settings = OmegaConf.to_container(config, resolve=False)
    old = as_before(settings)
    assert old != settings
    assert rename_settings(old) == settings
    assert rename_settings(settings) == settings
    assert rename_choices({"scheduler": "one_cycle", "logger": ["csv"]}) == {
        "scheduler": "warmup_cosine",
        "logger": ["csv"],
    }


def test_networks_that_earlier_versions_did_not_have_keep_their_arguments():
    settings = {"model": {"_target_": "mnist_vision.models.capsules.CapsuleNet", "widths": [4]}}
    assert rename_settings(settings) == settings
    assert rename_arguments("capsules", {"widths": [4]}) == {"widths": [4]}


def test_a_detector_of_an_earlier_version_is_loaded(tmp_path):
    model = FasterRCNN(
        widths=[4, 8],
        hidden=8,
        box_score_thresh=0.25,
        rpn_pre_nms_top_n=9,
        standardize_images=False,
    )
    checkpoint = {
        "architecture": "faster_rcnn",
        "hyper_parameters": as_before(dict(model.hparams)),
        "state_dict": model.state_dict(),
    }
    assert checkpoint["hyper_parameters"]["score_threshold"] == 0.25
    torch.save(checkpoint, tmp_path / "best.ckpt")
    loaded = load_classifier(tmp_path / "best.ckpt")
    assert dict(loaded.hparams) == dict(model.hparams)


def test_a_run_of_an_earlier_version_goes_on(run, run_task, tmp_path, digits):
    settings = ("data.batch_size=100", "data/augmentation=affine", "model.standardize_images=false")
    last = run(*settings) / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["run"]["settings"] = as_before(checkpoint["run"]["settings"])
    del checkpoint["run"]["settings"]["suite"]
    checkpoint["run"]["choices"]["scheduler"] = "one_cycle"
    torch.save(checkpoint, last)
    resumed = (f"ckpt_path={last}", "trainer.max_epochs=3", "scheduler=warmup_cosine")
    code, output = run_task(*resumed, "hydra.run.dir=resumed")
    assert code == 0, output.err
    assert results_of(tmp_path / "resumed")["epochs"] == 3
