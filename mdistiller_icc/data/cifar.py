"""How the CIFARs lie on a disk: torchvision's files, or a folder tree of images."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from mdistiller_icc.errors import UserError

from .cache import decode
from .folders import find, list_training, list_tree, not_found, tell_untested, vacant
from .source import Source, Split

SIZE = 32
SOURCE = "https://www.cs.toronto.edu/~kriz"
DEFAULT_ROOT = Path("data")
"""What ``DATASET.ROOT`` is where nobody names it: the only folder that a download may make."""


class Opener(Protocol):
    """A class of torchvision's, which reads one split and downloads both."""

    def __call__(self, root: Path, train: bool, download: bool) -> Any:
        """One split of the data set under ``root``, downloaded first if asked for."""


class Layout(NamedTuple):
    """Where one of them may be.

    Attributes:
        title: as people write it.
        folder: in ``DATASET.ROOT``.
        pickles: the folder that torchvision unpacks it into.
        archive: what it unpacks.
        open_pickles: opens one split of ``pickles``.
    """

    title: str
    folder: str
    pickles: str
    archive: str
    open_pickles: Opener

    def read(self, root: Path) -> Source:
        """Read it from ``root/<folder>`` or ``root``: torchvision's files, folders, or what torchvision unpacks.

        Folders are ``train/<class>/*`` and ``test/<class>/*`` (or ``val/``); sorted class names are the label order.
        It is downloaded into the first of these places that is an empty folder, or into `DEFAULT_ROOT`.

        Raises:
            UserError: it is not there and cannot be downloaded, or what is there is damaged.
        """
        places = (root / self.folder, root)
        if (place := find(places, self.pickles)) is not None:
            return self._read_pickles(place)
        for test in ("test", "val"):
            if (place := find(places, "train", test)) is not None:
                return _read_folders(place, test)
        for place in places:
            if vacant(place) or (place / self.archive).is_file() or (place == DEFAULT_ROOT and not place.exists()):
                return self._unpack(place, places)
        advice = f"say with DATASET.ROOT where it is; an empty folder, such as {places[0]}, has it downloaded into it"
        raise not_found(self.title, places, self._layouts(), advice)

    def _unpack(self, place: Path, places: tuple[Path, ...]) -> Source:
        """Read it after torchvision has unpacked its archive, downloaded if need be."""
        absent = not place.exists()
        try:
            return self._open(place, download=True)
        except Exception as error:
            if absent:
                with contextlib.suppress(OSError):  # a part of the archive may be there
                    place.rmdir()
            raise UserError(
                f"{self.title} not found: looked in {places[0]} and {places[1]} for {self._layouts()}, and the "
                f"download failed ({_reason(error)}); put {SOURCE}/{self.archive} into {place}, or say with "
                "DATASET.ROOT where it is"
            ) from error

    def _read_pickles(self, place: Path) -> Source:
        try:
            return self._open(place, download=False)
        except Exception as error:
            damaged = place / self.pickles
            raise UserError(
                f"{damaged}: damaged ({_reason(error)}); delete it to have it made again from {SOURCE}/{self.archive}"
            ) from error

    def _open(self, place: Path, download: bool) -> Source:
        """Open both splits; torchvision checks a digest, then unpickles: what fails there has no common type."""
        train, test = (self.open_pickles(place, train=train, download=download) for train in (True, False))
        return Source(tuple(train.classes), _split(train), _split(test))

    def _layouts(self) -> str:
        return f"{self.pickles}/, {self.archive}, or train/<class>/ beside test/<class>/ or val/<class>/"


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _read_folders(place: Path, test: str) -> Source:
    classes, training = list_training(place / "train")
    testing = list_tree(place / test, classes)
    tell_untested(place / test, testing[1], classes)
    train, tested = (Split(decode(files, SIZE, place), labels) for files, labels in (training, testing))
    return Source(classes, train, tested)


def _split(part: Any) -> Split:
    images = np.ascontiguousarray(part.data.transpose(0, 3, 1, 2))
    return Split(images, np.asarray(part.targets, dtype=np.int64))
