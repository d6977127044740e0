from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR100

from mdistiller_icc.data import cifar100, load
from mdistiller_icc.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
DATA = os.environ.get("MDISTILLER_ICC_DATA")


@pytest.fixture
def pickles(tmp_path, monkeypatch):
    """A CIFAR-100 of five images in torchvision's format, whose digests torchvision is told to expect."""
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    content = {
        "train": {"data": PIXELS.reshape(3, 3072), "fine_labels": [2, 0, 1]},
        "test": {"data": np.full((2, 3072), 9, dtype=np.uint8), "fine_labels": [1, 1]},
        "meta": {"fine_label_names": ["apple", "bear", "zebra"]},
    }
    digests = {}
    for name, value in content.items():
        raw = pickle.dumps(value)
        (folder / name).write_bytes(raw)
        digests[name] = hashlib.md5(raw).hexdigest()
    monkeypatch.setattr(CIFAR100, "train_list", [["train", digests["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", digests["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": digests["meta"]})
    return tmp_path


@pytest.mark.parametrize("inside", [False, True])
def test_torchvisions_files_are_read(pickles, tmp_path_factory, inside):
    root = pickles
    if inside:
        root = tmp_path_factory.mktemp("root")
        pickles.rename(root / "cifar100")
    source = cifar100.read(root)
    assert source.classes == ("apple", "bear", "zebra")
    assert source.train.labels.tolist() == [2, 0, 1] and source.test.labels.tolist() == [1, 1]
    assert np.array_equal(source.train.images, PIXELS)


def test_damaged_files_are_named(pickles):
    (pickles / "cifar-100-python" / "train").write_bytes(b"half of it")
    with pytest.raises(UserError, match="cifar-100-python: damaged") as error:
        cifar100.read(pickles)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(DATA is None or not Path(DATA, "cifar100").is_dir(), reason="MDISTILLER_ICC_DATA has no cifar100/")
def test_the_real_images(configure):
    bundle = load(configure({"DATASET.TYPE": "cifar100", "DATASET.ROOT": DATA}), 0, torch.device("cpu"))
    assert (bundle.num_classes, bundle.num_data, bundle.test.num_data) == (100, 50_000, 10_000)
    assert bundle.classes[0] == "apple" and bundle.classes[99] == "worm"
    test = torch.cat([image for image, _ in bundle.test])
    assert test.mean((0, 2, 3)).abs().max() < 0.02 and (test.std((0, 2, 3)) - 1).abs().max() < 0.02
