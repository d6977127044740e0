from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10

from mdistiller_icc.data import cifar10, load
from mdistiller_icc.engine.progress import Silent
from mdistiller_icc.errors import UserError
from mdistiller_icc.run import configure as configuration
from mdistiller_icc.run import run

CPU = torch.device("cpu")
CLASSES = ("airplane", "automobile", "bird")
PIXELS = np.random.default_rng(0).integers(0, 256, (7, 3, 32, 32), dtype=np.uint8)
DATA = os.environ.get("MDISTILLER_ICC_DATA")


@pytest.fixture
def pickles(tmp_path, monkeypatch):
    """A CIFAR-10 of two batches and seven images in torchvision's format, whose digests torchvision is to expect."""

    def write(name: str, content: dict) -> list[str]:
        raw = pickle.dumps(content)
        file = tmp_path / "cifar10" / "cifar-10-batches-py" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(raw)
        return [name, hashlib.md5(raw).hexdigest()]

    def batch(rows: slice, labels: list[int]) -> dict:
        return {"data": PIXELS[rows].reshape(-1, 3072), "labels": labels}

    train = [
        write("data_batch_1", batch(slice(0, 3), [2, 0, 1])),
        write("data_batch_2", batch(slice(3, 5), [0, 2])),
    ]
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", [write("test_batch", batch(slice(5, 7), [1, 1]))])
    digest = write("batches.meta", {"label_names": list(CLASSES)})[1]
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": digest})
    return tmp_path


@pytest.fixture
def tree(tmp_path, paint):
    for split, count in (("train", 4), ("test", 2)):
        for label, name in enumerate(CLASSES):
            for number in range(count):
                paint(tmp_path / split / name / f"{number}.png", 80 * label + number)
    return tmp_path


def test_torchvisions_files_are_read_batch_after_batch(pickles, configure):
    loaded = load(configure({"DATASET.TYPE": "cifar10", "DATASET.ROOT": str(pickles)}), 0, CPU)
    assert (loaded.name, loaded.classes, loaded.num_data) == ("cifar10", CLASSES, 5)
    assert (loaded.image_size, loaded.augmentation) == (32, "crop+flip")
    assert loaded.train._labels.tolist() == [2, 0, 1, 0, 2]
    ((image, target),) = loaded.test
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])
    pixels = (image * std.view(3, 1, 1) + mean.view(3, 1, 1)) * 255
    assert torch.allclose(pixels, torch.from_numpy(PIXELS[5:]).float(), atol=0.01) and target.tolist() == [1, 1]


def test_it_is_told_apart_from_cifar100(pickles, configure):
    with pytest.raises(UserError, match=r"^CIFAR-100 not found: .*cifar-100-python/"):
        load(configure({"DATASET.TYPE": "cifar100", "DATASET.ROOT": str(pickles)}), 0, CPU)


def test_a_teacher_is_trained_on_a_folder_tree(tree, monkeypatch):
    monkeypatch.chdir(tree)
    options = ["DATASET.TYPE", "cifar10", "DATASET.ROOT", ".", "DISTILLER.TYPE", "ICC", "DISTILLER.STUDENT", "resnet8"]
    options += ["SOLVER.TRAINER", "icc", "SOLVER.EPOCHS", "1", "SOLVER.BATCH_SIZE", "6"]
    record = run(configuration(None, options), "teacher", device="cpu", progress=Silent())
    assert (record["dataset"], record["num_classes"], record["num_train"], record["num_test"]) == ("cifar10", 3, 12, 6)
    assert (tree / "teachers" / "cifar10" / "resnet8_icc.pth").is_file()


@pytest.mark.skipif(DATA is None or not Path(DATA, "cifar10").is_dir(), reason="MDISTILLER_ICC_DATA has no cifar10/")
def test_the_real_images(configure):
    loaded = load(configure({"DATASET.TYPE": "cifar10", "DATASET.ROOT": DATA}), 0, CPU)
    assert (loaded.num_classes, loaded.num_data, loaded.test.num_data) == (10, 50_000, 10_000)
    test = torch.cat([image for image, _ in loaded.test])
    assert test.mean((0, 2, 3)).abs().max() < 0.03 and (test.std((0, 2, 3)) - 1).abs().max() < 0.03


@pytest.fixture
def binary(tmp_path, monkeypatch):
    """A CIFAR-10 of six files with one image each in its binary version."""
    monkeypatch.setattr(cifar10, "BATCH", 1)
    folder = tmp_path / "cifar10" / cifar10.BINARY
    folder.mkdir(parents=True)
    (folder / "batches.meta.txt").write_text("\n".join([*CLASSES, ""]))
    for i, name in enumerate([*(f"data_batch_{j}.bin" for j in range(1, 6)), "test_batch.bin"]):
        (folder / name).write_bytes(bytes([i % 3]) + PIXELS[i].tobytes())
    return tmp_path


def test_the_binary_version_is_read_too(binary):
    found = cifar10.read(binary)
    assert found.classes == CLASSES and found.test.labels.tolist() == [2]
    assert found.train.labels.tolist() == [0, 1, 2, 0, 1] and found.train.labels.dtype == np.int64
    assert np.array_equal(found.train.images, PIXELS[:5]) and np.array_equal(found.test.images, PIXELS[5:6])


@pytest.mark.parametrize("name, content, told", [
    ("data_batch_3.bin", None, "data_batch_3.bin: No such file or directory"),
    ("data_batch_3.bin", bytes(3072), "data_batch_3.bin: damaged; it should hold 1 images of 3 classes"),
    ("test_batch.bin", bytes([3]) + bytes(3072), "test_batch.bin: damaged"),
    ("batches.meta.txt", None, "batches.meta.txt: .*it names the classes"),
])  # fmt: skip
def test_what_is_damaged_in_the_binary_version_is_told(binary, name, content, told):
    file = binary / "cifar10" / cifar10.BINARY / name
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(UserError, match=told):
        cifar10.read(binary)
