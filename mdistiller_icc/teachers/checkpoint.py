"""Reading anybody's checkpoint without running code in it, and writing ours so that anybody can read them."""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import pickle
import re
import stat
import warnings
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch

from mdistiller_icc import whole_file
from mdistiller_icc.errors import UserError
from mdistiller_icc.paths import make_folder
from mdistiller_icc.teachers.file_format import is_safetensors, read_safetensors, recognise

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
    make_folder(path.parent)
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
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise UserError(f"{path}: is a folder; name a file in it, such as student_best")
        if not stat.S_ISREG(mode):  # a pipe would be waited for
            raise UserError(f"{path}: is a pipe or a device, not a file")
        with open(path, "rb") as file:
            what = recognise(file)
            if what is not None:
                raise UserError(f"{path}: {what}")
            if is_safetensors(file):
                return read_safetensors(file)
            torch.serialization.add_safe_globals(HARMLESS)  # for good: a script of the host's may read such files too
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what torch says of odd pickles
                return torch.load(file, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except Exception as error:  # bytes that are no checkpoint make the unpickler fail in any way at all
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused and isinstance(error, pickle.UnpicklingError):
            raise UserError(
                f"{path}: holds a {refused[1]:.80}, which could run code when it is read, so it is not; "
                "where you trust it, save the network's state_dict() alone"
            ) from None
        raise UserError(f"{path}: damaged, or not a checkpoint") from None


def digest(path: str | Path) -> str:
    """The file's SHA-256, which tells in a record which teacher was used."""
    return f"sha256:{hashlib.sha256(Path(path).read_bytes()).hexdigest()}"
