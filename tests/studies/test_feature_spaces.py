"""The comparison of a table's teachers: one row a recipe, and every seed and class in a file."""

from __future__ import annotations

import csv
import importlib.util

import pytest
import torch
import yaml

from mdistiller_icc.plugin import register
from mdistiller_icc.studies import analyses
from mdistiller_icc.studies.plan import plan
from mdistiller_icc.studies.table_file import load
from mdistiller_icc.teachers import checkpoint

TABLE = {
    "dataset": "digits",
    "epochs": {"full": 1, "short": 1},
    "settings": {"DATASET": {"FRACTION": 0.1}},
    "teachers": {"vanilla": None, "icc": {"vary": {"ICC.MARGIN": [0.1, 0.3]}}},
    "methods": {},
    "pairs": [{"teacher": "resnet8", "student": None}],
    "analysis": {"geometry": None},
}


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A table and its runs, whose teachers are untrained networks in the store."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(TABLE))
    table = load("mine.yaml")
    runs = plan(table, seeds=[0, 1])
    for i, run in enumerate(runs):
        torch.manual_seed(i)
        network = register().host.models("digits")["resnet8"][0](num_classes=10)
        checkpoint.save({"model": network.state_dict()}, run.teacher_file)
    return table, runs


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_every_recipe_has_its_row_though_their_files_have_one_name(study, capsys, tmp_path):
    table, runs = study
    assert len({run.teacher_file.name for run in runs}) < len({run.teacher_file for run in runs}) == 6
    analyses.analyse(table, runs, "cpu")
    recipes = ["resnet8_icc,ICC.MARGIN:0.1", "resnet8_icc", "resnet8_vanilla"]
    told = capsys.readouterr().out
    assert sorted(line.split(" | ")[0] for line in told.splitlines() if line.startswith("| resnet8")) == sorted(
        f"| {recipe}" for recipe in recipes
    )
    folder = tmp_path / "output/mine/geometry_mine"
    seeds = rows(folder / "teachers.csv")
    assert sorted((row["teacher"], row["seed"]) for row in seeds) == sorted((r, s) for r in recipes for s in "01")
    assert len({row["intra"] for row in seeds}) == 6, "six networks, six figures"
    assert len(rows(folder / "classes.csv")) == 6 * 10
    assert (folder / "tsne.png").exists()


def test_without_matplotlib_there_are_the_figures_alone(study, capsys, tmp_path, monkeypatch):
    table, runs = study
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    analyses.analyse(table, [run for run in runs if run.cfg.EXPERIMENT.SEED == 0], "cpu")
    assert "pip install 'mdistiller_icc[analysis]'" in capsys.readouterr().out
    assert (tmp_path / "output/mine/geometry_mine/teachers.csv").exists() and not list(tmp_path.rglob("*.png"))
