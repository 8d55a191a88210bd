from types import SimpleNamespace

import pytest
import torch

from mnist_vision.data.augmentation import Augmentation
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.evaluation import measure
from mnist_vision.evaluation.attribution import attribute
from mnist_vision.evaluation.measure import TestResult, run_test, score_validation
from mnist_vision.models.classifier import predict
from mnist_vision.models.cnn import CNN
from tests.conftest import synthetic_digits


@pytest.mark.parametrize("eval_batch_size", [200, 77, 1])
def test_every_image_counts_once_whatever_the_batches(digits, eval_batch_size):
    torch.manual_seed(0)
    model = CNN(widths=[2, 3]).eval()
    datamodule = MNISTDataModule(
        "", val_size=100, eval_batch_size=eval_batch_size, augmentation=None
    )
    outcome = run_test(model, datamodule, accelerator="cpu")
    images, targets = synthetic_digits(200, seed=len("test"))
    assert torch.equal(outcome.targets, targets)
    expected = model(images / 255)
    torch.testing.assert_close(outcome.scores, expected)
    hits = (expected.argmax(dim=1) == targets).float().mean().item()
    assert outcome.metrics["test/accuracy"] == pytest.approx(hits, abs=1e-6)


@pytest.mark.parametrize("eval_batch_size", [100, 33])
def test_validation_images_are_scored_once_each_and_unaugmented(digits, eval_batch_size):
    model = CNN(widths=[2, 3]).eval()
    datamodule = MNISTDataModule(
        "",
        val_size=100,
        eval_batch_size=eval_batch_size,
        augmentation=Augmentation({"black": torch.zeros_like}),
    )
    datamodule.setup("fit")
    scores, targets = score_validation(model, datamodule, accelerator="cpu")
    images, expected = datamodule.prepare_batch(datamodule.val_set.__getitems__(range(100)))
    assert torch.equal(targets, expected)
    torch.testing.assert_close(scores, model(images))


def test_calibration_is_that_of_the_probabilities(digits):
    outcome = run_test(FindsNothingInHalf().eval(), MNISTDataModule("", augmentation=None))
    found = outcome.calibration(1.5, 0.1)
    assert found.temperature == 1.5
    assert found.coverage == 1
    assert found.accepted_error == pytest.approx(outcome.figures().num_mistakes / 200)


def test_f1_is_the_mean_over_classes(digits):
    """Against the definition: 2 TP / (2 TP + FP + FN), a mean over the ten classes."""
    torch.manual_seed(1)
    outcome = run_test(CNN(widths=[4]).eval(), MNISTDataModule("", augmentation=None))
    f1 = []
    for digit in range(10):
        is_pred, is_target = outcome.predictions == digit, outcome.targets == digit
        hits = (is_pred & is_target).sum()
        f1.append(2 * hits / (is_pred.sum() + is_target.sum()))
    assert outcome.metrics["test/f1"] == pytest.approx(float(torch.stack(f1).mean()), abs=1e-6)


def test_mistakes_and_figures():
    targets = torch.tensor([1, 2, 3])
    scores = torch.eye(10)[torch.tensor([1, 7, 3])]
    pictures = torch.zeros(1, 1, 28, 28)
    metrics = {"test/accuracy": 0.666667, "test/f1": 0.5, "test/mAP@0.5": 0.25}
    outcome = TestResult(targets, predict(scores), scores, pictures, metrics, 0.5)
    assert outcome.mistakes.tolist() == [1]
    counts = {"num_images": 3, "num_mistakes": 1, "missed": 0}
    expected = {"accuracy": 0.666667, "f1": 0.5, "mAP@0.5": 0.25} | counts
    assert outcome.figures().model_dump(exclude_none=True) == expected
    assert outcome.to_record().preds.tolist() == [1, 7, 3]
    assert outcome.to_record().num_mistakes == 1


class FindsNothingInHalf(CNN):
    def forward(self, images):
        scores = super().forward(images)
        scores[::2] = -torch.inf
        return scores


def test_what_is_missed_is_wrong_whatever_the_target(digits):
    """A network that finds nothing has an argmax too: 0, which is right for a tenth."""
    outcome = run_test(FindsNothingInHalf().eval(), MNISTDataModule("", augmentation=None))
    figures = outcome.figures()
    assert figures.missed == 100
    assert (outcome.predictions[::2] == -1).all()
    assert figures.num_mistakes >= 100
    assert figures.accuracy == pytest.approx(1 - figures.num_mistakes / 200)
    assert len(outcome.mistake_pictures) == figures.num_mistakes


def test_pictures_are_those_of_the_mistakes(digits):
    torch.manual_seed(0)
    datamodule = MNISTDataModule("", eval_batch_size=77, augmentation=None)
    outcome = run_test(CNN(widths=[2]).eval(), datamodule)
    images, _ = synthetic_digits(200, seed=len("test"))
    torch.testing.assert_close(outcome.mistake_pictures, images[outcome.mistakes] / 255)


@pytest.fixture
def tf32_allowed():
    """Allows TF32 everywhere, in torch's old way and its new one."""
    torch.set_float32_matmul_precision("high")
    torch.backends.fp32_precision = "tf32"
    yield
    torch.backends.fp32_precision = torch.backends.cudnn.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")


def precisions():
    return torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision


def test_tests_and_attributions_compute_in_float32_where_tf32_is_allowed(tf32_allowed, digits):
    seen = []

    class Watched(CNN):
        def forward(self, images):
            seen.append(precisions())
            return super().forward(images)

    before = precisions()
    assert before == ("tf32", "tf32")
    outcome = run_test(Watched(widths=[2]), MNISTDataModule("", augmentation=None))
    model = Watched(widths=[2])
    num_tested = len(seen)
    attribute(model, outcome.mistake_pictures[:2], outcome.predictions[:2])
    assert len(seen) > num_tested > 0
    assert set(seen) == {("ieee", "ieee")}
    assert precisions() == before


def test_the_time_is_that_of_the_batches(digits, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(measure, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    class SlowToStart(MNISTDataModule):
        def setup(self, stage):
            now[0] += 100
            super().setup(stage)

    class SlowToEnd(CNN):
        def on_test_epoch_end(self):
            now[0] += 100

        def assess(self, batch, stage):
            now[0] += 1
            return super().assess(batch, stage)

    datamodule = SlowToStart("", eval_batch_size=50, augmentation=None)
    outcome = run_test(SlowToEnd(widths=[2]).eval(), datamodule, accelerator="cpu")
    assert (outcome.seconds, now[0]) == (4, 204)
