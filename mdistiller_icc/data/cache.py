"""Decodes a folder tree of small images once and maps the result into memory ever after."""

from __future__ import annotations

import hashlib
import os
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from mdistiller_icc.errors import UserError

from .source import Files

FORMAT = 1
CHUNK = 1024


def decode(files: Files, size: int, root: Path) -> np.ndarray:
    """The images as uint8 (N, 3, size, size), memory-mapped from a cache that is built on first use.

    The cache is ``root/.cache``, or the user's cache folder where that cannot be written; its name holds a digest of
    the files' names, sizes and modification times. A damaged one is rebuilt.

    Raises:
        UserError: an image that cannot be decoded or has another size.
    """
    shape = (len(files), 3, size, size)
    name = f"{files.folder.name}-{_digest(files, size)}.images"
    folders = (root / ".cache", _user_cache())
    for folder in folders:
        if (images := _read(folder / name, shape)) is not None:
            return images
    print(f"decoding {len(files):,} images of {files.folder} once, into a cache", file=sys.stderr)
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(folder / name, files, shape)
        except OSError:
            continue
        if (images := _read(folder / name, shape)) is not None:
            return images
    return np.concatenate(list(_decoded_chunks(files, size)))


def open_rgb(file: Path) -> Image.Image:
    """Read an image file as RGB.

    Raises:
        UserError: it cannot be decoded.
    """
    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{file}: not a readable image ({error})") from error


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mdistiller_icc"


def _digest(files: Files, size: int) -> str:
    digest = hashlib.sha256(f"{FORMAT} {size}\n".encode())
    folder = os.path.join(os.fsencode(files.folder), b"")
    for name in files.names.tolist():  # joined as bytes: 60,000 Path objects would take longer than reading the cache
        status = os.stat(folder + name)
        digest.update(b"%s\0%d %d\n" % (name, status.st_size, status.st_mtime_ns))
    return digest.hexdigest()[:24]


def _pixels(file: Path, size: int) -> np.ndarray:
    pixels = np.asarray(open_rgb(file))
    if pixels.shape[:2] != (size, size):
        raise UserError(f"{file}: is {pixels.shape[1]}×{pixels.shape[0]} pixels, expected {size}×{size}")
    return pixels.transpose(2, 0, 1)


def _decoded_chunks(files: Files, size: int) -> Iterator[np.ndarray]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(files), CHUNK):
            chunk = [files[row] for row in range(start, min(start + CHUNK, len(files)))]
            yield np.ascontiguousarray(np.stack(list(pool.map(_pixels, chunk, [size] * len(chunk)))))


def _write(path: Path, files: Files, shape: tuple[int, ...]) -> None:
    """Write an npy file with its checksum behind it, aside first so that nobody reads half of one."""
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with open(aside, "wb") as stream:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
            checksum = 0
            for chunk in _decoded_chunks(files, shape[-1]):
                checksum = zlib.crc32(chunk.data, checksum)
                stream.write(chunk.data)
            stream.write(checksum.to_bytes(4, "little"))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Map a cache file, or None if it is missing or not what was written."""
    try:
        images: np.ndarray = np.load(path, mmap_mode="r")
        with open(path, "rb") as stream:
            stream.seek(-4, os.SEEK_END)
            checksum = int.from_bytes(stream.read(), "little")
    except (OSError, ValueError, EOFError):
        return None
    if images.shape != shape or images.dtype != np.uint8 or zlib.crc32(images.data) != checksum:
        return None
    return images
