"""Writes runs as training would, without training."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mnist_vision.data.mnist import CorruptFileError, load_split
from mnist_vision.evaluation.calibration import measure_calibration
from mnist_vision.evaluation.corruptions.suite import VERSION
from mnist_vision.evaluation.ensembles import Answers, calibrate, compare
from mnist_vision.models.classifier import to_probabilities
from mnist_vision.report.grouping import Comparison, SharedTest, group
from mnist_vision.report.selection import Run, select
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.ensemble_record import Ensemble, EnsembleMember
from mnist_vision.runs.mistake_attributions import MistakeAttributions
from mnist_vision.runs.predictions import Predictions

ENVIRONMENT = {
    "python": "3.11.7",
    "torch": "2.14.1+cpu",
    "lightning": "2.6.6",
    "torchvision": "0.29.1",
    "device": "cpu",
    "threads": 2,
    "git": "7ce6ad0df215",
}
# Settings of a sweep: overrides, accuracy, parameters, seconds of training, milliseconds an image.
LAB = (
    ("cnn", ["experiment=lab/cnn"], 0.9905, 206_922, 150, 0.06),
    ("faster_rcnn", ["experiment=lab/faster_rcnn"], 0.9921, 329_763, 310, 0.34),
    ("vgg16", ["experiment=lab/vgg16"], 0.9929, 16_814_666, 581, 4.3),
    ("alexnet", ["experiment=lab/alexnet"], 0.9914, 3_800_000, 583, 0.84),
)


def digits(num_images: int) -> np.ndarray:
    """MNIST's test targets if they are on this machine, otherwise random digits."""
    try:
        return load_split("~/.cache/mnist_vision", "test")[1].numpy()[:num_images]
    except CorruptFileError:
        return np.random.default_rng(0).integers(0, 10, num_images)


def predict(targets: np.ndarray, accuracy: float, seed: int) -> np.ndarray:
    """Predictions whose mistakes lie, as real ones do, mostly on the same hard digits."""
    hardness = np.random.default_rng(99).gumbel(size=len(targets))
    rng = np.random.default_rng(seed)
    difficulty = hardness + rng.gumbel(size=len(targets)) * 0.6
    num_mistakes = round((1 - accuracy) * len(targets))
    wrong = np.argsort(-difficulty)[:num_mistakes]
    predictions = targets.copy()
    # Most networks mistake a hard digit for the same other digit.
    usual = (targets + np.random.default_rng(7).integers(1, 10, len(targets))) % 10
    random = (targets + rng.integers(1, 10, len(targets))) % 10
    predictions[wrong] = np.where(rng.random(len(wrong)) < 0.8, usual[wrong], random[wrong])
    return predictions


def write_run(
    folder: Path,
    *,
    architecture: str = "cnn",
    overrides: list[str] | None = None,
    seed: int = 0,
    targets: np.ndarray | None = None,
    predictions: np.ndarray | None = None,
    accuracy: float = 0.99,
    num_parameters: int = 100_000,
    seconds: float = 100.0,
    milliseconds: float = 0.1,
    epochs: int = 3,
    settings: dict | None = None,
    weights: str | None = None,
    test: dict | None = None,
    **changes: object,
) -> Path:
    """Writes a folder with results.json and test_predictions.npz.

    Settings, unless given, are the overrides. A change of None leaves the key out.
    """
    targets = digits(200) if targets is None else targets
    predictions = predict(targets, accuracy, seed) if predictions is None else predictions
    overrides = [f"model={architecture}"] if overrides is None else overrides
    exact = float((predictions == targets).mean())
    rows = [
        {
            "epoch": epoch,
            "seconds": seconds * epoch / epochs,
            "train/lr": 0.001,
            "train/loss": 0.3 * (1 - exact + 0.01) ** 0.5 / epoch**0.8 * (1 + 0.03 * seed),
            "train/accuracy": max(1 - (1 - exact) * (0.4 + 2 / epoch**1.2), 0),
            "val/accuracy": max(1 - (1 - exact) * (0.9 + 1.5 * (1 / epoch - 1 / epochs)), 0),
            "val/f1": exact,
        }
        for epoch in range(1, epochs + 1)
    ]
    results = {
        "version": 1,
        "architecture": architecture,
        "status": "completed",
        "seed": seed,
        "epochs": epochs,
        "num_parameters": num_parameters,
        "num_trainable_parameters": num_parameters,
        "weights": weights,
        "history": rows,
        "train": {"loss": rows[-1]["train/loss"], "accuracy": rows[-1]["train/accuracy"]},
        "test": {
            "accuracy": round(exact, 6),
            "f1": round(exact - 0.0001, 6) if exact > 0.001 else exact,
            "num_images": len(targets),
            "num_mistakes": int((predictions != targets).sum()),
            "missed": int((predictions == -1).sum()),
        }
        | (test or {}),
        "seconds": {"fit": seconds, "test": milliseconds * len(targets) / 1000},
        "environment": ENVIRONMENT,
        "overrides": [*overrides, f"seed={seed}"],
        "settings": {"seed": seed, "overrides": overrides} if settings is None else settings,
    } | changes
    folder.mkdir(parents=True, exist_ok=True)
    kept = {key: value for key, value in results.items() if value is not None or key == "weights"}
    (folder / "results.json").write_text(json.dumps(kept))
    scores = np.eye(11, dtype=np.float32)[predictions][:, :10]
    np.savez_compressed(
        folder / "test_predictions.npz", targets=targets, preds=predictions, scores=scores
    )
    return folder


def write_untested_run(folder: Path, **changes: object) -> Path:
    """Writes a folder with training.json, as a run with `test=false` does."""
    results = json.loads((write_run(folder, **changes) / "results.json").read_text())
    del results["test"], results["seconds"]["test"]
    (folder / "training.json").write_text(json.dumps(results))
    for name in ("results.json", "test_predictions.npz"):
        (folder / name).unlink()
    return folder


def write_robustness(
    folder: Path,
    accuracies: dict[str, float] | None = None,
    num_images: int = 200,
    **changes: object,
) -> Path:
    """Writes a folder with robustness.json; "inversion" is not in the mean."""
    accuracies = {"brightness": 0.8, "inversion": 0.3} if accuracies is None else accuracies
    in_mean = [name for name in accuracies if name != "inversion"]
    record = {
        "version": 1,
        "suite": "corruptions",
        "suite_version": VERSION,
        "architecture": "cnn",
        "ckpt_path": "best.ckpt",
        "clean_accuracy": 0.99,
        "corruptions": {
            name: {"accuracy": value, "num_images": num_images, "missed": 0, "seconds": 1.0}
            for name, value in accuracies.items()
        },
        "mean_accuracy": round(float(np.mean([accuracies[name] for name in in_mean])), 6),
        "mean_over": in_mean,
        "seconds": 2.0,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "robustness.json").write_text(json.dumps(record | changes))
    return folder


def write_attributions(folder: Path, indices: list[int]) -> MistakeAttributions:
    """Writes attributions of predictions of the run in a folder."""
    predictions = RunDirectory(folder).read_predictions()
    maps = np.random.default_rng(0).random((len(indices), 28, 28)).astype(np.float32)
    attributions = MistakeAttributions(
        np.array(indices),
        predictions.preds[indices],
        predictions.targets[indices],
        (255 * maps).astype(np.uint8),
        maps,
        maps - 0.5,
    )
    RunDirectory(folder).write_attributions(attributions)
    return attributions


def with_history(run: Run, rows: list[dict[str, float]]) -> Run:
    """The run with other rows in its history."""
    return replace(run, results=run.results.model_copy(update={"history": rows}))


def validated_twice_an_epoch(run: Run) -> Run:
    """The run with a validation in the middle of each epoch, and without one in its second epoch.

    The training loss and accuracy are measured at the end of each epoch.
    """
    rows: list[dict[str, float]] = []
    for row in run.results.history:
        ours = {key: value for key, value in row.items() if not key.startswith("train/")}
        rows += [ours | {"epoch": row["epoch"] - 0.5}, row]
    del rows[3]["val/accuracy"], rows[3]["val/f1"]
    return with_history(run, rows)


def write_job(folder: Path, **changes: object) -> Path:
    """Writes a folder with the job.json of a job that failed."""
    job = {
        "version": 1,
        "number": 0,
        "model": "vgg16",
        "overrides": ["experiment=lab/vgg16", "seed=0"],
        "status": "failed",
        "reason": "model.weights=IMAGENET1K_FEATURES: cannot be fetched; give model.weights=PATH",
        "seconds": 1.5,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.json").write_text(json.dumps(job | changes))
    return folder


def write_many(root: Path, num_settings: int, num_seeds: int, num_images: int = 10_000) -> None:
    """Writes plausible runs of ten epochs: the lab's four, then CNNs of a search."""
    targets, rng = digits(num_images), np.random.default_rng(5)
    settings = list(LAB[:num_settings])
    for _ in range(num_settings - len(settings)):
        rate, hidden = float(10 ** rng.uniform(-4, -2)), int(rng.choice([32, 64, 128, 256]))
        overrides = [f"optimizer.lr={rate}", f"model.hidden={hidden}"]
        accuracy = 0.994 - 0.008 * abs(np.log10(rate) + 3) - 0.1 / hidden
        settings.append(("cnn", overrides, accuracy, 50_000 + 800 * hidden, 90 + hidden / 4, 0.05))
    for place, (architecture, overrides, accuracy, size, seconds, ms) in enumerate(settings):
        for seed in range(num_seeds):
            predictions = predict(targets, accuracy + rng.normal(0, 0.0005), 1000 * place + seed)
            if architecture == "faster_rcnn":
                predictions[np.flatnonzero(predictions != targets)[:4]] = -1
            write_run(
                root / f"{architecture}_{place}_{seed}",
                architecture=architecture,
                overrides=overrides,
                seed=seed,
                targets=targets,
                predictions=predictions,
                num_parameters=size,
                seconds=seconds * rng.uniform(0.9, 1.2),
                milliseconds=ms * rng.uniform(0.95, 1.1),
                epochs=10,
            )


def compare_runs(folder: Path) -> Comparison:
    """Reads and groups the runs in a folder."""
    return group(select([str(folder)]))


def shared_test(folder: Path) -> SharedTest:
    """Reads the runs in a folder, which were all tested on the same digits."""
    (test,) = compare_runs(folder).tests
    return test


def write_calibrated(folder, *, threshold=0.4, **changes):
    """Writes a run whose scores are three times too large, and its calibration."""
    targets = digits(200)
    predictions = predict(targets, 0.9, seed=0)
    scores = 6 * np.eye(10, dtype=np.float32)[predictions]
    probabilities = to_probabilities(torch.from_numpy(scores).double())
    measured = measure_calibration(probabilities, torch.from_numpy(targets), 3.0, threshold)
    write_run(folder, predictions=predictions, calibration=measured.model_dump(), **changes)
    Predictions(targets, predictions, scores).write(folder / "test_predictions.npz")
    return measured


def write_ensemble(folder, val_accuracy, targets=None, shift=0):
    """Writes the test of two networks, of which the ensemble has 2 mistakes and the best 4."""
    targets = torch.from_numpy(digits(200) if targets is None else targets)

    def answers(accuracy):
        predictions = torch.from_numpy(predict(targets.numpy(), accuracy, 0))
        probabilities = torch.full((len(targets), 10), 0.01, dtype=torch.float64)
        probabilities.scatter_(1, predictions[:, None], 0.91)
        return Answers(targets, predictions, probabilities)

    ensemble = answers(0.99)
    member = {"ckpt_path": "/runs/best.ckpt", "architecture": "cnn", "seed": 0}
    member |= {"val_accuracy": 0.98, "test_accuracy": 0.98}
    record = Ensemble(
        members=[EnsembleMember(**member), EnsembleMember(**member | {"architecture": "vgg16"})],
        shift=shift,
        val_accuracy=val_accuracy,
        test=ensemble.figures(),
        calibration=calibrate(ensemble, ensemble),
        best_member=compare(ensemble, answers(0.98)),
        seconds={"validation": 1.0, "test": 2.0},
    )
    RunDirectory(folder).write(record, ensemble.to_record())
    return folder
