"""Read the digits of picture files, and write what was read, file by file."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from omegaconf import DictConfig
from tabulate import tabulate
from tqdm import tqdm

from mnist_vision.common.errors import UserError, printable
from mnist_vision.common.files import shown, write_atomically
from mnist_vision.common.quiet import quiet_libraries
from mnist_vision.inference.contact_sheets import (
    ContactSheets,
    ExplanationSheets,
    Thumbnail,
    make_thumbnail,
)
from mnist_vision.inference.network_choice import as_list, choose_networks
from mnist_vision.inference.picture_files import STANDARD_INPUT, find_pictures
from mnist_vision.inference.picture_reading import MAX_BYTES, read_picture
from mnist_vision.inference.prediction_files import PredictionWriter, table_rows
from mnist_vision.inference.predictor import Prediction, Predictor, load_predictor
from mnist_vision.inference.preparation import PreparedPicture
from mnist_vision.inference.preparation import prepare as prepare_picture
from mnist_vision.runs.file_names import PREDICTED_CSV, PREDICTED_JSONL

log = logging.getLogger(__name__)

_BATCH_SIZE = 256  # pictures that are in memory at once
_NUM_THREADS = 2  # that decode pictures; more wait for Python's lock
_SHARE = 8  # pictures that a thread gets at once; a stop waits for them
_MOST_LINES = 40  # of the table on the terminal, and of problems
_MORE = "... %s more in %s"


@dataclass(frozen=True, eq=False)
class _FileRead:
    """A picture file: what networks see of it, or why it could not be read."""

    file: str
    prepared: PreparedPicture
    thumbnail: Thumbnail | None = None
    problem: str | None = None


def prepare(config: DictConfig) -> Callable[[], None]:
    """Find the pictures and load the networks; write nothing.

    Args:
        config: The composed `conf/predict.yaml`.

    Returns:
        What reads the pictures and writes `predictions.csv` and `predictions.jsonl`. It raises
        `UserError` at its end if a picture could not be read.

    Raises:
        UserError: If there are no pictures, or a network cannot be used.
    """
    quiet_libraries()
    pictures = find_pictures(as_list(config, "input"))
    networks = choose_networks(config)
    if config.ckpt_path is None:
        networks = networks[:1]
    predictor = load_predictor(*networks)
    if config.explain and predictor.obstacle is not None:
        raise UserError(f"explain=true: {predictor.obstacle}")
    return partial(_predict, config, pictures, networks, predictor)


def _predict(
    config: DictConfig, pictures: Sequence[str], networks: Sequence[str], predictor: Predictor
) -> None:
    folder = Path(config.output_dir)
    log.info("%s from %s", predictor.name, ", ".join(str(shown(each)) for each in networks))
    failures: list[str] = []
    table: list[tuple[str, str, str]] = []
    num_rows = num_digits = 0
    with ExitStack() as opened:
        writer = PredictionWriter(
            opened.enter_context(write_atomically(folder / PREDICTED_CSV)),
            opened.enter_context(write_atomically(folder / PREDICTED_JSONL)),
        )
        sheets, explanations = ContactSheets(folder), ExplanationSheets(folder)
        for read, predictions in _read_all(config, pictures, predictor):
            if read.problem is not None:
                failures.append(read.problem)
                writer.write_problem(read.file, read.problem)
                continue
            writer.write(read.file, predictions)
            num_digits += len(predictions)
            rows = table_rows(read.file, predictions)
            num_rows += len(rows)
            table += rows[: _MOST_LINES - len(table)]
            if read.thumbnail is not None:
                sheets.add(read.file, read.thumbnail, predictions)
            if config.explain:
                explanations.add(read.file, predictions, predictor.explain(predictions))
        sheets.close()
        explanations.close()
        writer.close()
    more = num_rows - len(table)
    num_read = len(pictures) - len(failures)
    _report(folder, table, more, f"{num_digits:,} in {num_read:,} pictures")
    for problem in failures[:_MOST_LINES]:
        log.warning(printable(problem))
    if len(failures) > _MOST_LINES:
        log.warning(_MORE, f"{len(failures) - _MOST_LINES:,}", PREDICTED_JSONL)
    if failures:
        raise UserError(
            f"{len(failures):,} of {len(pictures):,} pictures could not be read; see the lines "
            "above"
        )


def _report(folder: Path, table: list[tuple[str, str, str]], more: int, digits: str) -> None:
    """Show the first digits that were read, how many there are, and where all are."""
    headers = ("file", "digit", "confidence")
    text = tabulate(table, headers, tablefmt="plain", disable_numparse=True)
    for line in text.splitlines():
        log.info(line)
    if more:
        log.info(_MORE, f"{more:,}", PREDICTED_CSV)
    log.info("digits             %s", digits)
    log.info("predictions        %s", shown(folder / PREDICTED_CSV))


def _read_all(
    config: DictConfig, pictures: Sequence[str], predictor: Predictor
) -> Iterator[tuple[_FileRead, list[Prediction]]]:
    """Read pictures batch by batch, with a progress bar on a terminal."""
    # Here, because a signal does not end a thread that waits for input.
    is_piped = STANDARD_INPUT in pictures
    standard_input = sys.stdin.buffer.read(MAX_BYTES + 1) if is_piped else b""

    def read_files(files: Sequence[str]) -> list[_FileRead]:
        several = config.digits == "many"
        return [
            _read_file(
                file,
                standard_input if file == STANDARD_INPUT else file,
                several=several,
                shows=config.show,
            )
            for file in files
        ]

    bar = tqdm(total=len(pictures), desc="reading", unit="file", leave=False, disable=None)
    with bar, ThreadPoolExecutor(_NUM_THREADS) as threads:
        for start in range(0, len(pictures), _BATCH_SIZE):
            files = pictures[start : start + _BATCH_SIZE]
            shares = [files[at : at + _SHARE] for at in range(0, len(files), _SHARE)]
            reads = [read for share in threads.map(read_files, shares) for read in share]
            answers = predictor.answer([read.prepared for read in reads])
            yield from zip(reads, answers, strict=True)
            bar.update(len(reads))


def _read_file(file: str, source: str | bytes, *, several: bool, shows: bool) -> _FileRead:
    try:
        picture = read_picture(source)
    except UserError as error:
        return _FileRead(file, PreparedPicture([]), problem=str(error))
    thumbnail = make_thumbnail(picture) if shows else None
    return _FileRead(file, prepare_picture(picture, several=several), thumbnail)
