"""The command, and what it refuses."""

import json
import os
import shutil
import sys

import numpy as np
import onnxruntime
import pytest
import torch

from mnist_vision.inference import exporting
from mnist_vision.inference.raw_outputs import read_outputs
from mnist_vision.runs.directory import RunDirectory
from tests.conftest import limited_file_size


@pytest.fixture
def run_dir(trained, digits, tmp_path):
    """A run of the small CNN below the current folder."""
    shutil.copytree(trained()[1].parents[1], tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def export(run_here, run_dir):
    """Exports the run's best checkpoint."""

    def run(*settings, path="run/checkpoints/best.ckpt"):
        return run_here("export", f"ckpt_path={path}", *settings)

    return run


@pytest.fixture
def refusal(export, tmp_path):
    """Gives the line in which an export is refused; it leaves no file."""

    def run(*settings, **options):
        before = {path.name for path in tmp_path.rglob("*")}
        code, output = export(*settings, **options)
        assert code == 1
        (line,) = output.err.splitlines()
        new = {path.name for path in tmp_path.rglob("*")} - before
        assert not [name for name in new if name.endswith((".onnx", ".pt2")) or ".onnx." in name]
        return line.removeprefix("error: ")

    return run


def test_a_network_is_exported_described_and_tested_as_its_checkpoint(
    export, run_here, run_dir, tmp_path
):
    code, output = export()
    assert code == 0, output.err
    assert output.err == ""
    first, size, checked, use = output.out.splitlines()
    assert first == "cnn, exported to run/checkpoints/model.onnx"
    path = run_dir / "checkpoints" / "model.onnx"
    assert f"{path.stat().st_size:,} bytes" in size
    assert "200 images in batches of 1, 7 and 256: no other classes" in checked

    results = json.loads((run_dir / "results.json").read_text())
    texts = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert texts["architecture"] == "cnn"
    assert texts["is_for_scenes"] == "false"
    assert float(texts["test_accuracy"]) == results["test"]["accuracy"]
    assert texts.get("commit") == results["environment"]["git"]
    scaling = {name: results["calibration"][name] for name in ("temperature", "threshold")}
    assert {name: float(texts[name]) for name in scaling if name in texts} == {
        name: value for name, value in scaling.items() if value is not None
    }

    assert use.endswith("python -m mnist_vision.evaluate ckpt_path=run/checkpoints/model.onnx")
    code, output = run_here("evaluate", "ckpt_path=run/checkpoints/model.onnx")
    assert code == 0, output.err
    (evaluation,) = tmp_path.glob("outputs/evaluate/*/evaluation.json")
    tested = json.loads(evaluation.read_text())
    assert tested["architecture"] == "cnn"
    assert tested["test"] == results["test"]
    assert {name: tested["calibration"][name] for name in scaling} == scaling
    nll, wanted = (each["calibration"]["after"]["nll"] for each in (tested, results))
    assert nll == pytest.approx(wanted, abs=1e-4)


def test_the_libraries_print_nothing(command, trained, mnist_root):
    done = command("export", f"ckpt_path={trained()[1]}", "output=some.onnx")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 4


def test_the_test_of_a_run_is_not_that_of_its_other_checkpoints(export, run_dir):
    assert export(path="run/checkpoints/last.ckpt")[0] == 0
    session = onnxruntime.InferenceSession(run_dir / "checkpoints" / "model.onnx")
    assert "test_accuracy" not in session.get_modelmeta().custom_metadata_map


def test_a_quantised_network_is_smaller_and_compared(export, run_dir):
    code, output = export("precision=int8")
    assert code == 0, output.err
    assert output.err == ""
    assert "test accuracy" in output.out
    assert "float32: " in output.out
    session = onnxruntime.InferenceSession(run_dir / "checkpoints" / "model.int8.onnx")
    texts = session.get_modelmeta().custom_metadata_map
    assert texts["precision"] == "int8"
    results = json.loads((run_dir / "results.json").read_text())
    assert float(texts["temperature"]) == results["calibration"]["temperature"]
    assert 0 <= float(texts["test_accuracy"]) <= 1


def test_a_pt2_file_is_written(export, run_here, run_dir):
    code, output = export("format=pt2")
    assert code == 0, output.err
    program = torch.export.load(run_dir / "checkpoints" / "model.pt2").module()
    assert program(torch.zeros(3, 1, 28, 28))["scores"].shape == (3, 10)
    code, output = run_here("evaluate", "ckpt_path=run/checkpoints/model.pt2")
    assert code == 1
    assert output.err.endswith("model.pt2: is for torch.export.load alone; give a .ckpt\n")


def test_a_file_that_exists_is_replaced_only_if_told_so(refusal, export, tmp_path):
    (tmp_path / "some.onnx").write_bytes(b"old")
    assert refusal("output=some.onnx").startswith("output=some.onnx: exists; replace it with ov")
    assert (tmp_path / "some.onnx").read_bytes() == b"old"
    assert export("output=some.onnx", "overwrite=true")[0] == 0
    assert (tmp_path / "some.onnx").stat().st_size > 1000


def test_a_path_that_cannot_be_written_is_refused(refusal, tmp_path, monkeypatch):
    (tmp_path / "folder.onnx").mkdir()
    assert "output=folder.onnx: is a folder" in refusal("output=folder.onnx")
    assert "there is no folder none" in refusal("output=none/some.onnx")
    assert "must end in .onnx" in refusal("output=some.ckpt")
    assert "must end in .pt2" in refusal("output=some.onnx", "format=pt2")
    assert "not a valid path" in refusal(f"output={'x' * 5000}.onnx")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    assert "its folder cannot be written to" in refusal("output=some.onnx")


def test_settings_that_exclude_each_other_are_refused(refusal):
    assert refusal("format=pt2", "precision=int8").startswith("precision=int8: must be float32")
    assert refusal("format=tflite") == "format=tflite: must be one of onnx, pt2"
    assert refusal("precision=int4") == "precision=int4: must be one of float32, int8"


def test_what_is_no_checkpoint_is_refused(refusal, tmp_path, onnx_content):
    (tmp_path / "some.onnx").write_bytes(onnx_content)
    line = refusal("output=other.onnx", path="some.onnx")
    assert line.startswith("ckpt_path=some.onnx: is an exported network, which cannot be trained")
    assert "no such file" in refusal(path="none.ckpt")


def test_training_refuses_an_exported_network(run_here, tmp_path, onnx_content):
    (tmp_path / "some.onnx").write_bytes(onnx_content)
    code, output = run_here("train", "ckpt_path=some.onnx")
    assert code == 1
    assert "cannot be trained or exported again; give a .ckpt" in output.err


@pytest.mark.parametrize("name", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named_with_its_extra(refusal, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    wanted = f"format=onnx: {name} is not installed; pip install 'mnist_vision[onnx]'"
    assert refusal() == wanted


def test_a_full_disk_leaves_no_file(export, run_dir):
    with limited_file_size(10_000):
        code, output = export("hydra.run.dir=out")
    assert code == 1
    assert "model.onnx: File too large" in output.err
    assert {path.name for path in (run_dir / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


def worse(self, images):
    return read_outputs({"scores": np.eye(10, dtype=np.float32)[[0] * len(images)]})


def test_a_network_that_differs_from_its_checkpoint_is_not_written(refusal, monkeypatch):
    monkeypatch.setattr(exporting.OnnxNetwork, "__call__", worse)
    assert "the exported network differs (200 images" in refusal()


def test_quantisation_that_costs_accuracy_is_refused(refusal, monkeypatch):
    accuracies = iter([0.9, 0.88])
    monkeypatch.setattr(exporting, "_accuracy", lambda *_: next(accuracies))
    assert refusal("precision=int8") == (
        "precision=int8: the test accuracy falls from 0.9000 to 0.8800, by more than 0.01; "
        "use precision=float32"
    )


def test_an_exported_network_is_tested_on_single_digits_on_the_cpu(
    run_here, tmp_path, onnx_content
):
    (tmp_path / "some.onnx").write_bytes(onnx_content)
    path = "ckpt_path=some.onnx"
    code, output = run_here("evaluate", path, "trainer.accelerator=gpu")
    assert code == 1
    assert output.err.startswith("error: trainer.accelerator=gpu: must be auto or cpu")
    code, output = run_here("evaluate", path, "data=mnist_scenes")
    assert code == 1
    assert output.err.startswith("error: data=mnist_scenes: ONNX files are tested on single")


def test_an_exported_network_for_scenes_is_not_tested_on_single_digits(
    run_here, tmp_path, detector_content
):
    (tmp_path / "some.onnx").write_bytes(detector_content)
    code, output = run_here("evaluate", "ckpt_path=some.onnx")
    assert code == 1
    assert output.err.startswith("error: ckpt_path=some.onnx: was trained on scenes, and ONNX")


def test_a_run_that_another_process_writes_to_is_left_alone(refusal, run_dir):
    with RunDirectory(run_dir).lock("hydra.run.dir"):
        assert refusal().startswith("run: another process is writing to this directory")


@pytest.mark.parametrize("path", ["null", "[a.ckpt,b.ckpt]", "3"])
def test_a_checkpoint_is_named_by_text(refusal, path):
    assert refusal(path=path).endswith(": must be text")
