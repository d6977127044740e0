"""Places365-Standard: 1.8 million training and 36,500 validation images of 365 kinds of places."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from .folders import find, not_found, read_tree
from .imagenet import IMAGENET
from .source import Source


def read(root: Path) -> Source:
    """List ``train/<class>/*`` and ``val/<class>/*`` in ``root/places365_standard``, ``root/places365`` or ``root``.

    Raises:
        UserError: nothing is there, or the validation images are not in class folders.
    """
    places = (root / "places365_standard", root / "places365", root)
    place = find(places, "train", "val")
    if place is None:
        advice = "get Places365-Standard from http://places2.csail.mit.edu, or say with DATASET.ROOT where it is"
        raise not_found("Places365", places, "train/<class>/ beside val/<class>/", advice)
    return read_tree(place, "val")


PLACES365 = replace(IMAGENET, name="places365", num_classes=365, read=read, known_to="forks")
"""Its images are normalised as ImageNet's, as its authors do."""
