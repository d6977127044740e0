"""The formats a network is exported in: for each, how it is written and how it is read again to be compared."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mdistiller_icc.errors import UserError
from mdistiller_icc.run.network import Logits
from mdistiller_icc.teachers import checkpoint

Classify = Callable[[Tensor], Tensor]
"""Images (N, 3, H, W) to logits (N, C)."""


class Format(NamedTuple):
    """A file format.

    Attributes:
        write: the network, two example images, what is told of it, the file.
        read: the file, and how an untrained network is made; returns what is in the file.
    """

    write: Callable[[nn.Module, Tensor, dict[str, Any], Path], None]
    read: Callable[[Path, Callable[[], nn.Module]], Classify]


def _write_state_dict(network: nn.Module, _example: Tensor, _told: dict[str, Any], file: Path) -> None:
    checkpoint.save(dict(network.state_dict()), file)


def _read_state_dict(file: Path, build: Callable[[], nn.Module]) -> Classify:
    return _filled(build(), torch.load(file, weights_only=True))


def _write_safetensors(network: nn.Module, _example: Tensor, told: dict[str, Any], file: Path) -> None:
    _need("safetensors", "safetensors", file)
    from safetensors.torch import save

    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    file.write_bytes(save(state, _as_text(told)))


def _read_safetensors(file: Path, build: Callable[[], nn.Module]) -> Classify:
    from safetensors.torch import load_file

    return _filled(build(), load_file(file))


def _write_program(network: nn.Module, example: Tensor, told: dict[str, Any], file: Path) -> None:
    any_number = {0: torch.export.Dim("batch")}
    program = torch.export.export(Logits(network), (example,), dynamic_shapes=(any_number,))
    written = io.BytesIO()  # torch's own writer ends the process where a disk is full
    torch.export.save(program, written, extra_files={"about.json": json.dumps(told)})
    file.write_bytes(written.getbuffer())


def _read_program(file: Path, _build: Callable[[], nn.Module]) -> Classify:
    program: Classify = torch.export.load(file).module()
    return program


def _write_onnx(network: nn.Module, example: Tensor, told: dict[str, Any], file: Path) -> None:
    for module in ("onnx", "onnxscript", "onnxruntime"):
        _need(module, "onnx", file)
    any_number = {0: torch.export.Dim("batch")}
    program = torch.onnx.export(
        Logits(network), (example,), input_names=["image"], output_names=["logits"], dynamic_shapes=(any_number,),
        dynamo=True, verbose=False,
    )  # fmt: skip
    assert program is not None, "dynamo=True returns a program"
    program.model.metadata_props.update(_as_text(told))
    program.save(file, external_data=False)


def _read_onnx(file: Path, _build: Callable[[], nn.Module]) -> Classify:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"image": images.numpy()})[0])


def _filled(network: nn.Module, state: dict[str, Tensor]) -> Classify:
    network.load_state_dict(state)
    return Logits(network.eval())


def _as_text(told: dict[str, Any]) -> dict[str, str]:
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in told.items()}


def _need(module: str, extra: str, file: Path) -> None:
    if importlib.util.find_spec(module) is None:
        raise UserError(f"writing {file.suffix} needs {module}: pip install 'mdistiller_icc[{extra}]'")


STATE_DICT = Format(_write_state_dict, _read_state_dict)
FORMATS = {
    ".pth": STATE_DICT,
    ".pt": STATE_DICT,
    ".safetensors": Format(_write_safetensors, _read_safetensors),
    ".pt2": Format(_write_program, _read_program),
    ".onnx": Format(_write_onnx, _read_onnx),
}
