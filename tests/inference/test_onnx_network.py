import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from mnist_vision.common.errors import UserError
from mnist_vision.inference.model_metadata import ModelMetadata
from mnist_vision.inference.onnx_network import OnnxNetwork

OURS = ModelMetadata("cnn", is_for_scenes=False).to_texts()


def by_hand(texts=OURS, taken=("B", 1, 28, 28), given=("B", 10), name="images", divisor=1.0):
    """A file that gives the sums of an image's rows, divided by a number, as scores."""
    rank = len(taken)
    nodes = [
        helper.make_node("Flatten", [name], ["pixels"], axis=1),
        helper.make_node("Slice", ["pixels", "start", "end", "axis"], ["some"]),
        helper.make_node("Div", ["some", "divisor"], ["scores"]),
    ]
    constants = [
        helper.make_tensor(key, TensorProto.INT64, [1], [value])
        for key, value in {"start": 0, "end": given[1], "axis": 1}.items()
    ]
    constants.append(helper.make_tensor("divisor", TensorProto.FLOAT, [1], [divisor]))
    graph = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, taken[:rank])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, given)],
        constants,
    )
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    onnx.helper.set_model_props(model, texts)
    return model.SerializeToString()


CORRUPT = "corrupt, or not an ONNX file: "
BAD_FILES = {
    "text": (b"some text\n" * 9, CORRUPT),
    "empty": (b"", CORRUPT),
    "foreign": (by_hand(texts={}), "was not written by mnist_vision.export"),
    "old": (
        by_hand(texts=OURS | {"mnist_vision_format": "0"}),
        "was written by another version of mnist_vision.export; export it again",
    ),
    "no architecture": (by_hand(texts=OURS | {"architecture": "a b"}), "another version"),
    "temperature": (
        by_hand(texts=OURS | {"temperature": "nan"}),
        "temperature='nan': must be a finite number",
    ),
    "cold": (by_hand(texts=OURS | {"temperature": "-1"}), "temperature='-1': must be greater than"),
    "threshold": (by_hand(texts=OURS | {"threshold": "2"}), "threshold='2': must be less than"),
    "one image": (by_hand(taken=(1, 1, 28, 28)), "takes images tensor(float) [1, 1, 28, 28]"),
    "other size": (by_hand(taken=("B", 1, 32, 32)), "['any', 1, 32, 32], must take images"),
    "other name": (by_hand(name="pictures"), "takes pictures tensor(float)"),
    "nine classes": (by_hand(given=("B", 9)), "['any', 9]; must give scores of shape"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(tmp_path, monkeypatch, capfd, kind):
    content, reason = BAD_FILES[kind]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some.onnx").write_bytes(content)
    with pytest.raises(UserError) as refused:
        OnnxNetwork("some.onnx")
    assert str(refused.value).startswith("ckpt_path=some.onnx: ")
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(onnx_content, tmp_path, capfd, share):
    path = tmp_path / "some.onnx"
    path.write_bytes(onnx_content[: int(len(onnx_content) * share)])
    with pytest.raises(UserError, match=r"ckpt_path=.*some\.onnx: "):
        OnnxNetwork(path)
    assert capfd.readouterr() == ("", "")


def test_a_path_that_leads_to_no_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"^ckpt_path=.*none\.onnx: no such file"):
        OnnxNetwork(tmp_path / "none.onnx")
    with pytest.raises(UserError, match=r"^ckpt_path=.*: cannot be read \(Is a directory\)"):
        OnnxNetwork(tmp_path)


def test_without_onnxruntime_the_error_names_the_extra(monkeypatch, onnx_content, tmp_path):
    (tmp_path / "some.onnx").write_bytes(onnx_content)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"onnxruntime is not installed; pip install 'mnist_v"):
        OnnxNetwork(tmp_path / "some.onnx")


def test_scores_that_are_nan_are_refused():
    network = OnnxNetwork("some.onnx", by_hand(divisor=0.0))  # 0 / 0
    with pytest.raises(UserError, match=r"^ckpt_path=some\.onnx: gives scores that are NaN"):
        network(np.zeros((1, 1, 28, 28), np.float32))


def test_probabilities_are_those_of_the_network(cnn, onnx_content):
    network = OnnxNetwork("some.onnx", onnx_content)
    assert network.architecture == "cnn"
    assert not network.is_for_scenes
    images = torch.rand(5, 1, 28, 28)
    with torch.no_grad():
        wanted = cnn.probabilities(cnn(images))
    found = network(images.numpy())
    torch.testing.assert_close(torch.tensor(found.probabilities), wanted, atol=1e-6, rtol=0)
    assert not found.is_missed.any()
    assert found.detections is None


def test_probabilities_are_calibrated_and_scores_are_not():
    def network(**texts):
        return OnnxNetwork("some.onnx", by_hand(texts=OURS | texts))

    images = np.random.default_rng(0).random((5, 1, 28, 28), np.float32)
    scores = network().run(images)["scores"]
    calibrated = network(temperature="2.5", threshold="0.75")
    assert (calibrated.run(images)["scores"] == scores).all()
    wanted = torch.tensor(scores / 2.5).softmax(dim=1).numpy()
    np.testing.assert_allclose(calibrated(images).probabilities, wanted, rtol=1e-6)
    assert calibrated.scaling.threshold == 0.75


def test_a_file_of_an_earlier_version_has_temperature_1():
    texts = {key: text for key, text in OURS.items() if key not in ("temperature", "scores")}
    scaling = OnnxNetwork("some.onnx", by_hand(texts=texts)).scaling
    assert (scaling.temperature, scaling.threshold) == (1, None)


def test_images_may_lie_anyhow_in_memory(onnx_content):
    network = OnnxNetwork("some.onnx", onnx_content)
    images = np.random.default_rng(0).random((28, 28, 1, 3), np.float32)
    turned = images.transpose(3, 2, 0, 1)
    assert (network(turned).probabilities == network(turned.copy()).probabilities).all()


def test_a_network_is_used_without_importing_torch(onnx_content, tmp_path):
    (tmp_path / "some.onnx").write_bytes(onnx_content)
    script = (
        "import sys, numpy\n"
        "from mnist_vision.inference.loading import load_network\n"
        "network = load_network('some.onnx')\n"
        "network(numpy.zeros((1, 1, 28, 28), numpy.float32))\n"
        "assert not {'torch', 'lightning', 'onnx', 'onnxscript'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
