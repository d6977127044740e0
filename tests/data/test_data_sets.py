"""A data set is one object in one file, and nobody else knows any by name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

from mdistiller_icc import data
from mdistiller_icc.builtin.distillers.settings import image_size
from mdistiller_icc.errors import UserError
from mdistiller_icc.host import Host
from mdistiller_icc.plugin import register

PACKAGE = Path(data.__file__).parents[1]
SHADES = '''
"""Three shades of grey."""
import numpy as np

from mdistiller_icc.data.augment import Augmentation
from mdistiller_icc.data.dataset import DataSet
from mdistiller_icc.data.source import Source, Split


def read(root):
    images = np.arange(12, dtype=np.uint8).repeat(3 * 48 * 48).reshape(12, 3, 48, 48)
    split = Split(images, np.arange(12) % 3)
    return Source(("dark", "grey", "light"), split, split)


SHADES = DataSet(
    name="shades", num_classes=3, image_size=48, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0),
    augmentation=Augmentation(flip=True), read=read, models="tiny_imagenet_model_dict",
)
'''


@pytest.fixture
def shades(tmp_path, monkeypatch):
    """A data set whose one file is put beside the others."""
    (tmp_path / "shades.py").write_text(SHADES)
    monkeypatch.setattr(data, "__path__", [*data.__path__, str(tmp_path)])
    data.data_sets.cache_clear()
    yield data.data_set("shades")
    monkeypatch.undo()
    data.data_sets.cache_clear()


def test_a_data_set_is_added_by_adding_its_file(shades, configure):
    cfg = configure({"DATASET.TYPE": "shades", "DATASET.LOADER": "resident"})
    loaded = data.load(cfg, 0, torch.device("cpu"))
    assert (loaded.name, loaded.num_classes, loaded.image_size, loaded.augmentation) == ("shades", 3, 48, "flip")
    image, target = next(iter(loaded.test))
    assert torch.allclose(image[:, 0, 0, 0], torch.arange(12) / 255) and torch.equal(target, torch.arange(12) % 3)
    host = register(verbose=False).host
    assert host.models("shades") is host.tiny_imagenet_model_dict
    assert image_size(cfg) == 48


def test_an_unknown_one_is_told_with_the_nearest_name():
    with pytest.raises(UserError, match=r"^DATASET.IMAGES: unknown 'digit' \(did you mean 'digits'\?\); known: cifar"):
        data.data_set("digit", "DATASET.IMAGES")


@pytest.mark.parametrize("name", data.data_sets())
def test_what_every_one_of_them_says(name):
    one = data.data_set(name)
    assert (PACKAGE / "data" / f"{name}.py").is_file(), "its file is called what it is called"
    assert (one.num_classes or 2) > 1 and one.models in Host.__dataclass_fields__
    assert all(0 < value < 1 for value in (*(one.mean or ()), *(one.std or ())))
    assert one.test_resize is None or one.test_resize >= one.image_size


def test_every_dictionary_is_that_of_one_data_set_of_mdistillers():
    theirs = [one.models for one in data.data_sets().values() if one.known_to == "mdistiller"]
    assert sorted(theirs) == ["cifar_model_dict", "imagenet_model_dict", "tiny_imagenet_model_dict"]


def names_asked_for(source: str) -> set[str]:
    """The texts that a file compares something with, or looks something up by."""
    asked: list[ast.expr | None] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            asked += [part for side in sides for part in getattr(side, "elts", [side])]
        elif isinstance(node, ast.Dict):
            asked += node.keys
        elif isinstance(node, ast.MatchValue):
            asked.append(node.value)
    return {part.value for part in asked if isinstance(part, ast.Constant) and isinstance(part.value, str)}


def test_no_other_file_asks_for_a_data_set_by_name():
    assert names_asked_for("if a in ('imagenet', 'b') or a != 'c': sizes = {'d': 1}") == {"imagenet", "b", "c", "d"}
    for file in PACKAGE.rglob("*.py"):
        found = names_asked_for(file.read_text(encoding="utf-8")) & set(data.data_sets())
        assert not found, f"{file} asks for {found}"


def test_a_mean_alone_leaves_the_deviation_what_it_is(configure):
    one = data.described(configure({"DATASET.MEAN": [0.3, 0.3, 0.3]}))
    assert one.mean + one.std == (0.3, 0.3, 0.3, *data.data_set("digits").std)
