"""The contrastive losses of a feature space, against plain loops, and the sweep that measures them."""

from __future__ import annotations

import json
import math

import pytest
import torch

from mdistiller_icc.geometry.contrast import contrast
from mdistiller_icc.studies import sweep


def test_one_possible_negative_each_makes_the_draw_certain():
    source = torch.Generator().manual_seed(0)
    feature, view = torch.randn(2, 4, 5, generator=source, dtype=torch.float64)
    target = torch.tensor([0, 0, 1, 1])
    f = (feature / feature.norm(dim=1, keepdim=True)).tolist()
    p = (view / view.norm(dim=1, keepdim=True)).tolist()

    def dot(a, b):
        return math.fsum(x * y for x, y in zip(a, b, strict=True))

    partner = [1, 0, 3, 2]
    expected = [math.log(1 + 3 * math.exp(dot(f[i], f[partner[i]]) - dot(f[i], p[i]))) for i in range(4)]
    measured = contrast(feature, view, target, negatives=3)
    assert measured.intra == pytest.approx(sum(expected) / 4, rel=1e-9)
    assert contrast(feature[:2], view[:2], target[:2]).inter is None  # a single class has no others
    assert contrast(feature[1:3], view[1:3], target[1:3]).intra is None  # no class has two images


def test_classes_far_apart_have_the_smaller_loss_between_them():
    target = torch.arange(40) % 2
    feature = torch.nn.functional.one_hot(target, 4).float() + 0.1 * torch.randn(40, 4)
    measured = contrast(feature, feature, target)
    assert measured.inter < measured.intra


def test_a_sweep_is_measured_and_resumed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = [
        "--values", "0", "0.5", "gradnorm", "--out", "out", "DATASET.TYPE", "digits", "DISTILLER.TYPE", "ICC",
        "DISTILLER.STUDENT", "resnet8", "SOLVER.TRAINER", "icc", "SOLVER.EPOCHS", "1", "DATASET.FRACTION", "0.1",
        "ICC.MARGIN", "-1",
    ]  # fmt: skip
    assert sweep.main(line) == 0
    rows = json.loads((tmp_path / "out/sweep.json").read_text())["rows"]
    assert [row["value"] for row in rows] == ["0", "0.5", "gradnorm"] and rows[1]["λ in force"] == pytest.approx(0.5)
    assert not (tmp_path / "teachers").exists()
    trained = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/*/*/latest")}
    assert len(trained) == 3
    capsys.readouterr()
    sweep.main(line)
    assert json.loads((tmp_path / "out/sweep.json").read_text())["rows"] == rows
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/*/*/latest")} == trained
    assert "| cross-entropy | 0.5 |" in capsys.readouterr().out
