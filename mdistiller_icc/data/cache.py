"""Decodes a folder tree of small images once and maps the result into memory ever after."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import socket
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np

from .images import fitted, open_rgb
from .source import Files

FORMAT = 2
CHUNK = 1024
CHECKSUM_BYTES = 4
SUFFIX = ".images"
ABANDONED = 24 * 3600
"""Seconds after which a file that another machine was writing is nobody's."""


def decode(files: Files, size: int, root: Path, resize: bool = False) -> np.ndarray:
    """The images as uint8 (N, 3, size, size), memory-mapped from a cache that is built on first use.

    The cache is ``root/.cache``, or the user's cache folder where that cannot be written; its name holds a digest of
    the files' names, sizes and modification times. A damaged one is told and rebuilt.

    Args:
        resize: bring every image to that size, see `images.fitted`; else one of another size is refused.

    Raises:
        UserError: an image that cannot be decoded or has another size.
    """
    shape = (len(files), 3, size, size)
    name = f"{files.folder.name}-{digest(files, size, size if resize else None)}{SUFFIX}"
    folders = places(root)
    for folder in folders:
        _clear(folder)
        if (images := _read(folder / name, shape)) is not None:
            return images
    print(f"decoding {len(files):,} images of {files.folder} once, into a cache", file=sys.stderr)
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(folder / name, files, shape, resize)
        except OSError:
            continue
        if (images := _read(folder / name, shape)) is not None:
            return images
    return np.concatenate(list(decoded_chunks(files, size, size if resize else None)))


def places(root: Path) -> tuple[Path, Path]:
    """Where a cache may lie: beside the images under ``root``, or in the user's folder."""
    return root / ".cache", _user_cache()


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mdistiller_icc"


def digest(files: Files, size: int, resize: int | None = None) -> str:
    """Of the files' names, sizes and modification times, and of how they are brought to size."""
    hashed = hashlib.sha256(f"{FORMAT} {size}{f' of {resize}' if resize else ''}\n".encode())
    folder = os.path.join(os.fsencode(files.folder), b"")
    for name in files.names.tolist():  # joined as bytes: 60,000 Path objects would take longer than reading the cache
        status = os.stat(folder + name)
        hashed.update(b"%s\0%d %d\n" % (name, status.st_size, status.st_mtime_ns))
    return hashed.hexdigest()[:24]


def _pixels(file: Path, size: int, resize: int | None) -> np.ndarray:
    image = open_rgb(file, size) if resize is None else fitted(open_rgb(file), resize, size)
    return np.asarray(image).transpose(2, 0, 1)


def decoded_chunks(files: Files, size: int, resize: int | None = None) -> Iterator[np.ndarray]:
    """The images, uint8 (`CHUNK`, 3, size, size) at a time; their shorter sides brought to ``resize`` first, if given.

    Raises:
        UserError: an image that cannot be decoded, or has another size though none is to be brought to it.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(files), CHUNK):
            chunk = [files[row] for row in range(start, min(start + CHUNK, len(files)))]
            yield np.ascontiguousarray(np.stack(list(pool.map(_pixels, chunk, repeat(size), repeat(resize)))))


def _header(shape: tuple[int, ...]) -> bytes:
    """How an npy file of such images begins, to the byte."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()


def _write(path: Path, files: Files, shape: tuple[int, ...], resize: bool) -> None:
    """Write an npy file with its checksum behind it, aside first so that nobody reads half of one."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.{socket.gethostname()}")
    try:
        with open(aside, "wb") as stream:
            checksum = 0
            stream.write(_header(shape))
            for chunk in decoded_chunks(files, shape[-1], shape[-1] if resize else None):
                checksum = zlib.crc32(chunk.data, checksum)
                stream.write(chunk.data)
            stream.write(checksum.to_bytes(CHECKSUM_BYTES, "little"))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Map a cache file, or None if it is missing or, which is told, not what was written."""
    header = _header(shape)
    try:
        with open(path, "rb") as stream:
            if os.fstat(stream.fileno()).st_size == len(header) + int(np.prod(shape)) + CHECKSUM_BYTES:
                begins = stream.read(len(header))
                images = np.memmap(stream, np.uint8, "r", len(header), shape)
                stream.seek(-CHECKSUM_BYTES, os.SEEK_END)
                if begins == header and zlib.crc32(images.data) == int.from_bytes(stream.read(), "little"):
                    return images
    except OSError:
        return None
    print(f"{path}: damaged, so the images are decoded again", file=sys.stderr)
    return None


def _clear(folder: Path) -> None:
    """Delete what processes that are gone were writing."""
    for file in folder.glob(f"*{SUFFIX}.*"):
        pid, _, host = file.name.rpartition(f"{SUFFIX}.")[2].partition(".")
        with contextlib.suppress(OSError):
            here = os.name == "posix" and host == socket.gethostname() and pid.isdecimal()
            if (here and not _alive(int(pid))) or time.time() - file.stat().st_mtime > ABANDONED:
                file.unlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True
