"""Folder trees of images: which files they hold, and what class each is of."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mdistiller_icc import ranks
from mdistiller_icc.errors import UserError, nearest

from .source import Files, Source, Split

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")
OF_SYSTEMS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")
"""Folders that systems and archives leave behind."""
NAMED = 3
"""How many of many a message names."""


class Entries(NamedTuple):
    """The names in a folder, sorted; ``others`` are hidden or no images."""

    folders: list[str]
    images: list[str]
    others: list[str]


def entries(folder: Path) -> Entries:
    """What there is directly in ``folder``.

    Raises:
        UserError: a link that leads nowhere, or an image that is neither a file nor a folder.
    """
    found = Entries([], [], [])
    with os.scandir(folder) as scanned:
        for entry in scanned:
            image = entry.name.lower().endswith(SUFFIXES)
            if entry.name.startswith(".") or entry.name in OF_SYSTEMS:
                found.others.append(entry.name)
                continue
            try:
                if entry.is_dir():
                    found.folders.append(entry.name)
                    continue
                regular = entry.is_file()
            except OSError as error:  # a link to itself
                raise UserError(f"{entry.path}: {error.strerror}") from None
            if not regular and entry.is_symlink():
                raise UserError(f"{entry.path}: a link to {os.readlink(entry.path)}, which is not there")
            if not regular and image:
                raise UserError(f"{entry.path}: not a file")
            (found.images if image else found.others).append(entry.name)
    for names in found:
        names.sort()
    return found


def list_classes(folder: Path) -> tuple[str, ...]:
    """The sorted names of a folder's subfolders: the label order.

    Raises:
        UserError: two of them are one folder, or one is a link to a folder above it.
    """
    names = entries(folder).folders
    above = folder.resolve()
    seen = {_identity(place): place for place in (above, *above.parents)}
    for place in (folder / name for name in names):
        other = seen.setdefault(_identity(place), place)
        if other != place:
            raise UserError(f"{place}: the same folder as {other}")
    return tuple(names)


def list_training(folder: Path) -> tuple[tuple[str, ...], tuple[Files, np.ndarray]]:
    """The classes of a tree, and its files with their labels; every class has images.

    Raises:
        UserError: fewer than two classes, or one without images where they are looked for.
    """
    classes = list_classes(folder)
    if len(classes) < 2:
        there = f"one class, '{classes[0]}'" if classes else "no classes"
        raise UserError(f"{folder}: {there}; at least two are needed, each in a folder of its own")
    files, labels = list_tree(folder, classes)
    if empty := _without(labels, classes):
        more = f", nor have {len(empty) - 1} more classes" if empty[1:] else ""
        raise UserError(f"{folder / empty[0]}: has no images{more}; looked for {_looked_for()}")
    return classes, (files, labels)


def list_tree(folder: Path, classes: Sequence[str]) -> tuple[Files, np.ndarray]:
    """List ``folder/<class>/*`` and ``folder/<class>/images/*`` in the order of ``classes``.

    What is passed over is counted in one line.

    Returns:
        The files and their labels, int64 (N,).

    Raises:
        UserError: a subfolder that is no class, images in a folder too deep, or no images at all.
    """
    there = set(list_classes(folder))
    if strangers := sorted(there - set(classes)):
        raise UserError(f"{folder / strangers[0]}: not one of the {len(classes)} classes of the training images")
    names: list[str] = []
    _, *loose = entries(folder)
    others = sum(loose, [])
    counts = []
    for name in classes:
        images, passed_over = _of_class(folder, name) if name in there else ([], [])
        names += images
        others += passed_over
        counts.append(len(images))
    if not names:
        raise UserError(f"{folder}: no images; looked for {_looked_for()}")
    tell_passed_over(folder, others)
    return files_of(folder, names), np.repeat(np.arange(len(classes)), counts)


def read_tree(place: Path, test: str) -> Source:
    """List ``place/train/<class>/*`` and ``place/<test>/<class>/*``; not every class need be tested.

    Raises:
        UserError: see `list_training` and `list_tree`.
    """
    classes, train = list_training(place / "train")
    tested = list_tree(place / test, classes)
    tell_untested(place / test, tested[1], classes)
    return Source(classes, Split(*train), Split(*tested))


def test_folder(place: Path, names: Sequence[str]) -> str | None:
    """The first of the folders ``names`` that has images in a training class, since test images may have no labels.

    Where none has, the first there is; the others are named in one line.
    """
    there = [name for name in names if (place / name).is_dir()]
    if not there:
        return None
    classes = entries(place / "train").folders
    labelled = (name for name in there if any(_has_images(place / name / one) for one in classes))
    taken = next(labelled, there[0])
    if others := [name for name in there if name != taken]:
        say(f"{place}: tested on {taken}/; not looked at: {', '.join(others)}")
    return taken


def tell_passed_over(folder: Path, others: Sequence[str]) -> None:
    """Say in one line how many files or folders were not looked at, if there are any."""
    if others:
        why = "hidden, no images or in no class"
        say(f"{folder}: passed over {len(others):,}, {why}: {_some(others)}")


def tell_untested(folder: Path, labels: np.ndarray, classes: Sequence[str]) -> None:
    """Say in one line which classes have no test images, if any."""
    if missing := _without(labels, classes):
        which = f"{len(missing):,} of {len(classes):,} classes" if missing[1:] else "one class"
        say(f"{folder}: nobody tests {which}: {_some(missing)}")


@functools.cache
def say(line: str) -> None:
    """Once in a process, however many runs it makes on the data; of several processes the first says it."""
    if ranks.is_first():
        print(line, file=sys.stderr)


def files_of(folder: Path, names: Sequence[str]) -> Files:
    """The files ``names`` of ``folder``, in that order."""
    return Files(folder, np.array([os.fsencode(name) for name in names], dtype=np.bytes_))


def find(places: Sequence[Path], *parts: str) -> Path | None:
    """The first of ``places`` that has all these subfolders."""
    return next((place for place in places if all((place / part).is_dir() for part in parts)), None)


def not_found(title: str, places: Sequence[Path], layouts: str, advice: str) -> UserError:
    """What to say where a data set is not: where it was looked for, for what, what was found, what to do.

    Args:
        places: ``DATASET.ROOT`` last.
    """
    *_, root = places
    looked = f"{title} not found: looked in {' and '.join(map(str, places))} for {layouts}"
    if not os.path.lexists(root):
        siblings = os.listdir(root.parent) if root.parent.is_dir() else []
        return UserError(f"{looked}; there is no {root}{nearest(root.name, siblings)}; {advice}")
    there = next((place for place in places if place.is_dir()), None)
    if there is None:
        return UserError(f"{looked}; {root} is not a folder; {advice}")
    found = entries(there)
    names = [f"{name}/" for name in found.folders] + found.images + [n for n in found.others if n[0] != "."]
    return UserError(f"{looked}; {there} has {_some(names) or 'nothing'}; {advice}")


def vacant(place: Path) -> bool:
    """Whether a folder is there and has nothing in it that anybody put there."""
    return place.is_dir() and all(name[0] == "." or name in OF_SYSTEMS for name in os.listdir(place))


def _of_class(folder: Path, name: str) -> tuple[list[str], list[str]]:
    """A class's images, and what was passed over, relative to ``folder``."""
    images: list[str] = []
    others: list[str] = []
    deeper: list[str] = []
    inside = f"{name}/images"
    for place in (name, inside):
        if (folder / place).is_dir():
            found = entries(folder / place)
            images += [f"{place}/{image}" for image in found.images]
            others += [f"{place}/{other}" for other in found.others]
            deeper += [f"{place}/{below}" for below in found.folders if f"{place}/{below}" != inside]
    for place in deeper:
        if any(file.lower().endswith(SUFFIXES) for _, _, files in os.walk(folder / place) for file in files):
            raise UserError(f"{folder / place}: images in a folder too deep; looked for {_looked_for()}")
    return images, others + deeper


def _has_images(folder: Path) -> bool:
    return any(path.is_dir() and bool(entries(path).images) for path in (folder, folder / "images"))


def _looked_for() -> str:
    return f"<class>/* and <class>/images/* ({', '.join(SUFFIXES)})"


def _without(labels: np.ndarray, classes: Sequence[str]) -> list[str]:
    counts = np.bincount(labels, minlength=len(classes))
    return [name for name, count in zip(classes, counts, strict=True) if not count]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _identity(place: Path) -> tuple[int, int]:
    status = place.stat()
    return status.st_dev, status.st_ino
