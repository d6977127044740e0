"""Networks for ImageNet's images tell apart the classes of the data, not always ImageNet's thousand."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import nn

from mdistiller_icc.classifier import fit_classifier
from mdistiller_icc.engine.progress import Silent
from mdistiller_icc.errors import UserError
from mdistiller_icc.plugin import register
from mdistiller_icc.run import configure, run
from mdistiller_icc.teachers import checkpoint, resolve

IMAGENET = ["DATASET.TYPE", "imagenet", "DISTILLER.STUDENT", "ResNet18", "DISTILLER.TEACHER", "ResNet34"]


@pytest.fixture
def models():
    return register(verbose=False).host.imagenet_model_dict


@pytest.mark.parametrize("classes", [3, 1001])
@pytest.mark.parametrize("name", ["ResNet18", "ResNet18_icc", "MobileNetV1"])
def test_a_network_has_the_datas_classes(classes, name, models):
    model = resolve.build(models, name, configure(None, IMAGENET), classes).eval()
    with torch.no_grad():
        logits, features = model(torch.zeros(1, 3, 32, 32))
    assert logits.shape == (1, classes) and features["pooled_feat"].shape[1] in (512, 1024)
    assert torch.isfinite(nn.functional.cross_entropy(logits, torch.tensor([classes - 1])))


def test_imagenets_own_thousand_stay_as_they_were_drawn(models):
    torch.manual_seed(0)
    ours = resolve.build(models, "ResNet18", configure(None, IMAGENET), 1000)
    torch.manual_seed(0)
    theirs = models["ResNet18"](pretrained=False)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_imagenets_weights_are_not_those_of_another_data_set_of_as_many_classes(models):
    for name, classes in (("places365", 365), ("imagefolder", 1000)):
        cfg = configure(None, [*IMAGENET, "DATASET.TYPE", name])
        with pytest.raises(UserError, match=r"for the 1,000 classes of imagenet, and this .* take ResNet34_vanilla"):
            resolve.load(models, cfg, tuple(map(str, range(classes))))


def test_a_convolution_may_be_the_classifier():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Sequential(nn.ReLU(), nn.Conv2d(8, 10, 1, bias=False)))
    fit_classifier(model, 4)
    assert model(torch.zeros(1, 3, 8, 8)).shape[1] == 4 and model[1][1].bias is None


@pytest.mark.parametrize("name", ["ResNet34_vanilla", "ResNet34"])
def test_a_teacher_of_other_counts_is_loaded_from_its_file(name, models, tmp_path):
    cfg = configure(None, [*IMAGENET, "DISTILLER.TEACHER", name, "DISTILLER.TEACHER_CKPT", str(tmp_path / "file.pth")])
    trained = resolve.build(models, "ResNet34", cfg, 3)
    checkpoint.save({"model": trained.state_dict()}, tmp_path / "file.pth")
    teacher, _ = resolve.load(models, cfg, ("n0", "n1", "n2"))
    assert torch.equal(teacher.fc.weight, trained.fc.weight) and teacher.fc.out_features == 3


def test_a_teacher_of_three_classes_is_trained_and_recorded(tmp_path, monkeypatch):
    for number in range(3):
        for split in ("train", "val"):
            (tmp_path / split / f"n{number}").mkdir(parents=True)
            Image.new("RGB", (64, 64), (80 * number, 0, 0)).save(tmp_path / split / f"n{number}" / "0.png")
    monkeypatch.chdir(tmp_path)
    options = [*IMAGENET, "DATASET.ROOT", ".", "DATASET.NUM_WORKERS", "0", "DISTILLER.TYPE", "ICC"]
    options += ["SOLVER.TRAINER", "icc", "SOLVER.EPOCHS", "1"]
    record = run(configure(None, options), "teacher", device="cpu", progress=Silent())
    assert (record["num_classes"], record["num_train"], record["num_test"]) == (3, 3, 3)
    state = checkpoint.read(tmp_path / "teachers/imagenet/ResNet18_icc.pth")["model"]
    assert state["fc.weight"].shape == (3, 512)


def test_weights_that_are_for_a_thousand_classes_do_not_fit_three(models):
    with pytest.raises(UserError, match=r"ResNet34: .* are for the 1,000 classes of .* has 3; take"):
        resolve.load(models, configure(None, IMAGENET), ("n0", "n1", "n2"))
