"""Mean and standard deviation of the training images' channels, measured once and kept."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable

import numpy as np

from mdistiller_icc import whole_file

from .cache import decoded_chunks, digest, places
from .source import Files

Moments = tuple[tuple[float, float, float], tuple[float, float, float]]


def measured(files: Files, decoded: np.ndarray | Files, size: int, resize: int) -> Moments:
    """Mean and deviation of every channel, over all pixels of all images as they are tested; values in [0, 1].

    They are kept in the cache's folder, under a name with a digest of the files' names, sizes and times.

    Args:
        files: of the training images.
        decoded: the same decoded, if they are.
        size: of the tested images.
        resize: what their shorter sides are brought to before.

    Raises:
        UserError: an image cannot be read.
    """
    name = f"{files.folder.name}-{digest(files, size, resize)}.json"
    folders = places(files.folder.parent)
    for folder in folders:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # none, or not whole
            kept = json.loads((folder / name).read_text(encoding="utf-8"))
            return _three(kept["mean"]), _three(kept["std"])
    print(f"measuring mean and deviation of {len(files):,} images of {files.folder} once", file=sys.stderr)
    if isinstance(decoded, Files):
        mean, std = moments(decoded_chunks(files, size, resize))
    else:
        mean, std = moments(decoded[row : row + 4096] for row in range(0, len(decoded), 4096))
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            whole_file.write(folder / name, json.dumps({"images": len(files), "mean": mean, "std": std}) + "\n")
            break
    return mean, std


def moments(chunks: Iterable[np.ndarray]) -> Moments:
    """Mean and deviation of each channel of images uint8 (N, 3, H, W), chunk by chunk, in whole numbers until the end.

    >>> moments([np.array([[[[0, 255]], [[0, 0]], [[51, 51]]]], dtype=np.uint8)])
    ((0.5, 0.0, 0.2), (0.5, 0.0, 0.0))
    """
    count, total, squares = 0, [0, 0, 0], [0, 0, 0]
    levels = np.arange(256)
    for chunk in chunks:
        count += chunk[:, 0].size
        for channel in range(3):
            counts = np.bincount(chunk[:, channel].reshape(-1), minlength=256)
            total[channel] += int(counts @ levels)
            squares[channel] += int(counts @ levels**2)
    mean = [one / count / 255 for one in total]
    std = [(count * square - one**2) ** 0.5 / count / 255 for one, square in zip(total, squares, strict=True)]
    return _three(mean), _three(std)


def _three(values: list[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)
