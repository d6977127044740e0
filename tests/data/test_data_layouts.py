"""What is trained on is what the user has: roots, layouts, downloads, class folders."""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import pickle
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from mdistiller_icc.config import ADDED
from mdistiller_icc.data import cifar, cifar10, cifar100, downloads, imagenet, load, tiny_imagenet
from mdistiller_icc.errors import UserError

CPU = torch.device("cpu")
READERS = {"CIFAR-10": cifar10.read, "CIFAR-100": cifar100.read}
EVERY = READERS | {"Tiny-ImageNet": tiny_imagenet.read, "ImageNet": imagenet.read}


@pytest.fixture(autouse=True)
def caches(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def offline(monkeypatch):
    """A machine without a network; the list holds what was asked of it."""
    asked = []

    def refuse(url, *_args, **_kwargs):
        asked.append(url)
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    return asked


@pytest.fixture
def archive(tmp_path_factory, monkeypatch, request):
    """A CIFAR-100 of five images as its archive, at the address that torchvision is told to download it from."""
    folder = tmp_path_factory.mktemp("archive")
    parts = {
        "train": {"data": np.zeros((3, 3072), dtype=np.uint8), "fine_labels": [2, 0, 1]},
        "test": {"data": np.full((2, 3072), 9, dtype=np.uint8), "fine_labels": [1, 1]},
        "meta": {"fine_label_names": ["apple", "bear", "zebra"]},
    }
    digests = {}
    with tarfile.open(folder / "cifar-100-python.tar.gz", "w:gz") as tar:
        for name, content in parts.items():
            (folder / name).write_bytes(pickle.dumps(content))
            digests[name] = hashlib.md5(pickle.dumps(content)).hexdigest()
            tar.add(folder / name, f"cifar-100-python/{name}")
    file = folder / "cifar-100-python.tar.gz"
    serve = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    request.addfinalizer(server.shutdown)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(CIFAR100, "url", f"http://127.0.0.1:{server.server_port}/{file.name}")
    monkeypatch.setattr(CIFAR100, "tgz_md5", hashlib.md5(file.read_bytes()).hexdigest())
    monkeypatch.setattr(CIFAR100, "train_list", [["train", digests["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", digests["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": digests["meta"]})
    return file


def told(read, root) -> str:
    with pytest.raises(UserError) as error:
        read(root)
    assert "\n" not in str(error.value)
    return str(error.value)


def tree(root: Path, paint, test="test", classes=("apple", "bear"), size=32) -> Path:
    for split in ("train", test):
        for number, name in enumerate(classes):
            paint(root / split / name / "0.png", number, size)
    return root


# ---------------------------------------------------------------------------------------------- roots and downloads


def test_it_is_downloaded_into_an_empty_folder(tmp_path, archive):
    assert cifar100.read(tmp_path).classes == ("apple", "bear", "zebra")
    assert (tmp_path / "cifar-100-python" / "train").is_file()


def test_the_folder_of_that_name_may_be_the_empty_one(tmp_path, archive):
    (tmp_path / "tiny-imagenet-200").mkdir()
    (tmp_path / "cifar100").mkdir()
    (tmp_path / "cifar100" / ".gitkeep").touch()
    assert len(cifar100.read(tmp_path).train) == 3
    assert {file.name for file in tmp_path.iterdir()} == {"tiny-imagenet-200", "cifar100"}


def test_the_default_root_is_made_and_no_other(tmp_path, archive, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "there is no dta" in told(cifar100.read, Path("dta")) and list(tmp_path.iterdir()) == []
    assert Path(ADDED.DATASET.ROOT) == downloads.DEFAULT_ROOT
    assert len(cifar100.read(downloads.DEFAULT_ROOT).train) == 3 and Path("data/cifar-100-python").is_dir()


def test_half_an_archive_is_downloaded_again(tmp_path, archive):
    (tmp_path / archive.name).write_bytes(archive.read_bytes()[:100])
    assert len(cifar100.read(tmp_path).train) == 3


@pytest.mark.parametrize("title", READERS)
def test_an_absent_default_root_is_not_left_behind_where_there_is_no_network(title, tmp_path, monkeypatch, offline):
    monkeypatch.chdir(tmp_path)
    message = told(READERS[title], Path("data"))
    name = {"CIFAR-10": "cifar-10-python.tar.gz", "CIFAR-100": "cifar-100-python.tar.gz"}[title]
    assert f"the download failed (no network); put https://www.cs.toronto.edu/~kriz/{name} into data" in message
    assert offline and list(tmp_path.iterdir()) == []


def test_where_there_is_no_network_the_archive_is_all_that_is_needed(tmp_path, archive, offline):
    (tmp_path / archive.name).write_bytes(archive.read_bytes())
    assert len(cifar100.read(tmp_path).train) == 3 and offline == []


@pytest.mark.parametrize("title", EVERY)
def test_a_mistyped_root_is_named_with_its_neighbour_and_not_made(title, tmp_path, offline):
    (tmp_path / "datasets").mkdir()
    message = told(EVERY[title], tmp_path / "datsets")
    assert message.startswith(f"{title} not found") and "(did you mean 'datasets'?)" in message
    assert "DATASET.ROOT" in message and offline == [] and not (tmp_path / "datsets").exists()


@pytest.mark.parametrize("title", READERS)
@pytest.mark.parametrize("inside", [True, False])
def test_another_layout_is_told_with_what_was_found(title, inside, tmp_path, paint, offline):
    place = tmp_path / title.replace("-", "").lower() if inside else tmp_path
    tree(place, paint, test="valid")
    message = told(READERS[title], tmp_path)
    assert f"{place} has train/, valid/" in message and "train/<class>/ beside test/<class>/ or val/<class>/" in message
    assert offline == [] and {file.name for file in place.iterdir()} == {"train", "valid"}


def test_another_data_sets_files_are_left_alone(tmp_path, offline):
    for name in ("cifar-10-batches-py", "imagenet", "notes", "zoo"):
        (tmp_path / name).mkdir()
    message = told(cifar100.read, tmp_path)
    assert "has cifar-10-batches-py/, imagenet/, notes/ and 1 more" in message
    assert offline == [] and len(list(tmp_path.iterdir())) == 4


def test_a_root_that_is_a_file(tmp_path, offline):
    (tmp_path / "data.zip").touch()
    assert f"{tmp_path}/data.zip is not a folder" in told(cifar100.read, tmp_path / "data.zip")


def test_a_user_whom_nobody_knows_is_one_line(configure):
    cfg = configure({"DATASET.TYPE": "cifar100", "DATASET.ROOT": "~nobody-of-that-name/data"})
    assert "there is no ~nobody-of-that-name/data" in told(lambda _: load(cfg, 0, CPU), None)


# -------------------------------------------------------------------------------------------------------- class folders


def test_a_class_one_folder_deeper(tmp_path, paint):
    tree(tmp_path, paint)
    (tmp_path / "train" / "animals").mkdir()
    (tmp_path / "train" / "bear").rename(tmp_path / "train" / "animals" / "bear")
    (tmp_path / "test" / "bear").rename(tmp_path / "test" / "animals")
    assert f"{tmp_path}/train/animals/bear: images in a folder too deep" in told(cifar100.read, tmp_path)


def test_all_classes_one_folder_deeper(tmp_path, paint):
    tree(tmp_path / "train", paint)
    tree(tmp_path / "test", paint)
    assert "/train/test/apple: images in a folder too deep" in told(cifar100.read, tmp_path)


def test_images_beside_a_folder_of_more_of_them(tmp_path, paint):
    tree(tmp_path, paint)
    paint(tmp_path / "train" / "bear" / "more" / "1.png", 3)
    assert "train/bear/more: images in a folder too deep" in told(cifar100.read, tmp_path)


@pytest.mark.parametrize("name", ["__MACOSX", "@eaDir", ".ipynb_checkpoints", "lost+found"])
def test_folders_of_systems_are_no_classes(name, tmp_path, paint, capsys):
    tree(tmp_path, paint)
    for split in ("train", "test"):
        paint(tmp_path / split / name / "apple" / "0.png", 7)
        paint(tmp_path / split / name / "0.png", 7)
    assert cifar100.read(tmp_path).classes == ("apple", "bear")
    assert f"train: passed over 1, hidden, no images or in no class: {name}\n" in capsys.readouterr().err


def test_files_of_systems_are_no_images(tmp_path, paint, capsys):
    tree(tmp_path, paint)
    for name in ("._0.png", "Thumbs.db", ".DS_Store", "desktop.ini"):
        (tmp_path / "train" / "bear" / name).write_bytes(b"Mac OS X")
    source = cifar100.read(tmp_path)
    assert len(source.train) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "passed over" in line]
    names = "bear/.DS_Store, bear/._0.png, bear/Thumbs.db and 1 more"
    assert lines == [f"{tmp_path}/train: passed over 4, hidden, no images or in no class: {names}"]


def test_a_class_without_training_images_is_named(tmp_path, paint):
    tree(tmp_path, paint)
    (tmp_path / "train" / "cat").mkdir()
    assert told(cifar100.read, tmp_path).startswith(f"{tmp_path}/train/cat: has no images; looked for <class>/*")
    (tmp_path / "train" / "dog").mkdir()
    assert "train/cat: has no images, nor have 1 more classes" in told(cifar100.read, tmp_path)


@pytest.mark.parametrize("title", EVERY)
def test_one_class_only(title, tmp_path, paint):
    tree(tmp_path, paint, test="val", classes=["apple"])
    assert "train: one class, 'apple'; at least two are needed" in told(EVERY[title], tmp_path)


def test_no_class_folders_at_all(tmp_path, paint):
    paint(tmp_path / "train" / "0.png", 1)
    paint(tmp_path / "test" / "0.png", 1)
    assert "train: no classes; at least two are needed, each in a folder of its own" in told(cifar100.read, tmp_path)


@pytest.mark.parametrize("gone", ["folder", "images"])
def test_a_class_that_nobody_tests_is_named_and_trained(gone, tmp_path, paint, capsys):
    tree(tmp_path, paint)
    (tmp_path / "test" / "bear" / "0.png").unlink()
    if gone == "folder":
        (tmp_path / "test" / "bear").rmdir()
    assert len(cifar100.read(tmp_path).test) == 1
    assert f"{tmp_path}/test: nobody tests one class: bear\n" in capsys.readouterr().err


def test_tiny_imagenets_annotations_may_leave_a_class_untested(tmp_path, paint, capsys):
    tree(tmp_path, paint, test="val", size=64)
    paint(tmp_path / "val" / "images" / "v.png", 3, 64)
    (tmp_path / "val" / "images" / "._v.png").touch()
    (tmp_path / "val" / "val_annotations.txt").write_text("v.png\tapple\t0\t0\t62\t62\n")
    assert tiny_imagenet.read(tmp_path).test.labels.tolist() == [0]
    err = capsys.readouterr().err
    assert "val: nobody tests one class: bear" in err and "val/images: passed over 1, hidden" in err


# ---------------------------------------------------------------------------------------------------- links and pipes


@pytest.mark.parametrize(
    ("place", "target", "words"),
    [
        ("train/bear/1.png", "/nowhere/1.png", "train/bear/1.png: a link to /nowhere/1.png, which is not there"),
        ("train/bear/1.png", "1.png", "train/bear/1.png: Too many levels of symbolic links"),
        ("train/cat", "/nowhere/cat", "train/cat: a link to /nowhere/cat, which is not there"),
        ("train/cat", "cat", "train/cat: Too many levels of symbolic links"),
        ("train/cat", ".", "train/cat: the same folder as"),
        ("train/cat", "..", "train/cat: the same folder as"),
        ("train/cat", "bear", "train/cat: the same folder as"),
        ("train/bear/loop", "..", "train/bear/loop: images in a folder too deep"),
        ("train/bear/images", ".", "train/bear/images/images: images in a folder too deep"),
    ],
)
def test_links_that_lead_nowhere_or_back(place, target, words, tmp_path, paint):
    tree(tmp_path, paint)
    (tmp_path / place).symlink_to(target)
    assert words in told(cifar100.read, tmp_path)


def test_links_that_lead_somewhere_are_followed(tmp_path, paint):
    tree(tmp_path / "real", paint)
    (tmp_path / "linked").mkdir()
    for split in ("train", "test"):
        (tmp_path / "linked" / split).mkdir()
        for name in ("apple", "bear"):
            (tmp_path / "linked" / split / name).symlink_to(tmp_path / "real" / split / name)
    (tmp_path / "real" / "train" / "bear" / "1.png").symlink_to("0.png")
    assert len(cifar100.read(tmp_path / "linked").train) == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("title", EVERY)
def test_a_pipe_does_not_hang(title, tmp_path, paint):
    tree(tmp_path, paint, test="val", size=64 if title == "Tiny-ImageNet" else 32)
    os.mkfifo(tmp_path / "train" / "bear" / "1.png")
    assert "train/bear/1.png: not a file" in told(EVERY[title], tmp_path)


def test_a_folder_with_an_images_name(tmp_path, paint):
    tree(tmp_path, paint)
    paint(tmp_path / "train" / "bear" / "album.png" / "1.png", 3)
    assert "train/bear/album.png: images in a folder too deep" in told(cifar100.read, tmp_path)


def test_cifar10_is_downloaded_by_the_same_rules():
    assert cifar10._layout.archive == Path(CIFAR10.url).name
    assert f"{cifar.SOURCE}/{cifar10._layout.archive}" == CIFAR10.url
    assert f"{cifar.SOURCE}/{cifar100.read.__self__.archive}" == CIFAR100.url
