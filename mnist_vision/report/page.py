"""The report: report.html, which needs no other file, report.md, results.csv and the plots."""

import base64
import csv
import io
import math
from collections.abc import Iterator
from statistics import fmean
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from tabulate import tabulate

from mnist_vision.report.blocks import Block, Plots, Section
from mnist_vision.report.grouping import Comparison, Setting, SharedTest, UntestedSetting, group
from mnist_vision.report.plotting import COLOURS
from mnist_vision.report.quantities import QUANTITIES, quantities_in
from mnist_vision.report.sections import SECTIONS
from mnist_vision.report.selection import FinishedRun, Selection

MAX_IN_SUMMARY = 10
MAX_LABEL = 40


class Report(NamedTuple):
    """The contents of files by name, report.html last, and a summary for the terminal."""

    files: dict[str, bytes]
    summary: list[str]


def make_report(selection: Selection) -> Report:
    """Make all files of a report in memory."""
    comparison = group(selection)
    made = [(section, section.make_blocks(comparison)) for section in SECTIONS]
    sections = [(section, blocks) for section, blocks in made if blocks]
    all_plots = [block for _, blocks in sections for block in blocks if isinstance(block, Plots)]
    files = {plot.file_name: plot.png for block in all_plots for plot in block.plots}
    files["results.csv"] = _csv(comparison)
    for name in ("report.md", "report.html"):
        files[name] = _render(name, sections)
    return Report(files, _summarise(comparison))


def _render(template: str, sections: list[tuple[Section, list[Block]]]) -> bytes:
    environment = Environment(
        loader=PackageLoader("mnist_vision.report"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"markdown": _escape_markdown, "data_uri": _data_uri}
    environment.filters["kind"] = lambda block: type(block).__name__
    text = environment.get_template(template).render(sections=sections, colours=COLOURS)
    return text.encode(errors="replace")


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _escape_markdown(text: str) -> str:
    """Escape text so that Markdown shows it unchanged, also in a cell of a table."""
    for character in "\\`*[]|":
        text = text.replace(character, f"\\{character}")
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _csv(comparison: Comparison) -> bytes:
    """Write a row for each run, in full precision, and for each job that did not complete."""
    rows = list(_csv_rows(comparison))
    columns = dict.fromkeys(name for row in rows for name in row)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode(errors="replace")


def _csv_rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    settings = [(test.name, setting) for test in comparison.tests for setting in test.settings]
    for name_of_test, setting in settings:
        for run in setting.runs:
            figures = {name: _csv_value(quantity.of(run)) for name, quantity in QUANTITIES.items()}
            yield _csv_row(setting.label, run, "completed", figures) | {
                "num_images": len(run.targets),
                "missed": run.results.test.missed,
                "test_data": name_of_test,
            }
    for untested in comparison.untested:
        for finished in untested.runs:
            figures = {
                "val_accuracy": finished.results.best.val_accuracy,
                "fit_seconds": finished.results.seconds.fit,
            }
            yield _csv_row(untested.label, finished, "not tested", figures)
    for job in comparison.incomplete:
        request = {"setting": " ".join(job.overrides), "architecture": job.model}
        yield request | {"status": job.status, "folder": job.folder, "reason": job.reason}


def _csv_row(label: str, run: FinishedRun, status: str, figures: dict[str, Any]) -> dict[str, Any]:
    results = run.results
    return {
        "setting": label,
        "architecture": results.architecture,
        "seed": results.seed,
        "status": status,
        "epochs": results.epochs,
        **figures,
        "num_trainable_parameters": results.num_trainable_parameters,
        "weights": results.weights,
        "device": results.environment.get("device"),
        "folder": run.folder,
        "reason": "",
    }


def _csv_value(value: float) -> float | str:
    return "" if math.isnan(value) else value


def _summarise(comparison: Comparison) -> list[str]:
    """List the best settings by validation accuracy, and the runs that are missing."""
    lines = [line for test in comparison.tests for line in _summarise_test(test)]
    if comparison.untested:
        lines += _summarise_untested(comparison.untested)
    lines += [f"{job.status}  {job.folder}: {job.reason}" for job in comparison.incomplete]
    lines += [f"skipped  {one.path}: {one.reason}" for one in comparison.skipped]
    if comparison.repeats:
        number = len(comparison.repeats)
        lines.append(f"left out  {number} with the same settings and seed as another run")
    return lines


def _summarise_test(test: SharedTest) -> list[str]:
    shown = test.settings[:MAX_IN_SUMMARY]
    columns = ("setting", "seeds", *(one.title for one in quantities_in("terminal").values()))
    table = tabulate(
        map(_summary_row, shown), columns, disable_numparse=True, maxcolwidths=[MAX_LABEL]
    )
    lines = [f"tested on {len(test.targets):,} digits, by validation accuracy", table]
    if len(test.settings) > len(shown):
        lines.append(f"and {len(test.settings) - len(shown)} more settings in the report")
    return [*lines, ""]


def _summarise_untested(settings: list[UntestedSetting]) -> list[str]:
    rows = [
        [one.label, str(len(one.runs)), f"{fmean(one.val_accuracies):.4f}"]
        for one in settings[:MAX_IN_SUMMARY]
    ]
    columns = ("setting", "seeds", "validation accuracy")
    table = tabulate(rows, columns, disable_numparse=True, maxcolwidths=[MAX_LABEL])
    return ["not tested, by validation accuracy", table, ""]


def _summary_row(setting: Setting) -> list[str]:
    values = []
    for name in quantities_in("terminal"):
        deviation = setting.show_deviation(name) if name == "test_accuracy" else ""
        values.append(f"{setting.show_mean(name)} {deviation}".rstrip())
    return [setting.label, str(len(setting.runs)), *values]
