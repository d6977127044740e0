"""What a file that is to be a checkpoint is, by its bytes: damaged, something else, or one that can be read."""

from __future__ import annotations

import json
import math
import os
import tarfile
import zipfile
from typing import Any, BinaryIO

import torch
from torch import Tensor

from mdistiller_icc.errors import UserError

ZIP = b"PK\x03\x04"
ARCHIVES = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf": "7-zip",
    b"Rar!": "RAR",
}
OTHERS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself; 'git lfs pull' fetches it",
    b"\x89HDF": "an HDF5 file, not a checkpoint of torch's",
    b"\x93NUMPY": "a NumPy file, not a checkpoint of torch's",
    b"GGUF": "a GGUF file, not a checkpoint of torch's",
}
LONGEST_HEADER = 100_000_000
"""Bytes of a safetensors file's header, by its specification."""
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
PACKED = ("F8_E8M0", "F6_E2M3", "F6_E3M2", "F4")
"""Types of safetensors files that no weights are in: scales, and numbers of less than a byte."""


def recognise(file: BinaryIO) -> str | None:
    """Say what is wrong with a file that is to be a checkpoint; None if nothing speaks against reading it.

    Args:
        file: read from its start, and left there.
    """
    try:
        return _wrong(file)
    finally:
        file.seek(0)


def _wrong(file: BinaryIO) -> str | None:
    start = file.read(512)
    if not start:
        return "is empty"
    if not start.strip(b"\0"):
        return "begins with zeros only: damaged, or not written to its end"
    if start.startswith(ZIP):
        return _wrong_with_zip(file)
    for magic, name in ARCHIVES.items():
        if start.startswith(magic):
            return f"a {name} archive, not a checkpoint; unpack it and name the file in it"
    for magic, what in OTHERS.items():
        if start.startswith(magic):
            return what
    file.seek(0)
    if tarfile.is_tarfile(file):
        return "a tar archive, not a checkpoint; unpack it and name one of the files in it"
    if is_safetensors(file):
        return None
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return "a web page, not a checkpoint; its download asks for something first, or went wrong"
    if _is_text(start):
        return "a text file, not a checkpoint"
    return None


def _is_text(start: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\r\n" for byte in start) and start.decode("utf-8", "ignore") != ""


def _wrong_with_zip(file: BinaryIO) -> str | None:
    """Read every part of torch's file format once, against its checksum: torch.load does not look at them."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            summed = any(entry.CRC for entry in archive.infolist())  # torch can be told to leave them out
            damaged = archive.testzip() if summed else None
    except Exception as error:  # damaged bytes make zipfile fail in many ways
        return f"damaged, or cut off ({error})"
    if damaged is not None:
        return f"damaged: '{damaged}' in it does not match its checksum"
    if any(name.endswith("/constants.pkl") for name in names):
        return "a TorchScript program, not a checkpoint; save the network's state_dict()"
    if not any(name.endswith("data.pkl") for name in names):
        return "a zip archive, not a checkpoint; unpack it and name the file in it"
    return None


def is_safetensors(file: BinaryIO) -> bool:
    """Whether a file begins as one in the safetensors format does; the file is left at its start."""
    file.seek(0)
    length, brace = int.from_bytes(file.read(8), "little"), file.read(1)
    file.seek(0)
    return brace == b"{" and 2 <= length <= LONGEST_HEADER


def read_safetensors(file: BinaryIO) -> dict[str, Tensor]:
    """The tensors of a safetensors file: eight bytes of length, a JSON header, and the numbers, without gaps.

    Raises:
        ValueError, KeyError, TypeError: the file is not what its header says.
        UserError: it holds `PACKED` numbers.
    """
    file.seek(0)
    header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    numbers = bytearray(os.fstat(file.fileno()).st_size - file.tell())
    file.readinto(numbers)  # type: ignore[attr-defined]
    state, end = {}, 0
    for name, told in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if told["dtype"] in PACKED:
            raise UserError(
                f"{file.name}: '{name}' is of the type {told['dtype']}, which is not read; convert it first"
            )
        dtype, shape, (begin, after) = DTYPES[told["dtype"]], told["shape"], told["data_offsets"]
        count = math.prod(shape)
        if begin != end or after - begin != count * dtype.itemsize:
            raise ValueError(f"'{name}' is not where it should be")
        end = after
        state[name] = (
            torch.frombuffer(numbers, dtype=dtype, count=count, offset=begin).reshape(shape).clone()
            if count
            else torch.empty(shape, dtype=dtype)
        )
    if end != len(numbers):
        raise ValueError("the file is longer or shorter than its header says")
    return state
