"""Any tree of images: class counts, sizes, modes, shares of the classes, mean and deviation, and the real commands."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from mdistiller_icc.data import cifar10, data_set, imagefolder, load
from mdistiller_icc.data.moments import moments
from mdistiller_icc.errors import UserError
from mdistiller_icc.plugin import register
from mdistiller_icc.run import configure as configured
from mdistiller_icc.run import run
from mdistiller_icc.studies.execute import execute
from mdistiller_icc.studies.plan import plan
from mdistiller_icc.studies.state import state
from mdistiller_icc.studies.table_file import load as load_table
from mdistiller_icc.teachers import checkpoint, resolve

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
MODES = ("RGB", "L", "RGBA", "P", "CMYK", "LA", "1", "I;16")
ENDINGS = {"CMYK": "tif", "RGB": "jpg"}


@pytest.fixture(autouse=True)
def caches(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def plant(root: Path, classes: int, size: int, test: str = "val") -> Path:
    """A tree of noise in every mode; class i has 1 + i % 3 training images, and one test image if i is even."""
    numbers = np.random.default_rng(0)
    made = 0
    for i in range(classes):
        for split, count in (("train", 1 + i % 3), (test, (i + 1) % 2)):
            folder = root / split / f"class {i:05}"
            folder.mkdir(parents=True)
            for number in range(count):
                mode = MODES[made % len(MODES)]
                made += 1
                pixels = numbers.integers(0, 256, (size + made % 2, size + made % 3, 3), dtype=np.uint8)
                image = Image.fromarray(pixels)
                image = (
                    Image.fromarray(pixels[:, :, 0].astype(np.uint16) << 8) if mode == "I;16" else image.convert(mode)
                )
                image.save(folder / f"{number}.{ENDINGS.get(mode, 'png')}")
    return root


@pytest.mark.parametrize(
    "classes, size, test", [(2, 20, "valid"), (3, 32, "test"), (257, 64, "val"), (5, 96, "val"), (1001, 8, "val")]
)
def test_class_counts_and_sizes(tmp_path, configure, classes, size, test):
    root = plant(tmp_path, classes, size, test)
    theirs = [label for _, label in ImageFolder(root / "train").samples]
    for junk in ("._0.png", "Thumbs.db", "notes.txt"):
        (root / "train/class 00000" / junk).write_bytes(b"no image")
    options = {"DATASET.TYPE": "imagefolder", "DATASET.ROOT": str(root), "DATASET.IMAGE_SIZE": size}
    cfg = configure(options | {"DATASET.NUM_WORKERS": 0, "DATASET.HOLDOUT": 0.3})
    loaded = load(cfg, 0, CPU)
    small = size <= 64
    assert (loaded.num_classes, loaded.loader) == (classes, "resident" if small else "workers")
    assert loaded.augmentation == ("crop+flip" if small else "resized-crop+flip")
    assert loaded.num_data + loaded.holdout.num_data == len(theirs)
    held = torch.cat([target for _, target in loaded.holdout])
    assert all(target % 3 for target in held.tolist()), "a class of one image keeps it"
    seen = torch.cat([target for _, target, _ in loaded.train])
    assert sorted(seen.tolist() + held.tolist()) == theirs
    image, target = next(iter(loaded.test))
    assert image.shape[1:] == (3, size, size) and image.isfinite().all() and target[0] == 0
    assert [int(one) for one in target] == [*range(0, classes, 2)][: len(target)]
    models = register(verbose=False).host.models("imagefolder", size)
    name = "resnet8" if small else "ResNet18"
    network = resolve.build(models, name, cfg, loaded.num_classes).eval()
    with torch.no_grad():
        assert network(image[:2])[0].shape == (len(image[:2]), classes)


def as_torchvision(root: Path, split: str, resize: int, size: int) -> np.ndarray:
    """What torchvision's own folder class and transforms make of a tree of RGB images."""
    transform = v2.Compose([v2.Resize(resize), v2.CenterCrop(size), v2.PILToTensor()])
    return torch.stack([image for image, _ in ImageFolder(root / split, transform)]).numpy()


@pytest.fixture
def photographs(tmp_path):
    """Twelve RGB images of different sizes, smooth as photographs are."""
    numbers = np.random.default_rng(1)
    for split in ("train", "test"):
        for i in range(6):
            folder = tmp_path / split / f"n{i % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            grain = Image.fromarray(numbers.integers(0, 256, (9, 9, 3), dtype=np.uint8))
            grain.resize((120 + 7 * i, 150 - 9 * i), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize("size, resize", [(40, 40), (96, 110)])
def test_images_mean_and_deviation_are_torchvisions_and_numpys(photographs, configure, capsys, size, resize):
    options = {"DATASET.TYPE": "imagefolder", "DATASET.ROOT": str(photographs), "DATASET.IMAGE_SIZE": size}
    cfg = configure(options | {"DATASET.NUM_WORKERS": 0})
    loaded = load(cfg, 0, CPU)
    train = as_torchvision(photographs, "train", resize, size).astype(np.float64) / 255
    np.testing.assert_allclose(loaded.mean, train.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(loaded.std, train.std((0, 2, 3)), rtol=1e-12)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (loaded.mean, loaded.std))
    test = torch.cat([image for image, _ in loaded.test]) * std + mean
    wanted = as_torchvision(photographs, "test", resize, size)
    assert np.array_equal((test * 255).round().numpy().astype(np.uint8), wanted)

    kept = list((photographs / ".cache").glob("train-*.json"))
    assert len(kept) == 1 and json.loads(kept[0].read_text())["images"] == 6
    assert "measuring" in capsys.readouterr().err
    again = load(cfg, 0, CPU)
    assert (again.mean, again.std) == (loaded.mean, loaded.std) and "measuring" not in capsys.readouterr().err
    Image.new("RGB", (80, 80), "white").save(photographs / "train/n0/0.png")
    assert load(cfg, 0, CPU).mean > loaded.mean, "other files, another mean"
    cfg.DATASET.MEAN, cfg.DATASET.STD = [0.5, 0.25, 0], [0.2, 0.3, 1]
    given = load(cfg, 0, CPU)
    assert (given.mean, given.std) == ((0.5, 0.25, 0), (0.2, 0.3, 1))


def test_moments_are_exact_over_chunks():
    images = np.random.default_rng(2).integers(0, 256, (50, 3, 7, 7), dtype=np.uint8)
    mean, std = moments([images[:20], images[20:]])
    np.testing.assert_allclose(mean, images.mean((0, 2, 3), dtype=np.float64) / 255, rtol=1e-13)
    np.testing.assert_allclose(std, images.std((0, 2, 3), dtype=np.float64) / 255, rtol=1e-13)


def test_a_colour_that_never_changes_has_no_deviation(tmp_path, configure, paint):
    for place in ("train/a", "train/b", "val/a", "val/b"):
        paint(tmp_path / place / "0.png", 5)
    options = {"DATASET.TYPE": "imagefolder", "DATASET.ROOT": str(tmp_path), "DATASET.IMAGE_SIZE": 32}
    with pytest.raises(UserError, match="train: a colour channel has one value everywhere; set DATASET.STD"):
        load(configure(options), 0, CPU)
    assert load(configure(options | {"DATASET.STD": [0.1, 0.1, 0.1]}), 0, CPU).num_data == 2


def test_of_several_test_folders_one_is_read_and_the_others_are_told(tmp_path, paint, capsys):
    for split in ("train", "val", "test", "valid"):
        for name in ("a", "b"):
            paint(tmp_path / split / name / f"{split}.png", 5)
    assert imagefolder.read(tmp_path).test.images.names.tolist() == [b"a/test.png", b"b/test.png"]
    assert f"{tmp_path}: tested on test/; not looked at: val, valid\n" in capsys.readouterr().err


@pytest.mark.parametrize("unlabelled", ["test/x.png", "test/images/x.png"])
@pytest.mark.parametrize("read", [imagefolder.read, cifar10.read])
def test_test_images_without_labels_are_not_looked_at(tmp_path, paint, capsys, unlabelled, read):
    for split in ("train", "val"):
        for name in ("a", "b"):
            paint(tmp_path / split / name / f"{split}.png", 5)
    paint(tmp_path / unlabelled, 5)
    assert read(tmp_path).test.labels.tolist() == [0, 1]
    assert f"{tmp_path}: tested on val/; not looked at: test\n" in capsys.readouterr().err
    (tmp_path / "val").rename(tmp_path / "other")
    with pytest.raises(UserError, match="test: no images; looked for|test/images: not one of the 2 classes"):
        read(tmp_path)


def test_a_tree_without_test_images_is_told(tmp_path, paint):
    paint(tmp_path / "train/a/0.png", 5)
    with pytest.raises(
        UserError, match=r"A tree of images not found: .*train/<class>/ beside test/<class>/, val"
    ) as told:
        imagefolder.read(tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "name, size, augmentation, models",
    [
        ("imagenet", 64, "crop+flip", "cifar_model_dict"),
        ("places365", None, "resized-crop+flip", "imagenet_model_dict"),
        ("stl10", 32, "crop+flip", "cifar_model_dict"),
        ("tiny_imagenet", 32, "rotation+flip", "cifar_model_dict"),
        ("tiny_imagenet", None, "rotation+flip", "tiny_imagenet_model_dict"),
        ("cifar100", 224, "crop+flip", "imagenet_model_dict"),
    ],
)
def test_a_data_set_of_another_size(name, size, augmentation, models):
    one = data_set(name).at(size)
    assert (str(one.augmentation), one.models) == (augmentation, models)
    assert one.image_size == (size or data_set(name).image_size)


def write_digits(root: Path, dark: bool = True) -> None:
    """scikit-learn's digits, thirty of each of three classes, as PNGs of 8 by 8 pixels, on a dark or a light ground."""
    from sklearn.datasets import load_digits

    found = load_digits()
    for name in (0, 1, 2):
        images = found.images[found.target == name][:40]
        for i, image in enumerate(images):
            folder = root / ("train" if i < 30 else "val") / f"digit {name}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(((image if dark else 16 - image) * 15.9375).astype(np.uint8)).save(folder / f"{i}.png")


def test_the_commands_on_a_tree(tmp_path, command):
    write_digits(tmp_path / "digits")
    common = ["DATASET.TYPE", "imagefolder", "DATASET.ROOT", "digits", "DATASET.IMAGE_SIZE", "20", "DISTILLER.STUDENT"]
    common += ["resnet8", "SOLVER.EPOCHS", "16", "SOLVER.BATCH_SIZE", "16", "DATASET.HOLDOUT", "0.1"]
    words = [
        ("tools/train_teacher.py", "--cfg", "icc/res110", *common),
        ("tools/train.py", "DISTILLER.TYPE", "KD", "DISTILLER.TEACHER", "resnet8_icc", *common),
        ("tools/eval.py", "teachers/imagefolder/resnet8_icc.pth", "--json", "DATASET.ROOT", "digits"),
        ("tools/collect.py", "output"),
    ]
    printed = []
    for line in words:
        done = command(*line)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    (student,) = [json.loads(file.read_text()) for file in tmp_path.glob("output/distill/*/record.json")]
    assert (student["dataset"], student["num_classes"], student["num_train"]) == ("imagefolder", 3, 81)
    assert student["protocol"]["image_size"] == 20
    evaluated = json.loads(printed[2])
    assert (evaluated["dataset"], evaluated["images"]) == ("imagefolder", 30)
    assert evaluated["top1"] == student["teacher"]["top1"] > 40
    assert "imagefolder" in printed[3]


TABLE = """
project: trees
dataset: imagefolder
epochs: {full: 1, short: 1}
settings: {DATASET: {IMAGE_SIZE: 20}, SOLVER: {BATCH_SIZE: 16}}
teachers: {vanilla: }
methods: {}
pairs: [{teacher: resnet8, student: null}]
"""


def test_nothing_made_of_one_tree_is_taken_for_another_with_the_same_classes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_digits(Path("dark"))
    write_digits(Path("light"), dark=False)

    def cfg(tree, method, *options):
        common = ["DATASET.TYPE", "imagefolder", "DATASET.IMAGE_SIZE", "20", "DISTILLER.STUDENT", "resnet8"]
        common += ["SOLVER.BATCH_SIZE", "16", "DATASET.ROOT", tree, "EXPERIMENT.NAME", method, "DISTILLER.TYPE", method]
        learnt = ["DISTILLER.TEACHER", "resnet8_vanilla", "SOLVER.EPOCHS", "2"] if method == "KD" else []
        return configured(None, [*common, "SOLVER.EPOCHS", "1", *learnt, *options])

    run(cfg("dark", "NONE"), "teacher", device="cpu")
    run(cfg("dark", "KD"), "student", device="cpu")
    Path("dark").rename("moved")
    run(cfg("moved", "KD"), "student", device="cpu", resume=True)
    file = Path("teachers/imagefolder/resnet8_vanilla.pth")
    with pytest.raises(
        UserError, match=f"{file}: was trained on other images of these classes; train one on these, or "
    ):
        run(cfg("light", "KD"), "student", device="cpu")
    with pytest.raises(UserError, match="holds the teacher of .*, 1 epoch on all images, of other images than these; "):
        run(cfg("light", "NONE"), "teacher", device="cpu", resume=True)
    with pytest.raises(UserError, match="NONE: cannot be resumed: it was begun on other images than those in light"):
        run(cfg("light", "NONE"), "student", device="cpu", resume=True)
    capsys.readouterr()
    named = ["DISTILLER.TEACHER_CKPT", str(file)]
    told = run(cfg("light", "KD", *named), "student", device="cpu", overwrite=True)
    assert f"{file}: was trained on other images of these classes\n" in capsys.readouterr().out
    content = checkpoint.read(file)
    assert content["meta"]["protocol"].pop("tree") != told["protocol"]["tree"]
    checkpoint.save(content, file)  # as teachers were before they told it
    run(cfg("light", "KD"), "student", device="cpu", overwrite=True)

    Path("mine.yaml").write_text(TABLE)
    (planned,) = plan(load_table("mine.yaml"), options=["DATASET.ROOT", "moved"])
    assert execute(planned, "cpu").status == "finished" and state(planned).status == "finished"
    planned.teacher_file.unlink()
    (other,) = plan(load_table("mine.yaml"), options=["DATASET.ROOT", "light"])
    with pytest.raises(UserError, match="holds a run on other images than those in light; move it"):
        state(other)


# ------------------------------------------------------------------------------------------------------------ at scale


@pytest.fixture(scope="module")
def ten_thousand(tmp_path_factory):
    """10,000 classes of one training image each, of about 40 pixels, and 500 test images."""
    root = tmp_path_factory.mktemp("ten_thousand")
    numbers = np.random.default_rng(3)
    for i in range(10_000):
        for split in ("train", "val") if i % 20 == 0 else ("train",):
            folder = root / split / f"n{i:08}"
            folder.mkdir(parents=True)
            grain = numbers.integers(0, 256, (40 + i % 5, 44, 3), dtype=np.uint8)
            Image.fromarray(grain).save(folder / f"{i}.JPEG")
    return root


@pytest.mark.slow
def test_ten_thousand_classes(ten_thousand, configure):
    for size in (32, 96):
        options = {"DATASET.TYPE": "imagefolder", "DATASET.ROOT": str(ten_thousand), "DATASET.IMAGE_SIZE": size}
        began = time.perf_counter()
        loaded = load(configure(options), 0, CPU)
        seconds = time.perf_counter() - began
        assert loaded.num_classes == loaded.num_data == 10_000 and loaded.test.num_data == 500
        image, target, _ = next(iter(loaded.train))
        models = register(verbose=False).host.models("imagefolder", size)
        cfg = configure(options)
        network = resolve.build(models, "resnet8" if size == 32 else "MobileNetV1", cfg, loaded.num_classes)
        assert network(image[:2])[0].shape == (2, 10_000) and target.max() > 9_000
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"10,000 classes at {size}: {loaded.loader}, ready in {seconds:.1f} s, at most {peak:.2f} GiB")


PASS = """
import multiprocessing, sys, torch
from mdistiller_icc.data import load
from mdistiller_icc.run import configure

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    options = ["DATASET.TYPE", "imagenet", "DATASET.ROOT", sys.argv[2], "DATASET.NUM_WORKERS", sys.argv[3]]
    loaded = load(configure(None, [*options, "DATASET.IMAGE_SIZE", "96"]), 0, torch.device("cpu"))
    sums, seen = [], []
    for image, target, index in loaded.train:
        sums.append(image.double().sum().item())
        seen += index.tolist()
        assert target.tolist() == index.tolist()
    assert sorted(seen) == list(range(10_000))
    print(sum(len(target) for _, target in loaded.test), sums)
"""


@pytest.mark.slow
def test_an_imagenet_of_ten_thousand_images_through_spawned_and_forked_workers(ten_thousand, tmp_path):
    (tmp_path / "one_pass.py").write_text(textwrap.dedent(PASS))
    printed = []
    for method, workers in (("fork", 0), ("fork", 2), ("spawn", 2)):
        line = [sys.executable, str(tmp_path / "one_pass.py"), method, str(ten_thousand), str(workers)]
        began = time.perf_counter()
        done = subprocess.run(
            line, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        )
        assert done.returncode == 0, done.stderr
        seconds = time.perf_counter() - began
        printed.append(done.stdout.splitlines()[-1])
        print(f"{method}, {workers} workers: 10,000 training and 500 test images in {seconds:.1f} s")
    assert printed[0].startswith("500 ") and printed[0] == printed[1] == printed[2]
