"""The experiments that a table is made for, at toy size from their runs to their figures and pictures."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image
from sklearn.datasets import load_digits

ROOT = Path(__file__).parents[2]
TINY = [
    "SOLVER.EPOCHS", "4", "SOLVER.BATCH_SIZE", "4", "SOLVER.LR", "0.005", "SOLVER.SCHEDULE", "cosine",
    "DATASET.ROOT", "data",
]  # fmt: skip
"""A small rate that falls to nothing, so that batch norm's running means settle and a teacher is better than chance."""


def draw(folder, size, most, least, split):
    """Handwritten digits as a folder of images per class; most are zeros, so that a few steps beat chance."""
    digits = load_digits()
    for label in range(4):
        images = digits.images[digits.target == label]
        count = most if label == 0 else least
        start = 0 if split == "train" else 60
        place = folder / split / str(label)
        place.mkdir(parents=True)
        for number, image in enumerate(images[start : start + count]):
            pixels = Image.fromarray((image * 15.9).astype("uint8")).resize((size, size)).convert("RGB")
            pixels.save(place / f"{number}.JPEG", quality=95)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Small data sets in the layouts of CIFAR-100 and Tiny-ImageNet."""
    folder = tmp_path_factory.mktemp("toys") / "data"
    for split, most, least in (("train", 20, 1), ("test", 16, 2)):
        draw(folder / "cifar100", 32, most, least, split)
    for split, most, least in (("train", 12, 1), ("val", 10, 1)):
        draw(folder / "tiny-imagenet-200", 64, most, least, split)
    return folder


@pytest.fixture
def reproduce(tmp_path, data):
    """Run a table to its end in an empty folder with the toy data sets in it; what it printed."""
    (tmp_path / "data").symlink_to(data)

    def run(table, *arguments):
        line = [sys.executable, str(ROOT / "tools/reproduce.py"), table, "--seeds", "0", *arguments, *TINY]
        environment = os.environ | {"MDISTILLER_ICC_HOST": "builtin"}
        done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout, done.stderr

    return run


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def is_picture(path):
    return path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_sanity(reproduce, tmp_path):
    told, _ = reproduce("sanity", "DATASET.FRACTION", "1.0")
    folder = tmp_path / "output/sanity/geometry_sanity"
    assert "| resnet20_vanilla |" in told and "| resnet20_icc |" in told
    classes = rows(folder / "classes.csv")
    assert len(classes) == 2 * 4 and all(float(row["intra"]) > 0 for row in classes)
    assert all(is_picture(folder / f"{name}.png") for name in ("tsne", "classes", "histograms"))
    assert list((tmp_path / "teachers").iterdir())[0].name.startswith("sanity"), "not among everybody's teachers"


@pytest.mark.slow
def test_ablation_margin(reproduce, tmp_path):
    told, _ = reproduce("ablation_margin", "--methods", "KD")
    assert "epochs until 75% of it" in told
    found = rows(tmp_path / "output/cifar100/analysis_ablation_margin/results.csv")
    margins = [row["ICC.MARGIN"] for row in found if row["role"] == "teacher"]
    assert margins == ["", "0.1", "0.3", "0.5", "0.7"]
    assert len(found) == 10 and all(row["epochs"] in "1234" for row in found)
    assert is_picture(tmp_path / "output/cifar100/analysis_ablation_margin/sensitivity_ICC.MARGIN.png")
    teachers = rows(tmp_path / "output/cifar100/geometry_ablation_margin/teachers.csv")
    assert len(teachers) == len({row["teacher"] for row in teachers}) == 5, "one row a recipe"


@pytest.mark.slow
def test_pareto_on_both_data_sets(reproduce, tmp_path):
    grid = {"ICC.WEIGHT": [0.02, 0.05], "ICC.MARGIN": [0.1, 0.3]}
    recipe = {"ICC": {"WEIGHT": 0.02, "MARGIN": 0.3, "QUEUE": {"SIZE": 2}}, "vary": grid}
    (tmp_path / "small.yaml").write_text(
        yaml.safe_dump({"like": "pareto", "teachers": {"vanilla": None, "icc": recipe}})
    )
    told, _ = reproduce("small.yaml", "--methods", "KD")
    assert told.count("on the front: ") >= 4
    pairs = ("cifar100", "resnet56", "resnet20"), ("tiny_imagenet", "ResNet18", "MobileNetV2")
    for dataset, teacher, student in pairs:
        folder = tmp_path / "output" / dataset / f"analysis_small_{dataset}"
        found = rows(folder / "pareto.csv")
        assert {row["who"] for row in found} == {f"{teacher}, teacher", f"{teacher}, KD, {student}"}
        assert len(found) == 2 * 5 and "True" in {row["on_front"] for row in found}
        assert is_picture(folder / "pareto.png")


@pytest.mark.slow
def test_cross_architecture(reproduce, tmp_path):
    told, _ = reproduce("cross_architecture")
    assert "ResNet50" in told and "MobileNetV2" in told and "ICC − plain" in told
    assert is_picture(tmp_path / "output/cifar100/geometry_cross_architecture/tsne.png")


@pytest.mark.slow
def test_geometry_on_what_is_at_hand(reproduce, tmp_path):
    told, warned = reproduce("geometry", "DATASET.FRACTION", "0.5")
    assert "left out: " in warned and "ImageNet not found" in warned
    for project, teacher in (("digits", "resnet20"), ("cifar100", "resnet56"), ("tiny_imagenet", "ResNet18")):
        found = rows(tmp_path / "output" / project / f"geometry_geometry_{project}" / "teachers.csv")
        assert [row["teacher"] for row in found] == [f"{teacher}_vanilla", f"{teacher}_icc"]
        assert all(float(row["inter"]) > 0 for row in found)


@pytest.mark.slow
def test_transfer_in_both_directions(reproduce, tmp_path):
    reproduce("transfer", "--methods", "KD", "--pairs", "resnet56:resnet20", "ResNet18:MobileNetV2")
    for dataset, images in (("cifar100", "tiny_imagenet"), ("tiny_imagenet", "cifar100")):
        students = list((tmp_path / "output" / dataset).glob(f"KD,*,DATASET.IMAGES={images},*/record.json"))
        assert len(students) == 2
