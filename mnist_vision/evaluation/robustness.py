"""Measure a network under a suite of corruptions: all test images under each, once."""

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from lightning import Fabric
from torch import Tensor

from mnist_vision.common.errors import UserError
from mnist_vision.data.constants import MISSED
from mnist_vision.data.datamodule import DigitDataset, MNISTDataModule
from mnist_vision.evaluation.corruptions.corruption import Corruption, Images
from mnist_vision.evaluation.corruptions.suite import SUITES, VERSION, load_corrupted
from mnist_vision.evaluation.measure import exact_arithmetic
from mnist_vision.models.classifier import DigitClassifier, predict
from mnist_vision.runs.robustness_record import CorruptedTest, Robustness

# Of the data root.
CACHE_FOLDER = "corruptions"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RobustnessResult:
    """The result of a suite.

    Args:
        record: The figures.
        examples: `[10, 28, 28]` uint8 by corruption: the first image of each class.
    """

    record: Robustness
    examples: dict[str, Images]


def check_suite(suite: str | None, datamodule: MNISTDataModule) -> None:
    """Raise if a suite is asked for on scenes.

    Raises:
        UserError: Naming the data that it works on.
    """
    if suite is not None and datamodule.gives_scenes:
        raise UserError(
            f"suite={suite}: corrupts single digits, and data=mnist_scenes shows several an image; "
            "use data=mnist, or suite=null"
        )


def measure_robustness(
    model: DigitClassifier,
    datamodule: MNISTDataModule,
    suite: str,
    *,
    ckpt_path: str | os.PathLike[str],
    clean_accuracy: float,
    accelerator: str = "auto",
) -> RobustnessResult:
    """Test a network under each corruption of a suite; log the accuracy of each.

    The figures are those that `run_test` would give on the corrupted images. These are kept in the
    folder `corruptions` of the data root.

    Args:
        model: The network with its weights.
        datamodule: Gives the test images, one digit each.
        suite: A name in `SUITES`.
        ckpt_path: The file of the network, for the record.
        clean_accuracy: The accuracy of `run_test`.
        accelerator: "cpu", "gpu" or "auto".
    """
    datamodule.setup("test")
    test_set: DigitDataset = datamodule.test_set
    cache = Path(datamodule.root).expanduser() / CACHE_FOLDER
    first = torch.stack([(test_set.targets == digit).float().argmax() for digit in range(10)])
    images = test_set.images.squeeze(1).numpy()
    model = model.to(Fabric(accelerator=accelerator, devices=1).device).eval()
    tests, examples = {}, {}
    log.info("corruption         accuracy   seconds")
    log.info("%-18s %.4f", "none", clean_accuracy)
    for corruption in SUITES[suite]:
        started = time.perf_counter()
        corrupted = load_corrupted(corruption, images, cache)
        predictions = predict_digits(
            model, datamodule, torch.from_numpy(corrupted).unsqueeze(1), test_set.targets
        )
        tests[corruption.name] = _count(predictions, test_set.targets, started)
        examples[corruption.name] = corrupted[first.numpy()]
        log.info("%-18s %s", corruption.name, _row(tests[corruption.name], corruption))
    in_mean = [corruption.name for corruption in SUITES[suite] if corruption.is_in_mean]
    record = Robustness(
        suite=suite,
        suite_version=VERSION,
        architecture=model.architecture,
        ckpt_path=str(Path(ckpt_path).expanduser().resolve()),
        clean_accuracy=clean_accuracy,
        corruptions=tests,
        mean_accuracy=round(fmean(tests[name].accuracy for name in in_mean), 6),
        mean_over=in_mean,
        seconds=round(sum(test.seconds for test in tests.values()), 3),
    )
    mean = f"{record.mean_accuracy:.4f}     {record.seconds:.1f} in all"
    log.info("%-18s %s", f"mean of {len(in_mean)}", mean)
    return RobustnessResult(record, examples)


@torch.inference_mode()
def predict_digits(
    model: DigitClassifier, datamodule: MNISTDataModule, images: Tensor, targets: Tensor
) -> Tensor:
    """Predict digits as the test does: in float32, in batches of `eval_batch_size`.

    Args:
        model: The network, on its device and in evaluation mode.
        datamodule: Prepares the batches.
        images: `Tensor[N, 1, 28, 28]` uint8.
        targets: `Tensor[N]` int64 in 0..9.

    Returns:
        `Tensor[N]` int64 in 0..9, or `MISSED`, on the CPU.
    """
    size, predictions = datamodule.eval_batch_size, []
    with exact_arithmetic():
        for batch in zip(images.split(size), targets.split(size), strict=True):
            on_device = tuple(tensor.to(model.device) for tensor in batch)
            prepared, _ = datamodule.prepare_batch(on_device)
            predictions.append(predict(model(prepared)).cpu())
    return torch.cat(predictions)


def _count(predictions: Tensor, targets: Tensor, started: float) -> CorruptedTest:
    return CorruptedTest(
        accuracy=round(float((predictions == targets).double().mean()), 6),
        num_images=len(targets),
        missed=int((predictions == MISSED).sum()),
        seconds=round(time.perf_counter() - started, 3),
    )


def _row(test: CorruptedTest, corruption: Corruption) -> str:
    notes = [f"nothing found in {test.missed:,} images"] if test.missed else []
    notes += [] if corruption.is_in_mean else ["not in the mean"]
    return "  ".join([f"{test.accuracy:.4f}     {test.seconds:.1f}", *notes])
