import pytest
import torch
from torchvision.ops import box_iou

from mnist_vision.common.errors import FieldError
from mnist_vision.data.boxes import DigitBoxes, ink_boxes, locate
from mnist_vision.models.classifier import MISSED, predict
from mnist_vision.models.faster_rcnn import FasterRCNN
from mnist_vision.training.box_pictures import draw_boxes
from tests.benchmarks.test_stock_detector import scenes, train
from tests.conftest import synthetic_digits

TINY = {"widths": [4, 8], "hidden": 16}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def model():
    return FasterRCNN(**TINY)


@pytest.fixture
def logged(monkeypatch):
    """What a model logs, which takes no trainer now."""
    values = {}
    monkeypatch.setattr(
        FasterRCNN, "log", lambda self, name, value, **_: values.update({name: value})
    )
    monkeypatch.setattr(FasterRCNN, "log_dict", lambda self, each, **_: values.update(each))
    return values


def batch(num_images=20):
    images, targets = synthetic_digits(num_images)
    return images / 255, targets


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    return train(FasterRCNN(**TINY, anchor_sizes=[14, 24]), *batch(), 150).eval()


def gradient_of(model, losses):
    model.zero_grad()
    sum(losses.values()).backward()
    return [p.grad for p in model.parameters() if p.grad is not None]


def test_the_right_digits_are_found_where_they_are(trained):
    images, targets = batch()
    found = trained.detect(images)
    assert [int(each["labels"][0]) for each in found] == targets.tolist()
    for each, box in zip(found, ink_boxes(images), strict=True):
        assert box_iou(each["boxes"][:1], box[None]) > 0.5
        assert each["scores"][0] > 0.5


def test_digits_of_a_scene_are_found_where_they_are():
    images, digits = scenes(12)
    model = FasterRCNN(**TINY, anchor_sizes=[14], aspect_ratios=[1.0], box_batch_size_per_image=16)
    train(model, images, digits, 200)
    num_found = num_right = 0
    for each, boxes, labels in zip(model.eval().detect(images), *digits, strict=True):
        is_sure = each["scores"] > 0.5
        is_over = box_iou(boxes, each["boxes"][is_sure]) > 0.5
        is_same = labels[:, None] == each["labels"][is_sure]
        num_found += int(is_over.any(dim=1).sum())
        num_right += int((is_over & is_same).any(dim=1).sum())
    num_digits = int(digits.is_digit.sum())
    assert num_found > 0.9 * num_digits
    assert num_right > 0.7 * num_digits


@pytest.mark.parametrize("num_steps", [0, 20])
def test_scores_are_the_logarithms_of_the_best_boxes(num_steps):
    images, targets = batch()
    # Enough detections that no digit's best box is cut off.
    model = FasterRCNN(**TINY, box_detections_per_img=1000, box_score_thresh=0.1)
    scores = train(model, images, targets, num_steps).eval()(images)
    assert scores.isfinite().any()
    assert scores.isinf().any()
    for row, found in zip(scores, model.detect(images), strict=True):
        best = torch.zeros(10).scatter_reduce(0, found["labels"], found["scores"], "amax")
        torch.testing.assert_close(row, best.log())
        if len(found["labels"]):
            assert row.argmax() == found["labels"][0]
            assert (found["scores"].diff() <= 0).all()


def test_the_prediction_is_the_first_box_even_if_nothing_is_learnt(model):
    images, _ = batch()
    found = model.eval().detect(images)
    assert model(images).argmax(dim=1).tolist() == [int(each["labels"][0]) for each in found]


def test_images_in_which_no_box_is_sure_enough_are_missed():
    images, _ = batch()
    model = FasterRCNN(**TINY, box_score_thresh=0.999).eval()
    scores = model(images)
    assert (scores == -torch.inf).all()
    assert (predict(scores) == MISSED).all()
    torch.testing.assert_close(model.probabilities(scores), torch.full((20, 10), 0.1))
    for found in model.detect(images):
        assert {name: each.shape for name, each in found.items()} == {
            "boxes": (0, 4),
            "labels": (0,),
            "scores": (0,),
        }


def test_blank_images_are_background(model):
    images, targets = batch(4)
    losses = model.train().losses(torch.zeros_like(images), targets)
    assert all(term.isfinite() for term in losses.values())
    assert losses["loss_rpn_box_reg"] == losses["loss_box_reg"] == 0
    gradients = gradient_of(model, losses)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)


def test_blank_images_are_assessed(model, logged):
    images, targets = batch(4)
    images[:2] = 0
    model.eval().on_test_start()
    for some in (images, torch.zeros_like(images)):
        assessment = model.assess((some, targets), "test")
        assert assessment.scores.shape == (4, 10)
        assert not assessment.scores.isnan().any()


@pytest.mark.parametrize(
    "ink", [(slice(4, 24), 13), (13, slice(4, 24)), (13, 13), (0, 0), (27, 27)], ids=str
)
def test_digits_may_be_one_pixel_wide(model, ink):
    images = torch.zeros(3, 1, 28, 28)
    images[..., ink[0], ink[1]] = 1
    losses = model.train().losses(images, torch.tensor([1, 7, 1]))
    assert all(term.isfinite() for term in losses.values())
    assert losses["loss_rpn_box_reg"] > 0
    gradients = gradient_of(model, losses)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert not model.eval()(images).isnan().any()


@pytest.mark.parametrize("size", [(8, 8), (9, 31), (28, 64), (50, 11), (37, 37)], ids=str)
def test_images_may_have_other_sizes(model, size):
    images, targets = torch.rand(3, 1, *size), torch.tensor([0, 4, 9])
    losses = model.train().losses(images, targets)
    assert all(term.isfinite() for term in losses.values())
    assert any(gradient.any() for gradient in gradient_of(model, losses))
    model.eval()
    assert model(images).shape == (3, 10)
    detections = model.detect(images)
    assert draw_boxes(images, locate(images, targets), detections).dtype == torch.uint8
    for found in detections:
        assert (found["boxes"] >= 0).all()
        assert (found["boxes"] <= torch.tensor([size[1], size[0]] * 2)).all()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("widths", 4),
        ("widths", []),
        ("widths", [4]),
        ("widths", [4, 0]),
        ("widths", [4, 8.0]),
        ("anchor_sizes", []),
        ("anchor_sizes", [14, 0]),
        ("anchor_sizes", ["small"]),
        ("aspect_ratios", []),
        ("aspect_ratios", [1, -1]),
        ("aspect_ratios", [float("inf")]),
        ("rpn_pre_nms_top_n", 0),
        ("rpn_post_nms_top_n", 0),
        ("rpn_batch_size_per_image", 0),
        ("box_batch_size_per_image", 0),
        ("box_batch_size_per_image", 2.5),
        ("box_positive_fraction", 0),
        ("box_positive_fraction", 1.1),
        ("roi_size", 0),
        ("roi_size", 15),
        ("hidden", 0),
        ("box_score_thresh", -0.1),
        ("box_score_thresh", 1),
        ("box_nms_thresh", -0.1),
        ("box_nms_thresh", 1.1),
        ("box_detections_per_img", 0),
    ],
)
def test_arguments_outside_their_range_are_refused(field, value):
    with pytest.raises(FieldError, match=rf"^{field}=") as caught:
        FasterRCNN(**{field: value})
    assert caught.value.field == field


@pytest.mark.parametrize(("sizes", "ratios"), [([1.0], [1.0]), ([2], [0.1])])
def test_anchors_that_round_to_nothing_are_refused(sizes, ratios):
    with pytest.raises(FieldError, match="anchor_sizes"):
        FasterRCNN(anchor_sizes=sizes, aspect_ratios=ratios)


def test_the_picture_of_a_digit_that_fills_its_image_is_the_image(model, logged):
    images = torch.rand(1, 1, 28, 28)
    digits = DigitBoxes(torch.tensor([[[0.0, 0, 28, 28]]]), torch.tensor([[3]]))
    torch.testing.assert_close(model.eval().assess((images, digits), "val").pictures, images)


def test_arguments_at_the_ends_of_their_range_are_taken():
    model = FasterRCNN(
        **TINY | {"hidden": 1},
        anchor_sizes=[9],
        aspect_ratios=[1],
        rpn_pre_nms_top_n=1,
        rpn_post_nms_top_n=1,
        rpn_batch_size_per_image=1,
        box_batch_size_per_image=1,
        box_positive_fraction=1,
        roi_size=1,
        box_score_thresh=0,
        box_nms_thresh=0,
        box_detections_per_img=1,
    )
    losses = model.train().losses(*batch(2))
    assert all(term.isfinite() for term in losses.values())
    assert [len(found["labels"]) for found in model.eval().detect(batch(2)[0])] == [1, 1]


def test_a_checkpoints_plain_values_rebuild_the_network(trained):
    again = FasterRCNN(**trained.hparams).eval()
    again.load_state_dict(trained.state_dict())
    images, _ = batch()
    assert torch.equal(again(images), trained(images))


def test_single_digits_and_their_boxes_are_the_same_targets(model):
    images, targets = batch(4)
    digits = DigitBoxes(ink_boxes(images)[:, None], targets[:, None])
    torch.manual_seed(1)
    expected = model.losses(images, targets)
    torch.manual_seed(1)
    torch.testing.assert_close(model.losses(images, digits), expected)


def test_scenes_are_learnt_from(model):
    losses = model.train().losses(*scenes())
    assert all(term.isfinite() and term > 0 for term in losses.values())


@pytest.mark.parametrize("stage", ["train", "val"])
def test_scenes_are_assessed_digit_by_digit(model, logged, stage):
    images, digits = scenes()
    num_digits = int(digits.is_digit.sum())
    assessment = model.eval().assess((images, digits), stage)
    pictures = assessment.pictures
    assert assessment.scores.shape == (num_digits, 10)
    assert assessment.targets.tolist() == digits.labels[digits.is_digit].tolist()
    assert pictures.shape == (num_digits, 1, 28, 28)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert list(logged) == [f"{stage}/mean_iou"]


def test_a_digits_picture_is_cut_out_of_its_scene(model, logged):
    images, digits = scenes()
    pictures = model.eval().assess((images, digits), "val").pictures
    # Bars of classes lie below each other: the brightest row tells the class.
    rows = pictures.mean(dim=(1, 3)).argmax(dim=1)
    expected = 2 * (2 + digits.labels[digits.is_digit])
    assert ((rows - expected).abs() <= 2).all()


def test_scenes_without_any_digit_are_assessed(model, logged):
    images, _ = scenes(3)
    nothing = DigitBoxes(torch.zeros(3, 2, 4), torch.full((3, 2), -1))
    assessment = model.eval().assess((images, nothing), "val")
    assert len(assessment.scores) == len(assessment.targets) == len(assessment.pictures) == 0
    assert len(assessment.predictions) == 0


@pytest.mark.parametrize("mode", [True, False], ids=["training", "inference"])
def test_no_operation_waits_for_the_device(model, mode):
    # The device "meta" computes no values: asking for one fails.
    model = model.to("meta").train(mode)
    images, targets = (each.to("meta") for each in batch(4))
    if mode:
        sum(model.losses(images, targets).values()).backward()
    else:
        with torch.no_grad():
            assert model.outputs(images)["boxes"].shape == (4, 10, 4)


def test_a_whole_test_logs_how_well_boxes_fit(trained, logged):
    trained.on_test_start()
    trained.test_step(batch(), 0)
    trained.test_step(batch(), 1)
    trained.on_test_epoch_end()
    assert 0.5 < logged["test/mAP"] < logged["test/mAP@0.5"] <= 1
    assert logged["test/accuracy"].compute() == 1
    assert 0.5 < logged["test/mean_iou"].compute() <= 1
    assert 0.5 < logged["test/sequence_accuracy"].compute() <= 1
    for metric in (trained.test_metrics, trained.test_mean_iou, trained.sequence_accuracy):
        metric.reset()
