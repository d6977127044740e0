"""The comparison of a table's teachers: one row a recipe, and every seed and class in a file."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path

import pytest
import torch
import yaml

from mdistiller_icc.plugin import register
from mdistiller_icc.studies import analyses, gain_by_spread
from mdistiller_icc.studies.plan import plan
from mdistiller_icc.studies.results import Result
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
    monkeypatch.chdir(tmp_path)
    return planned(TABLE)


def planned(content, seeds=(0, 1)):
    """A table and its runs, whose teachers are untrained networks in the store."""
    Path("mine.yaml").write_text(yaml.safe_dump(content))
    table = load("mine.yaml")
    runs = plan(table, seeds=seeds)
    for i, run in enumerate(run for run in runs if run.role == "teacher"):
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
    table, _, changed = told.partition("Against the plain teacher")
    assert sorted(line.split(" | ")[0] for line in table.splitlines() if line.startswith("| resnet8")) == sorted(
        f"| {recipe}" for recipe in recipes
    )
    folder = tmp_path / "output/mine/geometry_mine"
    seeds = rows(folder / "teachers.csv")
    assert sorted((row["teacher"], row["seed"]) for row in seeds) == sorted((r, s) for r in recipes for s in "01")
    assert len({row["intra"] for row in seeds}) == 6, "six networks, six figures"
    by_run = {(row["teacher"], row["seed"]): float(row["intra"]) for row in seeds}
    for row in rows(folder / "against_plain.csv"):
        if row["figure"] == "intra":
            recipe, changes = row["teacher"], [by_run[row["teacher"], s] - by_run["resnet8_vanilla", s] for s in "01"]
            half = 12.706204736 * abs(changes[0] - changes[1]) / 2  # Student's t of one degree of freedom
            mean = sum(changes) / 2
            assert [float(row[key]) for key in ("change", "low", "high")] == pytest.approx(
                [mean, mean - half, mean + half]
            )
            recipes.remove(recipe)
            assert f"| {recipe} | intra | {mean:+.3f} [".replace("-", "−") in changed.replace("-", "−")
    assert recipes == ["resnet8_vanilla"]
    assert len(rows(folder / "classes.csv")) == 6 * 10
    assert (folder / "tsne.png").exists()
    assert {"entropy_T4", "within_share_T4"} <= seeds[0].keys() and float(seeds[0]["entropy_T4"]) > 0


def test_parts_may_have_seeds_of_their_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    parts = [
        {"seeds": [0], "teachers": {"icc": {"vary": {"ICC.MARGIN": [0.1]}}}},
        {"seeds": [1, 2], "teachers": {"vanilla": None, "icc": None}},
    ]
    table, runs = planned(TABLE | {"parts": parts}, seeds=None)
    analyses.analyse(table, runs, "cpu")
    told = capsys.readouterr().out.partition("of every seed")[0]
    assert "mean over seeds (n = 2, elsewhere as in brackets):" in told
    folder = tmp_path / "output/mine/geometry_mine"
    for name, count, seeds in (("icc,ICC.MARGIN:0.1", " (1)", "0"), ("vanilla", "", "12"), ("icc", "", "12")):
        own = [row for row in rows(folder / "teachers.csv") if row["teacher"] == f"resnet8_{name}"]
        intra = sum(float(row["intra"]) for row in own) / len(own)
        (line,) = (line for line in told.splitlines() if line.startswith(f"| resnet8_{name}{count} | "))
        assert "".join(row["seed"] for row in own) == seeds and line.split(" | ")[2] == f"{intra:.3f}"


def test_without_matplotlib_there_are_the_figures_alone(study, capsys, tmp_path, monkeypatch):
    table, runs = study
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    analyses.analyse(table, [run for run in runs if run.cfg.EXPERIMENT.SEED == 0], "cpu")
    assert "pip install 'mdistiller_icc[analysis]'" in capsys.readouterr().out
    assert (tmp_path / "output/mine/geometry_mine/teachers.csv").exists() and not list(tmp_path.rglob("*.png"))


def test_a_gain_is_against_the_plain_teacher_of_the_same_seed():
    def student(recipe, seed, top1):
        return Result("digits", recipe, {}, "student", "KD", "resnet8", seed, top1, 1)

    top1 = {("a_vanilla", 0): 50.0, ("a_icc", 0): 52.0, ("a_vanilla", 1): 60.0, ("a_icc", 1): 59.0, ("a_icc", 2): 9.0}
    spread = {("a_vanilla", 0): 0.5, ("a_icc", 0): 0.7, ("a_vanilla", 1): 0.6, ("a_icc", 1): 0.65, ("a_icc", 2): 0.1}
    assert not gain_by_spread.gains([student(*who, value) for who, value in top1.items()], spread), "two tell nothing"
    top1, spread = top1 | {("a_wide", 1): 61.5}, spread | {("a_wide", 1): 0.7}
    alone = Result("digits", "", {}, "student", "NONE", "resnet8", 0, 1.0, 1)
    teacher = Result("digits", "a_icc", {}, "teacher", "ICC", "a", 0, 1.0, 1)
    found = gain_by_spread.gains([alone, teacher, *(student(*who, value) for who, value in top1.items())], spread)
    assert [(one.recipe, one.seed, round(one.wider, 9), one.points) for one in found] == [
        ("a_icc", 0, 0.2, 2.0), ("a_icc", 1, 0.05, -1.0), ("a_wide", 1, 0.1, 1.5)
    ]  # fmt: skip
    assert gain_by_spread.told(found) == "KD, resnet8: Spearman's rank correlation of gain and spread +1.00, 3 teachers"


def test_a_table_with_students_says_whether_gains_follow_the_spread(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pairs = [{"teacher": "resnet8", "student": "resnet8"}]
    table, runs = planned(TABLE | {"methods": {"KD": None, "DKD": None}, "pairs": pairs})
    for i, run in enumerate(runs):
        run.folder.mkdir(parents=True)
        (run.folder / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "test_top1": 10.0 + i}) + "\n")
    analyses.analyse(table, runs, "cpu")
    told = capsys.readouterr().out
    assert "\nKD, resnet8: Spearman's" in told and "\nDKD, resnet8: Spearman's" in told
    folder = tmp_path / "output/mine/geometry_mine"
    assert len(rows(folder / "gain_by_spread.csv")) == 2 * 2 * 2, "two methods, recipes and seeds"
    assert (folder / "gain_by_spread.png").exists()
