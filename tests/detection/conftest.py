"""A small data set in COCO's form: real images pasted on canvases, whose boxes and masks are therefore exact."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PICTURES = "MDISTILLER_ICC_PICTURES"
"""The variable that may name a folder of class folders of small photographs, such as CIFAR's; else digits serve."""
SIDE = 96
SMALL = [
    "DETECTION.MIN_SIZE", f"[{SIDE}]", "DETECTION.MAX_SIZE", "128", "DETECTION.BACKBONE", "none",
    "DETECTION.TRAINABLE", "5", "DETECTION.NORM", "batch", "DETECTION.FPN_CHANNELS", "32", "DETECTION.BOX_WIDTH", "64",
    "DETECTION.MASK_WIDTH", "16", "DETECTION.ANCHORS", "[16, 24, 32, 48, 64]", "DETECTION.RPN_KEPT", "200",
    "DETECTION.PROPOSALS", "64", "DETECTION.WARMUP_STEPS", "4", "DATASET.NUM_WORKERS", "0", "SOLVER.BATCH_SIZE", "4",
    "DATASET.TYPE", "pasted",
]  # fmt: skip
"""What brings a detector's run to the size of a test."""


def pictures() -> dict[str, list[np.ndarray]]:
    """Small pictures by their class, (H, W, 3) bytes."""
    if folder := os.environ.get(PICTURES):
        files = {below.name: sorted(below.iterdir())[:100] for below in sorted(Path(folder).iterdir())}
        return {
            name: [np.asarray(Image.open(file).convert("RGB")) for file in several] for name, several in files.items()
        }
    from sklearn.datasets import load_digits

    digits = load_digits()
    found: dict[str, list[np.ndarray]] = {}
    for label in (0, 1, 4, 7):
        images = digits.images[digits.target == label][:60]
        grey = [np.kron(255 - image * 15, np.ones((4, 4))).astype(np.uint8) for image in images]
        found[f"digit {label}"] = [np.repeat(image[..., None], 3, axis=2) for image in grey]
    return found


def make(folder: Path, name: str, count: int, seed: int, square: bool = False) -> Path:
    """Write ``count`` canvases of one to three pictures each, and their annotations; returns the latter's file.

    ``train`` has the pictures of even number, any other set those of odd number.
    """
    found = {label: several[name != "train" :: 2] for label, several in pictures().items()}
    names = sorted(found)
    numbers = np.random.default_rng(seed)
    images, annotations = [], []
    (folder / name).mkdir(parents=True)
    (folder / "annotations").mkdir(exist_ok=True)
    for image in range(1, count + 1):
        height, width = (SIDE, SIDE) if square else (SIDE + 16 * (image % 4 == 1), SIDE + 16 * (image % 4 == 0))
        canvas = numbers.normal(120, 12, (height, width, 3)).clip(0, 255).astype(np.uint8)
        taken = np.zeros((height, width), bool)
        for _ in range(numbers.integers(1, 4)):
            label = int(numbers.integers(len(names)))
            picture = found[names[label]][int(numbers.integers(len(found[names[label]])))]
            side = int(numbers.integers(24, 45))
            pixels = np.asarray(Image.fromarray(picture).resize((side, side)))
            x, y = int(numbers.integers(width - side)), int(numbers.integers(height - side))
            if taken[y : y + side, x : x + side].any():
                continue
            taken[y : y + side, x : x + side] = True
            canvas[y : y + side, x : x + side] = pixels
            corners = [x, y, x + side, y, x + side, y + side, x, y + side]
            annotations.append({
                "id": len(annotations) + 1, "image_id": image, "category_id": 10 * (label + 1), "iscrowd": 0,
                "bbox": [x, y, side, side], "area": side * side, "segmentation": [corners],
            })  # fmt: skip
        Image.fromarray(canvas).save(folder / name / f"{image:04}.png")
        images.append({"id": image, "file_name": f"{image:04}.png", "height": height, "width": width})
    categories = [{"id": 10 * (label + 1), "name": called} for label, called in enumerate(names)]
    file = folder / "annotations" / f"{name}.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return file


def options(folder: Path) -> list[str]:
    """Overrides that name such a data set, with those of `SMALL`."""
    named = ["DATASET.ROOT", str(folder)]
    for split in ("train", "val"):
        named += [f"DETECTION.{split.upper()}.ANNOTATIONS", f"annotations/{split}.json"]
        named += [f"DETECTION.{split.upper()}.IMAGES", split]
    return [*SMALL, *named]


@pytest.fixture(scope="session")
def pasted(tmp_path_factory):
    """The folder of such a data set: 14 images to train on and 6 to test on; some stand, some lie."""
    folder = tmp_path_factory.mktemp("pasted")
    make(folder, "train", 14, seed=0)
    make(folder, "val", 6, seed=1)
    return folder


@pytest.fixture
def configured(pasted):
    """A detector's configuration on that data set: ``configured("DISTILLER.TYPE", "DKD", …)``."""
    from mdistiller_icc.detection.settings import configure

    return lambda *more: configure(None, [*options(pasted), *more])


@pytest.fixture(scope="session")
def batch(pasted):
    """A batch of its training images, and targets with masks, anew each time: ``batch()``."""
    from mdistiller_icc.detection.coco import Coco
    from mdistiller_icc.detection.loaders import TrainLoader

    data = Coco(pasted / "annotations" / "train.json", pasted / "train", masks=True)
    loader = TrainLoader(data, 2, 0, seed=3, workers=0)
    held = next(iter(loader))
    return lambda: copy.deepcopy(held)
