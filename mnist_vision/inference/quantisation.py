"""Quantise an ONNX file to 8-bit integers."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mnist_vision.inference.network import Images
from mnist_vision.inference.onnx_network import INPUT_NAME

_QUANTISED = ["Conv", "Gemm", "MatMul"]


def quantise(content: bytes, batches: Sequence[Images]) -> bytes:
    """Quantise weights and activations of convolutions and matrix products to 8-bit integers.

    The ranges of activations are those on the given images; weights have a range a channel.

    Source: onnxruntime's static quantisation in the QDQ format,
    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html.

    Args:
        content: The content of an ONNX file.
        batches: Images that the ranges are taken from.

    Returns:
        The content of the quantised file, with the metadata of the other.
    """
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            images = next(self._batches, None)
            return None if images is None else {INPUT_NAME: images}

    with TemporaryDirectory() as folder:
        given, prepared, quantised = (Path(folder, f"{step}.onnx") for step in range(3))
        given.write_bytes(content)
        # Symbolic shapes are known from the export.
        quant_pre_process(given, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared, quantised, Reader(), per_channel=True, op_types_to_quantize=_QUANTISED
        )
        return quantised.read_bytes()
