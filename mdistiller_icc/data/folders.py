"""Folder trees of images: which files they hold, and what class each is of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mdistiller_icc.errors import UserError

from .source import Files

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff")


def list_classes(folder: Path) -> tuple[str, ...]:
    """The sorted names of a folder's subfolders: the label order."""
    with os.scandir(folder) as entries:
        return tuple(sorted(entry.name for entry in entries if entry.is_dir() and entry.name[0] != "."))


def list_images(folder: Path) -> list[str]:
    """The sorted names of the image files directly in ``folder``."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.name.lower().endswith(SUFFIXES))


def list_tree(folder: Path, classes: Sequence[str]) -> tuple[Files, np.ndarray]:
    """List ``folder/<class>/*`` and ``folder/<class>/images/*`` in the order of ``classes``.

    Returns:
        The files and their labels, int64 (N,).

    Raises:
        UserError: a subfolder that is no class, or no images at all.
    """
    found = list_classes(folder)
    strangers = sorted(set(found) - set(classes))
    if strangers:
        raise UserError(f"{folder / strangers[0]}: not one of the {len(classes)} classes of the training images")
    names: list[str] = []
    counts = []
    for name in classes:
        images = []
        for place in (name, f"{name}/images"):
            if (folder / place).is_dir():
                images += [f"{place}/{image}" for image in list_images(folder / place)]
        names += images
        counts.append(len(images))
    if not names:
        raise UserError(f"{folder}: no images; looked for <class>/*{', *'.join(SUFFIXES)}")
    return files_of(folder, names), np.repeat(np.arange(len(classes)), counts)


def files_of(folder: Path, names: Sequence[str]) -> Files:
    """The files ``names`` of ``folder``, in that order."""
    return Files(folder, np.array([os.fsencode(name) for name in names], dtype=np.bytes_))


def find(places: Sequence[Path], *parts: str) -> Path | None:
    """The first of ``places`` that has all these subfolders."""
    return next((place for place in places if all((place / part).is_dir() for part in parts)), None)
