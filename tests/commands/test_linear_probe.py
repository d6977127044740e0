"""``mdistiller-icc probe``: a linear classifier on frozen features, against one that is fitted by plain loops."""

from __future__ import annotations

import json
import os

import pytest
import torch

from mdistiller_icc import data
from mdistiller_icc.commands.entry import main
from mdistiller_icc.errors import UserError
from mdistiller_icc.run import configure
from mdistiller_icc.studies.linear_probe import seen, top1


@pytest.fixture
def digits():
    options = ["DATASET.TYPE", "digits", "DATASET.IMAGES", "digits"]
    return data.load(configure(None, options), 0, torch.device("cpu"))


def test_a_networks_features_of_digits_are_nearly_linear_and_it_stays_as_it_is(here, printed, network, digits):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    train, test = (seen(network, loader, torch.device("cpu")) for loader in (digits.unlabelled, digits.test))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert train.features.shape == (1437, 64) and test.features.shape == (360, 64)
    assert train.labels.tolist() == data.data_set("digits").read(None).train.labels.tolist()

    found = json.loads(printed("probe", "run/best", "--on", "digits", "--json"))
    (probe,) = found["probes"]
    assert (found["architecture"], found["trained_on"], found["image_size"], found["dim"]) == (
        "resnet8",
        "digits",
        32,
        64,
    )
    assert (probe["dataset"], probe["num_classes"], probe["num_train"], probe["num_test"]) == ("digits", 10, 1437, 360)
    assert probe["top1"] == top1(train, test)
    # The same minimum in torch: mean loss plus ‖w‖² / 2N on standardised features.
    x, y = torch.from_numpy(train.features), torch.from_numpy(train.labels)
    mean, std = x.mean(0), x.std(0, correction=0)
    weight, bias = (torch.zeros(shape, dtype=torch.float64, requires_grad=True) for shape in ((64, 10), (10,)))
    solver = torch.optim.LBFGS([weight, bias], max_iter=2000, line_search_fn="strong_wolfe", tolerance_change=1e-12)

    def loss():
        solver.zero_grad()
        value = torch.nn.functional.cross_entropy((x - mean) / std @ weight + bias, y) + (weight**2).sum() / 2 / len(x)
        value.backward()
        return value

    solver.step(loss)
    guess = (((torch.from_numpy(test.features) - mean) / std) @ weight + bias).argmax(1)
    wanted = 100 * (guess == torch.from_numpy(test.labels)).double().mean().item()
    assert probe["top1"] == pytest.approx(wanted, abs=0.6) and wanted > 60, "two images may differ: the minimum is flat"


def test_other_images_are_brought_to_the_networks_size(here, printed, paint_shades):
    root = paint_shades(here / "tree")
    told = printed("probe", "run/best", "--on", "imagefolder", "--on", "digits", "DATASET.ROOT", root)
    assert (
        "imagefolder: linear top-1 100.00 % (2 classes, 8 training and 4 test images, 32 pixels, 64 features)" in told
    )
    assert "digits: linear top-1" in told


@pytest.fixture
def paint_shades():
    """A tree of dark and light images of many sizes."""
    from PIL import Image

    def paint(root):
        for split, count in (("train", 4), ("test", 2)):
            for name, shade in (("dark", 20), ("light", 220)):
                os.makedirs(root / split / name)
                for i in range(count):
                    Image.new("L", (40 + i, 50), shade + i).save(root / split / name / f"{i}.png")
        return root

    return paint


@pytest.mark.parametrize(
    "words, told",
    [
        ([], "the following arguments are required: CHECKPOINT"),
        (["nowhere"], "nowhere: No such file"),
        (["run/best", "--on", "slt10"], r"--on: unknown 'slt10' \(did you mean 'stl10'"),
        (["run/best", "DATASET.ROOT", "empty"], "STL-10 not found: looked in empty/stl10 and empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes(here, words, told):
    with pytest.raises(UserError, match=told) as raised:
        main(["probe", *words])
    assert "\n" not in str(raised.value)
