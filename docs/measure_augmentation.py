"""Measure what each part of the strong augmentation brings, on the 5,000 validation images.

    python -m docs.measure_augmentation

trains the default CNN with the strong augmentation, then without each of its parts, and prints the
accuracy of each network on the validation images as they are and under the suite of corruptions. No
test image is used.
"""

import argparse
import sys
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning import Trainer, seed_everything
from tabulate import tabulate

from mnist_vision.common.accelerators import choose_precision
from mnist_vision.common.conf import CONF_DIR
from mnist_vision.common.quiet import quiet_libraries
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.evaluation.corruptions.suite import SUITES, corrupt
from mnist_vision.evaluation.robustness import predict_digits

# The corruptions of the kind that a part teaches.
TAUGHT = {
    "digits.affine": ["scale", "rotate", "translate"],
    "digits.elastic": ["glass_blur"],
    "digits.stroke": ["thick_pen", "thin_pen"],
    "digits.outline": ["canny_edges"],
    "pictures.regions": ["stripe"],
    "pictures.clutter": ["fog"],
    "pictures.lines": ["dotted_line", "zigzag"],
    "pictures.spots": ["spatter"],
    "pictures.blur": ["motion_blur"],
    "pictures.light": ["brightness", "inversion"],
    "pictures.noise": ["shot_noise", "impulse_noise"],
}
SUITE = SUITES["corruptions"]


def main() -> None:
    """Print two tables: networks by what they were trained without, and what each part teaches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    quiet_libraries()
    variants = {"nothing": ["data/augmentation=strong"]}
    for part in TAUGHT:
        variants[part] = [*variants["nothing"], f"~data.augmentation.{part}"]
    variants["all but affine"] = ["data/augmentation=affine"]
    variants["all"] = ["data.augmentation=null"]
    figures = {}
    for left_out, overrides in variants.items():
        figures[left_out] = train_and_measure([*overrides, f"seed={options.seed}"], options.epochs)
    rows = [(left_out, each["clean"], mean(each)) for left_out, each in figures.items()]
    show(rows, "left out", "clean", "mean of 15")
    rows = [
        (name, part, figures["nothing"][name], figures[part][name])
        for part, names in TAUGHT.items()
        for name in names
    ]
    show(rows, "corruption", "taught by", "with it", "without it")


def show(rows: list[tuple[Any, ...]], *columns: str) -> None:
    """Print a table in Markdown."""
    sys.stdout.write(tabulate(rows, columns, floatfmt=".4f", tablefmt="github") + "\n\n")


def mean(figures: dict[str, float]) -> float:
    """Average over the 15 corruptions of the mean."""
    values = [figures[each.name] for each in SUITE if each.is_in_mean]
    return sum(values) / len(values)


def train_and_measure(overrides: list[str], epochs: int) -> dict[str, float]:
    """Train the default CNN, and measure its accuracy on validation images by corruption."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("train", [*overrides, "output_dir=."])
    seed_everything(config.seed, verbose=False)
    datamodule: MNISTDataModule = instantiate(config.data, _convert_="all")
    model = instantiate(config.model, _convert_="all")
    model.set_recipe(instantiate(config.optimizer), instantiate(config.scheduler))
    settings: dict[str, Any] = {"logger": False, "enable_progress_bar": False}
    settings |= {"enable_checkpointing": False, "enable_model_summary": False}
    settings["precision"] = choose_precision("auto", "cpu")  # as runs do by default
    trainer = Trainer(max_epochs=epochs, limit_val_batches=0, accelerator="cpu", **settings)
    trainer.fit(model, datamodule=datamodule)
    model.eval()
    images, targets = datamodule.val_set.images, datamodule.val_set.targets
    pixels = images[:, 0].numpy()
    sets = {"clean": images}
    sets |= {each.name: torch.from_numpy(corrupt(each, pixels))[:, None] for each in SUITE}
    return {
        name: (predict_digits(model, datamodule, some, targets) == targets).double().mean().item()
        for name, some in sets.items()
    }


if __name__ == "__main__":
    main()
