"""Turn a network into a program of torch.export, and that into the content of a file."""

import io
import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from mnist_vision.common.errors import UserError
from mnist_vision.inference.onnx_network import INPUT_NAME
from mnist_vision.models.classifier import DigitClassifier

METADATA_FILE = "metadata.json"  # in a pt2 file


def check_packages(setting: str) -> None:
    """Check that the packages that make and run ONNX files are installed.

    Args:
        setting: The setting that needs them, for the error.

    Raises:
        UserError: If one is missing.
    """
    for name in ("onnx", "onnxruntime", "onnxscript"):
        try:
            import_module(name)
        except ImportError as error:
            raise UserError(
                f"{setting}: {name} is not installed; pip install 'mnist_vision[onnx]'"
            ) from error


class _Outputs(nn.Module):
    """The network with `outputs` as its forward pass."""

    def __init__(self, model: DigitClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.model.outputs(images)


@torch.no_grad()
def capture(model: DigitClassifier, images: Tensor, *, any_size: bool) -> ExportedProgram:
    """Record what a network computes, for batches of any size.

    Args:
        model: The network, in evaluation mode.
        images: Any images `Tensor[B, 1, H, W]` that the network takes; B is at least 2.
        any_size: Whether the program takes images of any height and width.
    """
    # By name alone a size would need to be free of conditions that are always met, such as
    # 1 % (16 * (width // 2)) != 0.
    sizes = {0: Dim.DYNAMIC, **({2: Dim.DYNAMIC, 3: Dim.DYNAMIC} if any_size else {})}
    return torch.export.export(_Outputs(model), (images,), dynamic_shapes=(sizes,))


def output_names(program: ExportedProgram) -> list[str]:
    """Get the names of the outputs, in order."""
    spec = program.call_spec.out_spec
    assert spec is not None
    return list(spec.context)


def to_onnx(program: ExportedProgram, metadata: Mapping[str, str]) -> bytes:
    """Convert a program to the content of an ONNX file.

    Args:
        program: The program.
        metadata: Texts by name, for the file.
    """
    converted = torch.onnx.export(
        program,
        input_names=[INPUT_NAME],
        output_names=output_names(program),
        custom_translation_table={torch.ops.aten.sort.stable: _sort_stably},
        verbose=False,
    )
    assert converted is not None
    return with_metadata(converted.model_proto.SerializeToString(), metadata)


def with_metadata(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """Replace the metadata in the content of an ONNX file.

    Args:
        content: The content.
        metadata: Texts by name.
    """
    import onnx

    model = onnx.load_from_string(content)
    onnx.helper.set_model_props(model, dict(metadata))
    return bytes(model.SerializeToString())


def to_pt2(program: ExportedProgram, metadata: Mapping[str, str]) -> bytes:
    """Convert a program to the content of a file for torch.export.load.

    Args:
        program: The program.
        metadata: Texts by name, for the file.
    """
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={METADATA_FILE: json.dumps(dict(metadata))})
    return file.getvalue()


def _sort_stably(values: Any, *, stable: bool, dim: int, descending: bool) -> Any:
    """Write a stable sort in ONNX, for which torch has no translation.

    Of equal values, ONNX's TopK gives the one of the lowest index first.
    """
    import onnxscript

    op: Any = onnxscript.opset18
    size = op.Gather(op.Shape(values), op.Constant(value_ints=[dim]))
    return op.TopK(values, size, axis=dim, largest=int(descending), sorted=1)
