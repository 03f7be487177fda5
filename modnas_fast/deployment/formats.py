"""Files of a network: ONNX, ExportedProgram and safetensors, and what runs the first two again."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modnas_fast.runtime.checkpoint import save_weights
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import replacing

#: of ONNX, which runtimes since 2023 read (onnxruntime 1.17)
OPSET = 20
FORMATS = ("onnx", "pt2", "safetensors")
INPUT, OUTPUT = "x", "outputs"


def need(*packages: str) -> None:
    """Raises InputError that names the extra where one of the packages of it is missing."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError:
            raise InputError(f"--to: {package} is missing; pip install 'modnas-fast[export]'") from None


def exported_program(network: nn.Module, x: Tensor, varying: dict[int, str]) -> torch.export.ExportedProgram:
    """The network's graph, for any number of samples, and any size of the `varying` dimensions of x.

    Args:
        network: in evaluation mode, on the CPU.
        x: two samples or more, with at least two entries in each varying dimension.
        varying: their places.
    """
    dynamic = dict.fromkeys((0, *varying), torch.export.Dim.AUTO)
    with torch.no_grad(), _quiet():
        return torch.export.export(network.eval(), (x,), dynamic_shapes=(dynamic,), strict=False)


def save_program(program: torch.export.ExportedProgram, path: Path) -> None:
    """Writes an ExportedProgram, by rename."""
    content = io.BytesIO()
    with _quiet():
        torch.export.save(program, content)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getvalue())


def save_onnx(program: torch.export.ExportedProgram, path: Path) -> None:
    """Writes ONNX of opset `OPSET`, by rename; input `x`, output `outputs`."""
    need("onnx", "onnxscript", "onnxruntime")
    with _quiet():
        made = torch.onnx.export(
            program, opset_version=OPSET, dynamo=True, verbose=False, input_names=[INPUT], output_names=[OUTPUT]
        )
    assert made is not None
    with replacing(path) as temporary:
        temporary.write_bytes(made.model_proto.SerializeToString())


def save_int8(onnx_path: Path, path: Path) -> None:
    """Writes an ONNX file whose weights are 8-bit integers and whose activations are quantised as it runs.

    Weights of convolutions and products of matrices, symmetric, by output channel, in 7 of the 8 bits, by onnxruntime's
    dynamic quantisation.
    """
    need("onnx", "onnxruntime")
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with replacing(path) as temporary, _quiet():
        prepared = temporary.with_suffix(".prepared")
        try:
            quant_pre_process(str(onnx_path), str(prepared), skip_symbolic_shape=True)
            # 7 bits: products of 8 bits overflow the sums of processors without VNNI
            quantize_dynamic(prepared, temporary, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)
        finally:
            prepared.unlink(missing_ok=True)


class OnnxNetwork(nn.Module):
    """An ONNX file that is called as the network it came from, in onnxruntime on the CPU.

    Args:
        path: of the file.
        threads: of the CPU; None: as many as torch has.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        need("onnxruntime")
        import onnxruntime

        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def forward(self, x: Tensor) -> Tensor:
        """Outputs for x on the CPU."""
        (found,) = self._session.run([OUTPUT], {INPUT: x.contiguous().numpy()})
        return torch.from_numpy(found)


def load_program(path: Path) -> nn.Module:
    """An ExportedProgram as a module."""
    with _quiet():
        return torch.export.load(path).module()


def save(network: nn.Module, x: Tensor, varying: dict[int, str], formats: tuple[str, ...], folder: Path) -> list[str]:
    """Writes `network.FORMAT` for each of the formats; the names of the files."""
    written, program = [], None
    for form in formats:
        path = folder / f"network.{form}"
        if form == "safetensors":
            save_weights(path, network)
        else:
            program = program or exported_program(network, x, varying)
            (save_onnx if form == "onnx" else save_program)(program, path)
        written.append(path.name)
    return written


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters warn about what a user can do nothing about: packages that networks here do not use."""
    loggers: list[Any] = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "root", "")]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before):
            logger.setLevel(level)
