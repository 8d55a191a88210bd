"""Run the benchmarks of `conf/benchmark.yaml`, print one table and write `benchmark.json`."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class
from omegaconf import DictConfig, ListConfig, OmegaConf
from tabulate import tabulate

from mnist_vision.benchmarks.data_path import measure_data_path
from mnist_vision.benchmarks.detector_speed import measure_detector
from mnist_vision.benchmarks.harness import Row, describe_device
from mnist_vision.benchmarks.lightning_overhead import measure_lightning
from mnist_vision.benchmarks.onnx_speed import measure_export
from mnist_vision.benchmarks.small_maps import measure_small_maps
from mnist_vision.benchmarks.startup import measure_startup
from mnist_vision.benchmarks.throughput import measure_architectures
from mnist_vision.benchmarks.time_to_accuracy import measure_target
from mnist_vision.common.accelerators import check_accelerator
from mnist_vision.common.conf import CONF_DIR
from mnist_vision.common.errors import FieldError, UserError
from mnist_vision.common.files import write_json
from mnist_vision.common.instantiation import check_arguments
from mnist_vision.common.memory import keep_freed_memory
from mnist_vision.common.quiet import quiet_libraries
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.inference.exported_program import check_packages
from mnist_vision.runs.file_names import BENCHMARK_FILE

log = logging.getLogger(__name__)

PARTS: dict[str, Callable[[DictConfig], list[Row]]] = {
    "data": measure_data_path,
    "lightning": measure_lightning,
    "target": measure_target,
    "detector": measure_detector,
    "small_maps": measure_small_maps,
    "architectures": measure_architectures,
    "startup": measure_startup,
    "export": measure_export,
}


def prepare(config: DictConfig) -> Callable[[], None]:
    """Check the configuration.

    Args:
        config: The composed `conf/benchmark.yaml`.

    Returns:
        What measures the chosen parts, prints the table and writes `benchmark.json`.

    Raises:
        UserError: If a part or an architecture is unknown, a package or the accelerator is missing,
            or the data are scenes.
    """
    _check_names("parts", config.parts, PARTS)
    networks = sorted(path.stem for path in (CONF_DIR / "model").glob("*.yaml"))
    _check_names("architectures", config.architectures, networks)
    if "export" in config.parts:
        check_packages("parts=[export]")
    check_accelerator("accelerator", config.accelerator)
    quiet_libraries()
    check_arguments(OmegaConf.to_container(config.data, resolve=True), "data")
    data: type[MNISTDataModule] = get_class(config.data._target_)
    if data.gives_scenes:
        raise UserError("data=mnist_scenes: the benchmark measures single digits; use data=mnist")
    return partial(_run, config)


def _check_names(key: str, names: Any, known: Iterable[str]) -> None:
    if not isinstance(names, ListConfig):
        raise FieldError(key, names, f"must be a list, such as [{names}]")
    for name in names:
        if name not in known:
            raise FieldError(key, name, f"must be some of {', '.join(known)}")


def _run(config: DictConfig) -> None:
    torch.set_flush_denormal(True)
    keep_freed_memory()
    rows = []
    for part in config.parts:
        log.info("measuring: %s", part)
        rows += PARTS[part](config)
    for line in table(rows).splitlines():
        log.info(line.rstrip())
    write_json(
        Path(config.output_dir) / BENCHMARK_FILE,
        {
            "version": 1,
            "device": describe_device(config),
            "precision": config.precision,
            "threads": torch.get_num_threads(),
            "rows": [asdict(row) for row in rows],
        },
    )


def table(rows: Sequence[Row]) -> str:
    """Format the rows as an aligned text table."""
    cells = [(row.what, row.ours, row.theirs, row.unit, row.verdict) for row in rows]
    headers = ("", "ours", "theirs", "unit", "")
    return tabulate(cells, headers, tablefmt="plain", floatfmt=",.2f")
