"""How CIFAR and STL-10 lie on a disk: the published files, which torchvision reads, or a folder tree of images."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from mdistiller_icc.errors import UserError

from .cache import decode
from .folders import find, not_found, read_tree, test_folder, vacant
from .source import Files, Source, Split

DEFAULT_ROOT = Path("data")
"""What ``DATASET.ROOT`` is where nobody names it: the only folder that a download may make."""


_offline = False


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Inside, nothing is downloaded or unpacked: what is not there is missing."""
    global _offline
    before, _offline = _offline, True
    try:
        yield
    finally:
        _offline = before


class Opener(Protocol):
    """A class of torchvision's, which reads one split and downloads both."""

    def __call__(self, root: Path, train: bool, download: bool) -> Any:
        """One split of the data set under ``root``, downloaded first if asked for."""


class Layout(NamedTuple):
    """Where one of them may be.

    Attributes:
        title: as people write it.
        folder: in ``DATASET.ROOT``.
        published: the folder that torchvision unpacks it into.
        archive: what it unpacks.
        source: where the archive is had from.
        size: of its images.
        open_published: opens one split of ``published``.
        split: the images and labels of what that opens.
    """

    title: str
    folder: str
    published: str
    archive: str
    source: str
    size: int
    open_published: Opener
    split: Callable[[Any], Split]

    def read(self, root: Path) -> Source:
        """Read it from ``root/<folder>`` or ``root``: torchvision's files, folders, or what torchvision unpacks.

        Folders are ``train/<class>/*`` and ``test/<class>/*`` (or ``val/``); sorted class names are the label order.
        It is downloaded into the first of these places that is an empty folder, or into `DEFAULT_ROOT`.

        Raises:
            UserError: it is not there and cannot be downloaded, or what is there is damaged.
        """
        places = (root / self.folder, root)
        if (place := find(places, self.published)) is not None:
            return self._read_published(place)
        for place in places:
            if (place / "train").is_dir() and (test := test_folder(place, ("test", "val"))) is not None:
                source = read_tree(place, test)
                train, tested = (self._decoded(split, place) for split in (source.train, source.test))
                return Source(source.classes, train, tested)
        for place in () if _offline else places:
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
                f"download failed ({_reason(error)}); put {self.source}/{self.archive} into {place}, or say with "
                "DATASET.ROOT where it is"
            ) from error

    def _read_published(self, place: Path) -> Source:
        try:
            return self._open(place, download=False)
        except Exception as error:
            damaged, again = place / self.published, f"{self.source}/{self.archive}"
            raise UserError(
                f"{damaged}: damaged ({_reason(error)}); delete it to have it made again from {again}"
            ) from error

    def _open(self, place: Path, download: bool) -> Source:
        """Open both splits; torchvision checks a digest, then unpickles: what fails there has no common type."""
        train, test = (self.open_published(place, train=train, download=download) for train in (True, False))
        return Source(tuple(train.classes), self.split(train), self.split(test))

    def _decoded(self, split: Split, place: Path) -> Split:
        assert isinstance(split.images, Files)
        return Split(decode(split.images, self.size, place), split.labels)

    def _layouts(self) -> str:
        return f"{self.published}/, {self.archive}, or train/<class>/ beside test/<class>/ or val/<class>/"


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
