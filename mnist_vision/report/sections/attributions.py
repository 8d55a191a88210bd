"""Where networks looked in their worst mistakes."""

import numpy as np

from mnist_vision.common.errors import UserError
from mnist_vision.evaluation.attribution_pictures import draw_mistakes
from mnist_vision.report.blocks import (
    Block,
    Gallery,
    Heading,
    Paragraph,
    Picture,
    Section,
    for_each_test,
    limit_note,
)
from mnist_vision.report.grouping import Setting, SharedTest
from mnist_vision.report.sections.hard_digits import encode_png
from mnist_vision.report.selection import Run
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.mistake_attributions import MistakeAttributions

MAX_SETTINGS = 8


def _make_blocks(test: SharedTest) -> list[Block]:
    blocks: list[Block] = []
    for setting in test.settings[:MAX_SETTINGS]:
        blocks += _explain(setting)
    return [*limit_note(test, MAX_SETTINGS), *blocks] if blocks else []


def _explain(setting: Setting) -> list[Block]:
    """Make the gallery of the run with the best validation accuracy, if it kept attributions."""
    run = max(setting.runs, key=lambda run: run.results.best.val_accuracy)
    try:
        attributions = _read(run)
    except UserError as error:
        return [Paragraph(f"{setting.label}: {error}.", "soft")]
    if attributions is None:
        return []
    pictures = zip(
        attributions.targets,
        attributions.predictions,
        attributions.indices,
        draw_mistakes(attributions),
        strict=True,
    )
    gallery = [
        Picture(str(target), f"as {prediction}", f"no. {index}", encode_png(picture))
        for target, prediction, index, picture in pictures
    ]
    return [Heading(setting.label), Gallery(gallery, is_wide=True)]


def _read(run: Run) -> MistakeAttributions | None:
    """Read the attributions of a run, and check that they are of its predictions.

    Raises:
        UserError: If they are damaged, or of another test.
    """
    attributions = RunDirectory(run.folder).read_attributions()
    if attributions is None:
        return None
    indices = attributions.indices
    are_there = indices.size and indices.max() < len(run.predictions)
    if not are_there or not (
        np.array_equal(run.predictions[indices], attributions.predictions)
        and np.array_equal(run.targets[indices], attributions.targets)
    ):
        raise UserError("attributions.npz: does not belong to test_predictions.npz")
    return attributions


SECTION = Section(
    "Where the networks look",
    "The mistakes with the highest probability of the wrong digit, of each setting's run with the "
    "best validation accuracy: the digit; its Grad-CAM, orange where the last convolution speaks "
    "for the prediction; and its integrated gradients, orange where a pixel speaks for the "
    "prediction and blue where it speaks against it. Grad-CAM is as coarse as the maps of that "
    "layer.",
    for_each_test(_make_blocks),
)
