from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
import torch

from mdistiller_icc.data import cache, cifar100, load, tiny_imagenet
from mdistiller_icc.data.folders import list_classes, list_tree
from mdistiller_icc.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def user_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "mdistiller_icc"


@pytest.fixture
def tree(tmp_path, paint):
    """A CIFAR-like tree: colours 10, 11, … in the order of classes and names."""
    for split, count in (("train", 3), ("test", 2)):
        colour = 10
        for name in ("apple", "bear", "zebra"):
            for number in range(count):
                paint(tmp_path / split / name / f"{name}_{number}.png", colour)
                colour += 1
    return tmp_path


def reds(images: np.ndarray) -> list[int]:
    return images[:, 0, 0, 0].tolist()


def test_sorted_class_names_are_the_label_order(tree):
    source = cifar100.read(tree)
    assert source.classes == ("apple", "bear", "zebra")
    assert source.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert reds(source.train.images) == list(range(10, 19))
    assert source.train.images.shape == (9, 3, 32, 32) and source.train.images.dtype == np.uint8
    assert source.train.images[0, :, 5, 5].tolist() == [10, 245, 7]
    assert source.test.labels.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("name", ["cifar100", "."])
def test_val_is_as_good_a_name_and_the_folder_may_be_inside(tree, tmp_path_factory, name):
    root = tmp_path_factory.mktemp("root")
    (tree / "test").rename(tree / "val")
    os.rename(tree, root / name) if name != "." else [os.rename(tree / part, root / part) for part in ("train", "val")]
    assert len(cifar100.read(root).test) == 6


def test_a_tree_is_decoded_once(tree, capsys):
    first = cifar100.read(tree)
    assert "decoding 9 images" in capsys.readouterr().err
    second = cifar100.read(tree)
    assert capsys.readouterr().err == ""
    assert isinstance(second.train.images, np.memmap)
    assert np.array_equal(first.train.images, second.train.images)
    assert len(list((tree / ".cache").iterdir())) == 2


def test_a_changed_tree_is_decoded_again(tree, paint):
    cifar100.read(tree)
    paint(tree / "train" / "bear" / "bear_1.png", 200)
    os.utime(tree / "train" / "bear" / "bear_1.png", ns=(1, 1))
    assert 200 in reds(cifar100.read(tree).train.images)
    (tree / "train" / "bear" / "bear_1.png").unlink()
    assert len(cifar100.read(tree).train) == 8


def test_where_the_data_cannot_be_written_the_users_cache_serves(tree, user_cache, capsys):
    (tree / ".cache").write_text("in the way")
    cifar100.read(tree)
    assert len(list(user_cache.iterdir())) == 2
    capsys.readouterr()
    assert len(cifar100.read(tree).train) == 9
    assert capsys.readouterr().err == ""


def test_with_no_place_for_a_cache_images_are_decoded_into_memory(tree, user_cache):
    (tree / ".cache").write_text("in the way")
    user_cache.parent.mkdir(exist_ok=True)
    user_cache.write_text("in the way")
    assert reds(cifar100.read(tree).train.images) == list(range(10, 19))


def test_nothing_half_written_stays_behind(tree):
    (tree / "train" / "bear" / "bear_1.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    with pytest.raises(UserError, match="bear_1.png: not a readable image"):
        cifar100.read(tree)
    assert list((tree / ".cache").iterdir()) == []


def test_an_image_of_another_size_is_named(tree, paint):
    paint(tree / "test" / "bear" / "bear_0.png", 3, size=(32, 33))
    with pytest.raises(UserError, match=r"bear_0.png: is 32×33 pixels, expected 32×32"):
        cifar100.read(tree)


def test_a_test_class_without_training_images_is_named(tree, paint):
    paint(tree / "test" / "cat" / "cat_0.png", 3)
    with pytest.raises(UserError, match=r"test/cat: not one of the 3 classes"):
        cifar100.read(tree)


def test_empty_class_folders_are_not_a_data_set(tmp_path):
    for name in ("apple", "bear"):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "test" / name).mkdir(parents=True)
    with pytest.raises(UserError, match=r"train: no images"):
        cifar100.read(tmp_path)


def test_other_files_and_hidden_folders_are_passed_over(tree, capsys):
    (tree / "train" / "bear" / "notes.txt").write_text("not an image")
    (tree / "train" / ".thumbnails").mkdir()
    assert list_classes(tree / "train") == ("apple", "bear", "zebra")
    files, labels = list_tree(tree / "train", ("apple", "bear", "zebra"))
    assert len(files) == len(labels) == 9
    told = f"{tree}/train: passed over 2, hidden, no images or in no class: .thumbnails, bear/notes.txt\n"
    assert capsys.readouterr().err == told


def test_a_tree_loads_and_trains_like_any_data_set(tree, configure):
    bundle = load(configure({"DATASET.TYPE": "cifar100", "DATASET.ROOT": str(tree)}), 0, CPU)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (image, target, index), *_ = bundle.train
        bundle.train.views(index[:2])
        list(bundle.test)
    assert image.shape == (9, 3, 32, 32) and bundle.num_classes == 3 and bundle.augmentation == "crop+flip"


def tiny(root, paint, original: bool, inner: bool = True):
    wnids = ("n01", "n02")
    for label, wnid in enumerate(wnids):
        for number in range(2):
            place = root / "train" / wnid / ("images" if inner else ".")
            paint(place / f"{wnid}_{number}.JPEG", 10 * label + number, 64)
    lines = []
    for number, wnid in enumerate(("n02", "n01", "n02")):
        name = f"val_{number}.JPEG"
        place = root / "val" / ("images" if original else wnid)
        paint(place / name, 50 + number, 64)
        lines.append(f"{name}\t{wnid}\t0\t0\t62\t62")
    if original:
        (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("inner", [True, False])
def test_tiny_imagenet_in_its_original_layout_has_its_labels(tmp_path, paint, inner):
    tiny(tmp_path, paint, original=True, inner=inner)
    source = tiny_imagenet.read(tmp_path)
    assert source.classes == ("n01", "n02")
    assert source.train.labels.tolist() == [0, 0, 1, 1] and reds(source.train.images) == [0, 1, 10, 11]
    assert source.test.labels.tolist() == [1, 0, 1] and reds(source.test.images) == [50, 51, 52]


def test_tiny_imagenet_reorganised(tmp_path, paint):
    tiny(tmp_path / "tiny-imagenet-200", paint, original=False)
    source = tiny_imagenet.read(tmp_path)
    assert source.test.labels.tolist() == [0, 1, 1] and reds(source.test.images) == [51, 50, 52]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("val_0.JPEG\tn02\n", "no line for val_1.JPEG"),
        ("val_0.JPEG\tn03\n", "'n03' of val_0.JPEG has no training images"),
    ],
)
def test_tiny_imagenet_without_labels_is_refused(tmp_path, paint, content, words):
    tiny(tmp_path, paint, original=True)
    file = tmp_path / "val" / "val_annotations.txt"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(UserError, match=words):
        tiny_imagenet.read(tmp_path)


def test_tiny_imagenet_is_rotated_and_mirrored(tmp_path, paint, configure):
    tiny(tmp_path, paint, original=True)
    cfg = configure({"DATASET.TYPE": "tiny_imagenet", "DATASET.ROOT": str(tmp_path)})
    bundle = load(cfg, 0, CPU)
    assert (bundle.image_size, bundle.augmentation, bundle.loader) == (64, "rotation+flip", "resident")
    image, target, _ = next(iter(bundle.train))
    assert image.shape == (4, 3, 64, 64)
    black = -torch.tensor([0.4802, 0.4481, 0.3975]) / torch.tensor([0.2302, 0.2265, 0.2262])
    assert torch.allclose(image[:, :, 0, 0], black, atol=1e-5), "rotation leaves black corners"
    cfg.DATASET.LOADER = "workers"
    workers = next(iter(load(cfg, 0, CPU).train))[0]
    assert torch.allclose(workers[:, :, 0, 0], black, atol=1e-5)


@pytest.fixture
def large(tmp_path, paint):
    for split in ("train", "val"):
        for label, wnid in enumerate(("n01", "n02", "n03")):
            for number in range(3):
                paint(tmp_path / split / wnid / f"{number}.JPEG", 60 * label + number, (300, 260 + number))
    return tmp_path


@pytest.mark.parametrize("workers", [0, 2])
def test_imagenet_is_decoded_by_workers(large, configure, workers):
    cfg = configure(
        {
            "DATASET.TYPE": "imagenet",
            "DATASET.ROOT": str(large),
            "DATASET.NUM_WORKERS": workers,
            "SOLVER.TRAINER": "crd",
            "SOLVER.BATCH_SIZE": 4,
        }
    )
    bundle = load(cfg, 0, CPU)
    assert (bundle.loader, bundle.augmentation, bundle.num_data) == ("workers", "resized-crop+flip", 9)
    batches = list(bundle.train)
    assert [tuple(batch[0].shape) for batch in batches] == [(4, 3, 224, 224), (5, 3, 224, 224)]
    labels = torch.arange(3).repeat_interleave(3)
    for image, target, index, contrastive in batches:
        assert torch.equal(target, labels[index])
        assert (labels[contrastive[:, 1:]] != target[:, None]).all()
        red = (image[:, 0].mean((1, 2)) * 0.229 + 0.485) * 255
        assert torch.allclose(red, 60.0 * target + index % 3, atol=1.0)
    image, target = next(iter(bundle.test))
    assert image.shape == (9, 3, 224, 224) and torch.equal(target, labels)
    assert bundle.train.views(torch.tensor([3])).shape == (1, 3, 224, 224)


def test_imagenet_cannot_be_resident(large, configure):
    cfg = configure({"DATASET.TYPE": "imagenet", "DATASET.ROOT": str(large), "DATASET.LOADER": "resident"})
    with pytest.raises(UserError, match="DATASET.LOADER resident"):
        load(cfg, 0, CPU)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_one_line_from_a_worker_too(large, configure, workers):
    (large / "train" / "n02" / "1.JPEG").write_bytes(b"broken")
    cfg = configure({"DATASET.TYPE": "imagenet", "DATASET.ROOT": str(large), "DATASET.NUM_WORKERS": workers})
    with pytest.raises(UserError, match="1.JPEG: not a readable image") as error:
        list(load(cfg, 0, CPU).train)
    assert "\n" not in str(error.value) and str(error.value).startswith(str(large))


def test_the_digest_of_a_tree_does_not_depend_on_where_it_lies(tree, tmp_path_factory):
    files, _ = list_tree(tree / "train", ("apple", "bear", "zebra"))
    before = cache.digest(files, 32)
    moved = tmp_path_factory.mktemp("moved") / "train"
    os.rename(tree / "train", moved)
    assert cache.digest(list_tree(moved, ("apple", "bear", "zebra"))[0], 32) == before
