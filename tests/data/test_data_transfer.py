"""Training on another data set's images, labelled by the teacher."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mdistiller_icc.data import label, load
from mdistiller_icc.data.sizes import small
from mdistiller_icc.data.source import Split
from mdistiller_icc.engine.progress import Silent
from mdistiller_icc.errors import UserError
from mdistiller_icc.run import configure as configuration
from mdistiller_icc.run import run

CPU = torch.device("cpu")


@pytest.fixture
def borrowed(configure, paint, tmp_path):
    """Digits whose training images are a Tiny-ImageNet of two classes and six images, brighter from one to the next."""
    for i in range(6):
        paint(tmp_path / "tiny-imagenet-200/train" / f"n{i % 2}" / f"{i}.png", 40 * i, size=64)
        paint(tmp_path / "tiny-imagenet-200/val" / f"n{i % 2}" / f"{i}.png", 40 * i, size=64)
    return configure({"DATASET.IMAGES": "tiny_imagenet", "DATASET.ROOT": str(tmp_path), "SOLVER.BATCH_SIZE": 4})


class Brightness(nn.Module):
    """Sees a class in how red an image is."""

    def forward(self, image):
        red = image[:, 0].mean((1, 2))
        return -((red[:, None] - torch.linspace(-1, 2, 10)) ** 2), {}


def test_the_teacher_labels_images_of_another_set_and_the_test_images_stay(borrowed, configure):
    dataset = load(borrowed, 0, CPU)
    assert (
        dataset.num_data == 6
        and dataset.num_classes == 10
        and dataset.augmentation == "crop of images of tiny_imagenet"
    )
    assert all((target == -1).all() for _, target, _ in dataset.train), "nobody has labelled them yet"
    label(dataset, Brightness(), CPU)
    plain = torch.cat([image for image, _ in dataset.unlabelled])
    assert plain.shape == (6, 3, 32, 32)
    wanted = Brightness()(plain)[0].argmax(1)
    assert len(wanted.unique()) > 2
    for image, target, index in dataset.train:
        assert image.shape[1:] == (3, 32, 32) and torch.equal(target, wanted[index])
    own = load(configure(), 0, CPU)
    for (image, target), (ours, truth) in zip(dataset.test, own.test, strict=True):
        assert torch.equal(image, ours) and torch.equal(target, truth)


def test_resizing_averages_over_what_falls_into_a_pixel(borrowed):
    plain = torch.cat([image for image, _ in load(borrowed, 0, CPU).unlabelled])
    red = plain[:, 0] * 0.3237 + 0.3054  # digits' deviation and mean
    torch.testing.assert_close(red.mean((1, 2)) * 255, torch.tensor([0.0, 80, 160, 40, 120, 200]), atol=0.6, rtol=0)
    stripes = np.tile(np.array([255, 0, 0, 255], dtype=np.uint8), (1, 3, 128, 32))
    images = small(Split(stripes, np.zeros(1, dtype=np.int64)), 32).images
    assert images.shape == (1, 3, 32, 32) and images.dtype == np.uint8
    assert abs(images[..., 4:-4].astype(float) - 127.5).max() < 40


def test_labelling_leaves_ordinary_training_images_alone(configure):
    dataset = load(configure(), 0, CPU)
    before = next(iter(dataset.train))[1]
    label(dataset, Brightness(), CPU)
    assert torch.equal(next(iter(dataset.train))[1], before)


@pytest.mark.parametrize(
    "options, told",
    [
        (
            {"DATASET.IMAGES": "tiny_imagnet"},
            r"DATASET.IMAGES: unknown 'tiny_imagnet' \(did you mean 'tiny_imagenet'\?\)",
        ),
        ({"SOLVER.TRAINER": "crd"}, "SOLVER.TRAINER crd needs labels"),
        ({"DATASET.HOLDOUT": 0.1}, "nothing to hold out"),
    ],
)
def test_what_cannot_be_is_told(configure, options, told):
    with pytest.raises(UserError, match=told):
        load(configure({"DATASET.IMAGES": "digits"} | options), 0, CPU)


def test_images_of_many_sizes_are_borrowed_at_the_size_of_ones_own(configure, paint, tmp_path):
    for i, place in enumerate(("train/n0", "train/n1", "val/n0", "val/n1")):
        paint(tmp_path / "imagenet" / place / "0.png", 40 * i, size=(40, 50 + i))
    options = {"DATASET.IMAGES": "imagenet", "DATASET.ROOT": str(tmp_path)}
    for size, kind in (None, "resident"), (96, "workers"):
        dataset = load(configure(options | {"DATASET.IMAGE_SIZE": size}), 0, CPU)
        assert (dataset.num_data, dataset.loader) == (2, kind)
        plain = torch.cat([image for image, _ in dataset.unlabelled])
        assert plain.shape == (2, 3, size or 32, size or 32)
        red = plain[:, 0].mean((1, 2)) * 0.3237 + 0.3054
        torch.testing.assert_close(red * 255, torch.tensor([0.0, 40.0]), atol=0.6, rtol=0)
        assert next(iter(dataset.train))[0].shape == plain.shape
        assert next(iter(dataset.test))[0].shape[1:] == plain.shape[1:]


def test_a_student_learns_on_images_it_has_no_labels_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def train(role, *options):
        common = ["DATASET.TYPE", "digits", "DATASET.FRACTION", "0.1", "DISTILLER.STUDENT", "resnet8"]
        common += ["SOLVER.BATCH_SIZE", "8", "SOLVER.EPOCHS", "3", "SOLVER.EVAL_EVERY", "3", "EXPERIMENT.NAME", role]
        return run(configuration(None, [*common, *options]), role, device="cpu", progress=Silent())

    train("teacher", "DISTILLER.TYPE", "NONE")
    learnt = ["DISTILLER.TYPE", "KD", "DISTILLER.TEACHER", "resnet8_vanilla", "DATASET.IMAGES", "digits"]
    record = train("student", *learnt)
    assert record["status"] == "finished" and record["num_train"] < 150 and record["num_test"] == 360
    assert record["protocol"]["augmentation"] == "crop of images of digits"
    with pytest.raises(UserError, match="nobody labels them, NONE has no teacher"):
        train("student", "DISTILLER.TYPE", "NONE", "DATASET.IMAGES", "digits")
