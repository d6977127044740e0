"""Images with objects in COCO's JSON, as a data set: what is in the file, looked at before a run begins."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mdistiller_icc.errors import UserError, nearest, shown

Target = dict[str, Any]
"""Of one image: ``boxes`` (N, 4) as x1, y1, x2, y2 in pixels, ``labels`` (N,) from 1, ``objects`` (N,), the objects'
numbers in the data set, ``masks`` (N, H, W) where they are wanted, and ``number``, which its randomness comes from."""


@dataclass(frozen=True)
class Picture:
    """An image of the file with its objects that are neither crowds nor without area."""

    id: int
    path: Path
    height: int
    width: int
    boxes: np.ndarray
    labels: np.ndarray
    objects: np.ndarray
    segmentations: list[Any]


class Coco:
    """The images of an annotation file, in its order.

    Attributes:
        content: the file's, as pycocotools reads it.
        categories: COCO's ids of the classes; label i + 1 is the i-th of them, in ascending order.
        classes: their names.
        notes: a line for each thing of the file that is odd and was dealt with.
    """

    def __init__(self, annotations: Path, images: Path, masks: bool) -> None:
        self.file, self.masks = annotations, masks
        self.content = _read(annotations)
        names = _categories(self.content, annotations)
        self.categories, self.classes = tuple(names), tuple(names.values())
        self.notes: list[str] = []
        self.pictures = self._pictures(images)

    def with_objects(self) -> list[Picture]:
        """The images that training can use: those with an object."""
        return [picture for picture in self.pictures if len(picture.boxes)]

    def _pictures(self, folder: Path) -> list[Picture]:
        entries: dict[int, dict[str, Any]] = {}
        for entry in self.content["images"]:
            with _told(self.file, "image", entry):
                sizes = entry["height"], entry["width"]
                if not all(isinstance(size, int) and size > 0 for size in sizes):
                    raise UserError(f"{self.file}: image {entry['id']} is {shown(sizes[1])}×{shown(sizes[0])} pixels")
                if entry["id"] in entries:
                    raise UserError(f"{self.file}: two images have the id {entry['id']}")
                entries[entry["id"]] = entry
        if not entries:
            raise UserError(f"{self.file}: has no images")
        _check_files(folder, [entry["file_name"] for entry in entries.values()], self.file)
        objects = self._objects(entries)
        return [self._picture(entry, folder, objects[number]) for number, entry in entries.items()]

    def _objects(self, entries: dict[int, dict[str, Any]]) -> dict[int, list[tuple[int, dict[str, Any]]]]:
        """The objects of each image, with their numbers."""
        objects: dict[int, list[tuple[int, dict[str, Any]]]] = {number: [] for number in entries}
        ids: set[int] = set()
        found: Counter[int] = Counter()
        empty: list[int] = []
        for place, entry in enumerate(self.content["annotations"]):
            with _told(self.file, "annotation", entry):
                number, image, category = entry["id"], entry["image_id"], entry["category_id"]
                at = f"{self.file}: annotation {number}"
                if number == 0:
                    raise UserError(f"{at}: pycocotools takes the id 0 for no object; number them from 1")
                if number in ids:
                    raise UserError(f"{self.file}: two annotations have the id {number}")
                ids.add(number)
                if image not in entries:
                    raise UserError(f"{at}: no image has the id {image}")
                if category not in self.categories:
                    raise UserError(f"{at}: no category has the id {category}")
                x, y, width, height = map(float, entry["bbox"])
                if not all(map(math.isfinite, (x, y, width, height))) or width < 0 or height < 0:
                    raise UserError(f"{at}: its box {shown(entry['bbox'])} is no x, y, width, height")
                entry.setdefault("iscrowd", 0)
                entry.setdefault("area", width * height)
                found[category] += 1
                inside = _inside((x, y, x + width, y + height), entries[image])
                if entry["iscrowd"]:
                    continue
                if inside[2] <= inside[0] or inside[3] <= inside[1]:
                    empty.append(number)
                    continue
                if self.masks and not entry.get("segmentation"):
                    raise UserError(f"{at}: has no segmentation, which a Mask R-CNN learns from")
                objects[image].append((place, entry))
        if empty:
            many = f"{len(empty)} boxes have" if len(empty) > 1 else "a box has"
            self.notes.append(f"{self.file}: {many} no area, and nothing is learnt from it: annotation {empty[0]}")
        missing = [name for number, name in zip(self.categories, self.classes, strict=True) if not found[number]]
        if missing:
            these = f"{', '.join(missing[:4])}{', …' if len(missing) > 4 else ''}"
            self.notes.append(
                f"{self.file}: no annotation has the categor{'y' if len(missing) == 1 else 'ies'} {these}"
            )
        return objects

    def _picture(self, entry: dict[str, Any], folder: Path, objects: list[tuple[int, dict[str, Any]]]) -> Picture:
        corners = [_corners(one) for _, one in objects]
        boxes = [_inside(box, entry) for box in corners]
        return Picture(
            id=entry["id"],
            path=folder / entry["file_name"],
            height=entry["height"],
            width=entry["width"],
            boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
            labels=np.array([self.categories.index(one["category_id"]) + 1 for _, one in objects], dtype=np.int64),
            objects=np.array([place for place, _ in objects], dtype=np.int64),
            segmentations=[one["segmentation"] for _, one in objects] if self.masks else [],
        )


def load_image(picture: Picture) -> Tensor:
    """Its pixels, (3, H, W) in [0, 1].

    Raises:
        UserError: the file cannot be read, or is not of the size that the annotations say.
    """
    try:
        with Image.open(picture.path) as opened:
            pixels = np.array(opened.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{picture.path}: cannot be read as an image ({error})") from None
    if pixels.shape[:2] != (picture.height, picture.width):
        height, width = pixels.shape[:2]
        raise UserError(
            f"{picture.path}: is {width}×{height} pixels, and its annotations say {picture.width}×{picture.height}"
        )
    return torch.from_numpy(pixels).permute(2, 0, 1).float().div_(255)


def load_masks(picture: Picture) -> Tensor:
    """Its objects' masks, uint8 (N, H, W), of polygons or run lengths."""
    from pycocotools import mask

    decoded = []
    for number, segmentation in zip(picture.objects, picture.segmentations, strict=True):
        try:
            coded = segmentation
            if not (isinstance(segmentation, dict) and isinstance(segmentation["counts"], (str, bytes))):
                coded = mask.frPyObjects(segmentation, picture.height, picture.width)
            one = mask.decode(coded)
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise UserError(f"{picture.path}: the mask of its object {number} cannot be read ({error})") from None
        decoded.append(one if one.ndim == 2 else one.any(axis=2))
    return torch.from_numpy(np.stack(decoded).astype(np.uint8))


def _read(file: Path) -> dict[str, Any]:
    """An annotation file's content.

    Raises:
        UserError: it is not there, or not COCO's JSON.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        names = [other.name for other in file.parent.glob("*.json")] if file.parent.is_dir() else []
        raise UserError(f"{file}: no such annotation file{nearest(file.name, names)}") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: is no JSON ({error})") from None
    for key in ("images", "annotations", "categories"):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise UserError(f"{file}: is not in COCO's layout: it has no list of {key}")
    return dict(content)


def _categories(content: dict[str, Any], file: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for entry in content["categories"]:
        with _told(file, "category", entry):
            if not isinstance(entry["id"], int) or entry["id"] in names:
                raise UserError(f"{file}: the id {shown(entry['id'])} of a category is no number of its own")
            names[entry["id"]] = str(entry["name"])
    if not names:
        raise UserError(f"{file}: has no categories")
    return dict(sorted(names.items()))


def _check_files(folder: Path, names: list[str], file: Path) -> None:
    """Refuse an image that is not there; each folder is listed once.

    Raises:
        UserError: naming the first.
    """
    there: dict[str, set[str]] = {}
    missing = []
    for name in names:
        below, _, last = name.rpartition("/")
        if below not in there:
            there[below] = set(os.listdir(folder / below)) if (folder / below).is_dir() else set()
        if last not in there[below]:
            missing.append(name)
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UserError(f"{folder / missing[0]}: no such image, and {file} has it{more}")


def _corners(entry: dict[str, Any]) -> tuple[float, float, float, float]:
    x, y, width, height = map(float, entry["bbox"])
    return x, y, x + width, y + height


def _inside(box: tuple[float, float, float, float], image: dict[str, Any]) -> tuple[float, float, float, float]:
    """The part of a box that lies in its image."""
    width, height = image["width"], image["height"]
    x1, y1, x2, y2 = box
    return max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))


@contextlib.contextmanager
def _told(file: Path, what: str, entry: dict[str, Any]) -> Iterator[None]:
    """Say which entry of a file lacks what it has to have."""
    at = f"{file}: {what} {shown(entry.get('id', 'without an id'))}"
    try:
        yield
    except KeyError as error:
        raise UserError(f"{at}: has no {error.args[0]}") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"{at}: cannot be read ({error})") from None
