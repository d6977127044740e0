"""How the CIFARs lie on a disk: torchvision's files, or a folder tree of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from mdistiller_icc.errors import UserError

from .cache import decode
from .folders import find, list_classes, list_tree
from .source import Source, Split

SIZE = 32


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
        """Read it from ``root/<folder>`` or ``root``: torchvision's files, else folders, else a download.

        Folders are ``train/<class>/*`` and ``test/<class>/*`` (or ``val/``); sorted class names are the label order.

        Raises:
            UserError: nothing is there and the download failed, or what is there is damaged.
        """
        places = (root / self.folder, root)
        if (place := find(places, self.pickles)) is not None:
            return self._read_pickles(place)
        for test in ("test", "val"):
            if (place := find(places, "train", test)) is not None:
                return _read_folders(place, test)
        return self._read_pickles(root, download=True)

    def _read_pickles(self, place: Path, download: bool = False) -> Source:
        try:
            train, test = (self.open_pickles(place, train=train, download=download) for train in (True, False))
        except Exception as error:  # torchvision checks a digest, then unpickles: what fails there has no common type
            reason = (str(error) or type(error).__name__).splitlines()[0]
            if not download:
                damaged = place / self.pickles
                raise UserError(f"{damaged}: damaged ({reason}); delete it to have it downloaded again") from error
            raise UserError(
                f"{self.title} not found: looked in {place / self.folder} and {place} for {self.pickles}/ or "
                f"train/<class>/ beside test/<class>/, and the download failed ({reason}); unpack {self.archive} from "
                "https://www.cs.toronto.edu/~kriz/cifar.html there, or say with DATASET.ROOT where it is"
            ) from error
        return Source(tuple(train.classes), _split(train), _split(test))


def _read_folders(place: Path, test: str) -> Source:
    classes = list_classes(place / "train")
    splits = []
    for name in ("train", test):
        files, labels = list_tree(place / name, classes)
        splits.append(Split(decode(files, SIZE, place), labels))
    return Source(classes, *splits)


def _split(part: Any) -> Split:
    images = np.ascontiguousarray(part.data.transpose(0, 3, 1, 2))
    return Split(images, np.asarray(part.targets, dtype=np.int64))
