"""STL-10 as it is published and as folders; Places365 as folders."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from torchvision.datasets import STL10

from mdistiller_icc.data import load, places365, stl10
from mdistiller_icc.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture
def published(tmp_path, monkeypatch):
    """An STL-10 of five images: columns before rows, classes from 1, without ``unlabeled_X.bin``."""
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 96, 96), dtype=np.uint8)
    labels = np.array([10, 1, 3, 2, 2], dtype=np.uint8)
    digests = {}
    for split, rows in (("train", slice(0, 3)), ("test", slice(3, 5))):
        for name, values in ((f"{split}_X.bin", images[rows].transpose(0, 1, 3, 2)), (f"{split}_y.bin", labels[rows])):
            (folder / name).write_bytes(values.tobytes())
            digests[name] = hashlib.md5(values.tobytes()).hexdigest()
    for split in ("train", "test"):
        there = [[name, digest] for name, digest in digests.items() if name.startswith(split)]
        unlabelled = [["unlabeled_X.bin", "0" * 32]] if split == "train" else []
        monkeypatch.setattr(STL10, f"{split}_list", there + unlabelled)
    return tmp_path, images


def test_the_published_files_without_the_unlabelled_ones(published):
    root, images = published
    source = stl10.read(root)
    assert source.classes == stl10.CLASSES
    assert np.array_equal(source.train.images, images[:3]) and source.train.labels.tolist() == [9, 0, 2]
    assert np.array_equal(source.test.images, images[3:]) and source.test.labels.tolist() == [1, 1]
    assert source.train.labels.dtype == np.int64
    (root / "stl10_binary/class_names.txt").write_text("\n".join(name.title() for name in stl10.CLASSES))
    assert stl10.read(root).classes[0] == "Airplane"


def test_it_loads_at_its_own_size_and_at_another(published, configure):
    root, _ = published
    for size, kind in ((None, "resident"), (32, "resident"), (128, "workers")):
        options = {"DATASET.TYPE": "stl10", "DATASET.ROOT": str(root), "DATASET.IMAGE_SIZE": size}
        loaded = load(configure(options | {"DATASET.NUM_WORKERS": 0}), 0, CPU)
        assert (loaded.loader, loaded.augmentation, loaded.num_classes) == (kind, "crop+flip", 10)
        assert next(iter(loaded.train))[0].shape == (3, 3, size or 96, size or 96)
        assert next(iter(loaded.test))[0].shape == (2, 3, size or 96, size or 96)


def test_damaged_files_are_told(published):
    root, _ = published
    (root / "stl10_binary/train_y.bin").write_bytes(b"123")
    with pytest.raises(UserError, match=r"stl10_binary: damaged .*stanford.edu/~acoates/stl10/stl10_binary.tar.gz"):
        stl10.read(root)


def test_where_torchvision_has_it_from():
    assert f"{stl10.read.__self__.source}/{stl10.read.__self__.archive}" == STL10.url
    assert stl10.read.__self__.published == STL10.base_folder


def test_folders(tmp_path, paint):
    for split in ("train", "test"):
        for number, name in enumerate(("ship", "bird")):
            paint(tmp_path / "stl10" / split / name / "0.png", number, 96)
    source = stl10.read(tmp_path)
    assert source.classes == ("bird", "ship") and source.train.images[:, 0, 0, 0].tolist() == [1, 0]


def test_places365_is_read_as_imagenet_is(tmp_path, paint, configure):
    for split in ("train", "val"):
        for number, name in enumerate(("airfield", "zen_garden")):
            paint(tmp_path / "places365_standard" / split / name / "0.png", number, 256)
    assert places365.read(tmp_path).classes == ("airfield", "zen_garden")
    options = {"DATASET.TYPE": "places365", "DATASET.ROOT": str(tmp_path), "DATASET.NUM_WORKERS": 0}
    loaded = load(configure(options), 0, CPU)
    assert (loaded.loader, loaded.augmentation) == ("workers", "resized-crop+flip")
    assert next(iter(loaded.train))[0].shape == (2, 3, 224, 224)
    with pytest.raises(UserError, match="Places365 not found"):
        places365.read(tmp_path / "nowhere")
