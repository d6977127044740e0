"""Every data set with a held-out split, and the images of every one for the teacher of every other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mdistiller_icc.data import data_sets, load

CPU = torch.device("cpu")
TREES = {
    "cifar10": ("cifar10", 10, 32, "test"), "cifar100": ("cifar100", 100, 32, "test"),
    "tiny_imagenet": ("tiny-imagenet-200", 200, 64, "val"), "stl10": ("stl10", 10, 96, "test"),
    "imagenet": ("imagenet", 7, 70, "val"), "places365": ("places365_standard", 5, 70, "val"),
    "imagefolder": ("imagefolder", 3, 50, "test"),
}  # fmt: skip
"""Where each lies, its classes, the pixels of an image, and its test folder; ``digits`` comes with scikit-learn."""
SHIPPED = sorted({*TREES, "digits"})


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """All of them in one folder: two training images and a test image a class."""
    made = tmp_path_factory.mktemp("every")
    numbers = np.random.default_rng(0)
    for place, classes, size, test in TREES.values():
        for i in range(classes):
            for split, count in (("train", 2), (test, 1)):
                folder = made / place / split / f"n{i:08}"
                folder.mkdir(parents=True)
                for j in range(count):
                    pixels = numbers.integers(0, 256, (size, size, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(folder / f"{j}.png")
    return made


@pytest.fixture
def pair(root, configure, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def build(name, **options):
        named = {"DATASET.TYPE": name, "DATASET.ROOT": str(root), "DATASET.IMAGE_SIZE": 32, "DATASET.NUM_WORKERS": 0}
        return load(configure(named | {f"DATASET.{key}": value for key, value in options.items()}), 0, CPU)

    return build


def test_these_are_all():
    assert set(SHIPPED) == {name for name, one in data_sets().items() if one.loaded is None}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_share_of_the_training_images_can_be_held_out(pair, name):
    whole, parted = pair(name), pair(name, HOLDOUT=0.5)
    assert parted.num_data + parted.holdout.num_data == whole.num_data
    assert parted.num_data == parted.holdout.num_data or name == "digits"
    assert sum(len(target) for _, target in parted.holdout) == parted.holdout.num_data


def pixels(loaded):
    mean, std = (torch.tensor(value).view(-1, 1, 1) for value in (loaded.mean, loaded.std))
    return ((torch.cat([image for image, _ in loaded.unlabelled]) * std + mean) * 255).round()


@pytest.mark.parametrize("lender", SHIPPED)
def test_the_images_of_any_for_the_teacher_of_any(pair, lender):
    lent, first = pair(lender), None
    for name in SHIPPED:
        own, borrowed = pair(name), pair(name, IMAGES=lender)
        assert borrowed.classes == own.classes and (borrowed.mean, borrowed.std) == (own.mean, own.std)
        assert borrowed.test.num_data == own.test.num_data and borrowed.num_data == lent.num_data
        image, _target, _index = next(iter(borrowed.train))
        assert image.shape[1:] == (3, 32, 32)
        seen = pixels(borrowed)
        assert len(seen) == lent.num_data and len(seen.unique(dim=0)) > lent.num_data * 0.9
        first = seen if first is None else first
        assert torch.equal(seen, first), "they are the lender's, whoever borrows them"
