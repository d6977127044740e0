"""Reading the weights of a network from anybody's checkpoint, and writing ours so that anybody can read them."""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import pickle
import re
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mdistiller_icc import whole_file
from mdistiller_icc.errors import UserError
from mdistiller_icc.teachers.file_format import is_safetensors, read_safetensors, recognise

WRAPPERS = ("model", "state_dict")
PREFIXES = ("module.", "student.")
PATHS = {"PosixPath": PurePosixPath, "WindowsPath": PureWindowsPath}
_SCALAR = np.float64().__reduce__()[0]
NUMPY_SCALARS: list[Any] = [
    _SCALAR,
    (_SCALAR, "numpy.core.multiarray.scalar"),  # what numpy 1 called it
    np.dtype,
    *{type(np.dtype(code)) for code in "?" + np.typecodes["AllInteger"] + np.typecodes["Float"]},
]
"""What torch must let through to read a NumPy number: mdistiller's optimiser has one after a learning-rate drop."""
HARMLESS: list[Any] = [
    *NUMPY_SCALARS,
    argparse.Namespace,
    *((pure, f"{module}.{name}") for module in ("pathlib", "pathlib._local") for name, pure in PATHS.items()),
]
"""What a checkpoint may hold beyond what torch lets through: NumPy's numbers, a command line, paths."""


def save(content: Any, path: str | Path, before: Path | None = None) -> None:
    """Write a checkpoint so that at every moment either the old file or the new one is there, whole.

    Args:
        content: of plain values and tensors.
        path: its folder is made.
        before: where the old file stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    written = io.BytesIO()  # torch's own writer hides why a disk does not take it
    torch.save(content, written)
    with whole_file.replacing(path, before) as file:
        file.write(written.getbuffer())


def read(path: str | Path) -> Any:
    """Read a checkpoint's content onto the CPU, without running any code it may hold.

    Torch's own files are checked against their checksums first, which torch does not do itself; those in its format of
    before version 1.6 and safetensors files have none.

    Raises:
        UserError: there is no such file, or it is damaged, or no checkpoint, or holds more than `HARMLESS` things.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UserError(f"{path}: is a folder or a device, no file")
        with open(path, "rb") as file:
            what = recognise(file)
            if what is not None:
                raise UserError(f"{path}: {what}")
            if is_safetensors(file):
                return read_safetensors(file)
            with torch.serialization.safe_globals(HARMLESS):
                return torch.load(file, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except pickle.UnpicklingError as error:
        if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise UserError(
                f"{path}: holds a {found[1]:.80}, which could run code when it is read, so it is not; "
                "where you trust it, save the network's state_dict() alone"
            ) from None
        raise UserError(f"{path}: not a checkpoint of plain tensors, or damaged") from None
    except Exception:  # bytes that are no checkpoint make the unpickler fail in any way at all
        raise UserError(f"{path}: damaged, or not a checkpoint") from None


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read a network's weights from a file; see `read` and `state_of`."""
    return state_of(read(path), path)


def state_of(content: Any, path: str | Path) -> dict[str, Tensor]:
    """Find a network's weights in a checkpoint's content, in any of the field's layouts.

    ``{"model": …}`` (mdistiller, RepDistiller), ``{"state_dict": …}`` or bare keys, with or without
    ``module.`` and ``student.`` in front. A run's ``latest`` or ``best`` gives its student.

    Raises:
        UserError: there are none in it.
    """
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict) or not any(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path}: holds no network's weights (no 'model', no 'state_dict', no tensors)")
    state = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    for prefix in PREFIXES:
        if any(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return state


def load_into(model: nn.Module, state: dict[str, Tensor], path: str | Path, architecture: str) -> None:
    """Load weights into a network, all of them or none.

    Raises:
        UserError: the checkpoint is of another architecture or another number of classes.
    """
    own = model.state_dict()
    missing, foreign = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [
        f"{key} is {tuple(state[key].shape)}, not {tuple(own[key].shape)}"
        for key in own.keys() & state.keys()
        if own[key].shape != state[key].shape
    ]
    what = []
    if missing:
        what.append(f"{len(missing)} of {len(own)} keys missing, such as '{missing[0]}'")
    if foreign:
        what.append(f"{len(foreign)} unknown keys, such as '{foreign[0]}'")
    if shapes:
        what.append(min(shapes) + (f" (and {len(shapes) - 1} more)" if len(shapes) > 1 else ""))
    if what:
        raise UserError(f"{path}: not a checkpoint of {architecture}: {'; '.join(what)}")
    model.load_state_dict(state)


def digest(path: str | Path) -> str:
    """The file's SHA-256, which tells in a record which teacher was used."""
    return f"sha256:{hashlib.sha256(Path(path).read_bytes()).hexdigest()}"
