"""From networks and images to the report's files, and from a command line to the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mdistiller_icc.errors import UserError
from mdistiller_icc.geometry.distances import class_distances
from mdistiller_icc.geometry.outputs import outputs_of
from mdistiller_icc.geometry.report import analyse, draw, save
from mdistiller_icc.studies.analyze import labels, main


class Net(nn.Module):
    """A small network with batch norm and mdistiller's interface."""

    def __init__(self, classes=3, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5))
        self.fc = nn.Linear(5, classes)

    def forward(self, image):
        pooled = self.body(image)
        return self.fc(pooled), {"pooled_feat": pooled}


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(40) % 3
    image = torch.randn(40, 3, 2, 2, generator=generator) + target.view(-1, 1, 1, 1)
    index = torch.arange(40)
    return list(zip(image.split(16), target.split(16), index.split(16), strict=True))


def test_outputs_are_those_of_eval_mode_and_leave_no_trace(batches):
    net = Net().train()
    net.body[1].eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    out = outputs_of({"net": net}, batches, "cpu")["net"]
    assert net.training and net.body[2].training and not net.body[1].training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    with torch.no_grad():
        logits, features = net.eval()(torch.cat([image for image, *_ in batches]))
    assert torch.allclose(out.logits, logits, atol=1e-6)
    assert torch.allclose(out.features, features["pooled_feat"], atol=1e-6)
    assert torch.equal(out.target, torch.arange(40) % 3)
    assert not out.features.requires_grad


def test_every_model_sees_the_same_images_of_a_loader_that_never_repeats_itself():
    class Fresh:
        def __iter__(self):
            for _ in range(3):
                yield torch.randn(8, 3, 2, 2), torch.randint(0, 3, (8,))

    net = Net()
    out = outputs_of({"a": net, "b": net}, Fresh(), "cpu")
    assert torch.equal(out["a"].features, out["b"].features)


def test_the_report_states_the_figures_of_the_functions(batches, tmp_path):
    report = analyse({"a": Net(), "b|c": Net(seed=1)}, batches, "cpu", ("x", "y", "z"), {"dataset": "toy"})
    paths = save(report, tmp_path / "new" / "folder") | draw(report, tmp_path / "new" / "folder")
    told = json.loads(paths["json"].read_text())
    outputs = report.outputs["a"]
    expected = class_distances(outputs.features, outputs.target, 3)
    assert told["images"] == 40 and told["classes"] == ["x", "y", "z"] and told["about"] == {"dataset": "toy"}
    assert told["teachers"]["a"]["intra"] == expected.intra
    assert told["teachers"]["a"]["inter_per_class"] == expected.inter_per_class
    assert set(told["teachers"]["a"]["entropy"]) == set(told["teachers"]["a"]["within_share"]) == {"1", "4"}
    table = paths["markdown"].read_text()
    assert f"{expected.intra:.3f}" in table and r"b\|c" in table and "40 toy images of 3 classes" in table
    assert set(paths) == {"json", "markdown", "tsne", "histograms", "classes"}
    assert all(path.stat().st_size > 200 for path in paths.values())


def test_a_class_with_one_image_and_one_with_none_give_null_not_nan(tmp_path):
    image = torch.randn(7, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    report = analyse({"a": Net(classes=4)}, [(image, torch.tensor([0, 0, 0, 1, 1, 1, 2]))], "cpu")
    told = json.loads(save(report, tmp_path)["json"].read_text())["teachers"]["a"]
    assert told["intra_per_class"][2:] == [None, None] and told["inter_per_class"][3] is None
    assert told["margin_per_class"][3] is None and told["margin"] is not None


def test_a_collapsed_teacher_is_reported(tmp_path):
    net = Net()
    nn.init.zeros_(net.body[1].weight)
    image, target = torch.randn(30, 3, 2, 2), torch.arange(30) % 3
    report = analyse({"a": net}, [(image, target)], "cpu")
    told = json.loads(save(report, tmp_path)["json"].read_text())["teachers"]["a"]
    assert told["intra"] == pytest.approx(0, abs=1e-6) and told["ratio"] is None
    assert told["within_share"] == {"1": None, "4": None}
    assert "–" in report.markdown()


def test_what_cannot_be_analysed_is_one_line(batches):
    diverged = Net()
    nn.init.constant_(diverged.fc.weight, float("nan"))
    with pytest.raises(UserError, match="diverged.*not finite|not finite.*diverged"):
        analyse({"a": diverged}, batches, "cpu")
    with pytest.raises(UserError, match="no images"):
        analyse({"a": Net()}, [], "cpu")
    with pytest.raises(UserError, match="a: tells 5 classes apart, the data set has 3"):
        analyse({"a": Net(classes=5)}, batches, "cpu", ("x", "y", "z"))
    with pytest.raises(UserError, match="tells 2 classes apart, the data set has 3"):
        analyse({"a": Net(classes=2)}, batches, "cpu")


def test_figures_are_written_even_where_pictures_cannot_be(batches, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    report = analyse({"a": Net()}, batches, "cpu")
    save(report, tmp_path)
    with pytest.raises(UserError, match="analysis"):
        draw(report, tmp_path)
    assert (tmp_path / "report.json").stat().st_size and (tmp_path / "report.md").stat().st_size


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Untrained networks in three of the field's layouts."""
    from mdistiller_icc.builtin.models import cifar_model_dict

    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    for name, architecture, meta in (("one", "resnet8", {}), ("two", "resnet14", {"architecture": "resnet14"})):
        state = cifar_model_dict[architecture][0](num_classes=10).state_dict()
        torch.save({"model": state, "meta": meta} if meta else state, folder / f"{name}.pth")
    run = folder / "run"
    run.mkdir()
    torch.save({"model": cifar_model_dict["resnet20"][0](num_classes=10).state_dict()}, run / "student_latest")
    (run / "record.json").write_text(json.dumps({"student": {"architecture": "resnet20"}}))
    return folder


def test_the_command_compares_checkpoints_of_several_architectures(checkpoints, tmp_path, capsys):
    files = [str(checkpoints / name) for name in ("one.pth", "two.pth", "run/student_latest")]
    options = ["DATASET.TYPE", "digits", "DISTILLER.STUDENT", "resnet8"]
    assert main([*files, "--device", "cpu", "--out", str(tmp_path), *options]) == 0
    printed = capsys.readouterr().out
    told = json.loads((tmp_path / "report.json").read_text())
    assert list(told["teachers"]) == ["one", "two", "student_latest"]
    architectures = [one["architecture"] for one in told["about"]["checkpoints"].values()]
    assert architectures == ["resnet8", "resnet14", "resnet20"]
    assert told["about"]["split"] == "test" and told["images"] == 360
    assert str(tmp_path / "tsne.png") in printed and "| one |" in printed


def test_the_training_images_can_be_analysed(checkpoints, tmp_path):
    options = ["DATASET.TYPE", "digits", "DATASET.FRACTION", "0.2"]
    main([*options, str(checkpoints / "two.pth"), "--split", "train", "--device", "cpu", "--out", str(tmp_path)])
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["about"]["split"] == "train" and 200 < told["images"] < 360


def test_mistakes_on_the_command_line_are_told(checkpoints, tmp_path):
    one = str(checkpoints / "one.pth")
    digits = ["--device", "cpu", "--out", str(tmp_path), "DATASET.TYPE", "digits"]
    with pytest.raises(UserError, match="named twice"):
        main([one, one, *digits])
    with pytest.raises(UserError, match="arguments are required: CHECKPOINT"):
        main(["DATASET.TYPE", "digits"])
    with pytest.raises(UserError, match="nowhere.pth"):
        main([str(tmp_path / "nowhere.pth"), *digits])
    with pytest.raises(UserError, match="not a checkpoint of resnet20.*DISTILLER.STUDENT"):
        main([one, *digits, "DISTILLER.STUDENT", "resnet20"])
    with pytest.raises(UserError, match="unknown key DATASET.TYPO"):
        main([one, *digits, "DATASET.TYPO", "x"])
    assert list(tmp_path.iterdir()) == []


def test_names_tell_files_apart():
    assert labels(["a/x.pth"]) == ["x"]
    assert labels(["a/k/student_best", "b/k/student_best", "b/j/student_best"]) == [
        "a/k/student_best",
        "b/k/student_best",
        "b/j/student_best",
    ]


def test_help_needs_no_torch():
    tool = Path(__file__).parents[2] / "tools" / "analyze.py"
    program = f"""
import runpy, sys
sys.argv = ["analyze.py", "--help"]
try:
    runpy.run_path({str(tool)!r}, run_name="__main__")
finally:
    assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "CHECKPOINT" in done.stdout, done.stderr
