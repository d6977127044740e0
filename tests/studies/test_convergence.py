"""Epochs until a share of the final accuracy, the Pareto front, and the list of results both are read from."""

from __future__ import annotations

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdistiller_icc.errors import UserError
from mdistiller_icc.studies import curves
from mdistiller_icc.studies.convergence import epochs_until, final
from mdistiller_icc.studies.pareto import front
from mdistiller_icc.studies.plan import plan
from mdistiller_icc.studies.results import Result, images_judged, markdown, results, save
from mdistiller_icc.studies.table_file import load

EPOCHS = [{"epoch": i + 1, "test_top1": top1} for i, top1 in enumerate([10.0, 30.0, 24.0, None, 31.0, 40.0])]


def test_the_first_epoch_that_comes_near_the_last():
    assert [epochs_until(EPOCHS, share) for share in (0.25, 0.26, 0.75, 0.76, 1.0)] == [1, 2, 2, 5, 6]
    assert final(EPOCHS) == 40.0 and final(EPOCHS[:4]) == 24.0
    assert epochs_until(EPOCHS[:4], 1.0) == 2, "an accuracy that fell was reached when it was first passed"


def test_epochs_without_an_evaluation_are_passed_over():
    assert epochs_until([{"epoch": 1}, {"epoch": 2, "test_top1": 5.0}], 0.5) == 2
    assert epochs_until([{"epoch": 1}, {"epoch": 2, "test_top1": None}], 0.5) is None
    assert epochs_until([], 0.5) is None
    assert epochs_until([{"epoch": 1, "holdout_top1": 3.0}], 1.0, "holdout_top1") == 1
    assert epochs_until([{"epoch": 1, "test_top1": 0.0}], 0.9) == 1, "nothing is nine tenths of nothing"


@pytest.mark.parametrize("share", [0.0, -0.5, 1.1])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match="in \\(0, 1\\]"):
        epochs_until(EPOCHS, share)


@given(st.lists(st.none() | st.floats(0, 100), min_size=1), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_larger_share_never_comes_sooner(accuracies, one, other):
    history = [{"epoch": i + 1, "test_top1": value} for i, value in enumerate(accuracies)]
    sooner, later = (epochs_until(history, share) for share in sorted((one, other)))
    assert (sooner is None) == (later is None) == all(value is None for value in accuracies)
    assert sooner is None or sooner <= later <= len(history)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5).map(float))))
def test_the_front_is_what_no_point_beats(points):
    def beaten(one):
        return any(other != one and other[0] <= one[0] and other[1] >= one[1] for other in points)

    on_it = front(points)
    assert sorted(on_it) == [i for i, point in enumerate(points) if not beaten(point)]
    assert [points[i][0] for i in on_it] == sorted(points[i][0] for i in on_it)


def result(recipe, seed=0, top1=70.0, epochs=10, role="teacher", method="ICC", trained="resnet56", **varied):
    named = ",".join([recipe, *(f"{key}:{value}" for key, value in varied.items())])
    return Result("cifar100", named, varied, role, method, trained, seed, top1, epochs)


FOUND = [
    one
    for seed in (0, 1)
    for one in (
        result("resnet56_vanilla", seed, top1=70.0 + seed, epochs=20, method="NONE"),
        result("resnet56_icc", seed, top1=72.0, epochs=30, **{"ICC.MARGIN": 0.3}),
        result("resnet56_icc", seed, top1=69.0, epochs=25, **{"ICC.MARGIN": 0.1}),
        result("resnet56_vanilla", seed, 66.0, 5, "student", "KD", "resnet20"),
        result("resnet56_icc", seed, 66.5, 6, "student", "KD", "resnet20", **{"ICC.MARGIN": 0.3}),
        result("resnet56_icc", seed, 67.0, 7, "student", "KD", "resnet20", **{"ICC.MARGIN": 0.1}),
        Result("cifar100", "", {}, "student", "NONE", "resnet20", seed, 65.0, 8),
    )
]


def test_one_row_a_recipe_and_one_line_a_run(tmp_path):
    told = markdown(FOUND, 0.75).splitlines()
    assert told[0] == "| recipe | teacher | epochs until 75% of it | KD, resnet20 | NONE, resnet20 |"
    assert told[2] == "| resnet56_vanilla | 70.50 ± 0.71 | 20.00 ± 0.00 | 66.00 ± 0.00 |  |"
    assert told[3] == "| resnet56_icc,ICC.MARGIN:0.3 | 72.00 ± 0.00 | 30.00 ± 0.00 | 66.50 ± 0.00 |  |"
    assert told[5] == "| no teacher |  |  |  | 65.00 ± 0.00 |" and len(told) == 6
    table, tree = save(FOUND, tmp_path, {"share": 0.75})
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(FOUND) and rows[1]["ICC.MARGIN"] == "0.3" and rows[0]["ICC.MARGIN"] == ""
    assert rows[4] | {"top1": "66.5", "epochs": "6", "trained": "resnet20", "method": "KD"} == rows[4]
    told = json.loads(tree.read_text())
    assert told["about"] == {"share": 0.75} and [row["top1"] for row in told["rows"]] == [one.top1 for one in FOUND]


def test_a_recipes_students_are_set_against_their_teachers_epochs():
    told = {(one.who, one.recipe): one for one in curves.choices(FOUND)}
    assert {who for who, _recipe in told} == {"resnet56, teacher", "resnet56, KD, resnet20"}
    student = told["resnet56, KD, resnet20", "resnet56_icc,ICC.MARGIN:0.1"]
    assert (student.epochs.mean, student.top1.mean) == (25, 67.0)
    on_front = [one for one in told.values() if one.on_front]
    assert [(one.who.rpartition(", ")[2], one.recipe) for one in on_front] == [
        ("teacher", "resnet56_vanilla"), ("teacher", "resnet56_icc,ICC.MARGIN:0.3"),
        ("resnet20", "resnet56_vanilla"), ("resnet20", "resnet56_icc,ICC.MARGIN:0.1"),
    ]  # fmt: skip


def test_the_pictures(tmp_path):
    for path in (
        curves.sensitivity(FOUND, "ICC.MARGIN", 0.75, "test", tmp_path / "sensitivity.png"),
        curves.pareto(curves.choices(FOUND), 0.75, "test", tmp_path / "pareto.png"),
    ):
        assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("values, ticks", [
    ([[1], [1, 2]], ["[1]", "[1, 2]"]), ([0.5, 0.1], ["0.1", "0.5"]), (["b", "a"], ["b", "a"]),
])  # fmt: skip
def test_a_setting_may_vary_over_numbers_words_and_lists(tmp_path, monkeypatch, values, ticks):
    drawn = []
    monkeypatch.setattr("matplotlib.axes.Axes.set_xticks", lambda axis, at, labels: drawn.append(labels))
    found = [result("a_icc", epochs=3 + i, KEY=value) for i, value in enumerate(values)]
    curves.sensitivity(found, "KEY", 0.9, "test", tmp_path / "sensitivity.png")
    assert drawn == [ticks, ticks]


def test_results_are_read_from_the_runs_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = plan(load("ablation_margin"), seeds=[0], options=["SOLVER.EPOCHS", "2"])
    for i, run in enumerate(runs):
        run.folder.mkdir(parents=True)
        lines = [{"epoch": 1, "test_top1": 10.0 + i}, {"epoch": 2, "test_top1": 40.0}]
        (run.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = results(runs, 0.3)
    assert len(found) == len(runs) == 15 and images_judged(runs) == "test"
    teachers = [one for one in found if one.role == "teacher"]
    assert [one.epochs for one in teachers] == [2, 2, 1, 1, 1], "10 and 11 are less than 0.3 of 40"
    assert [one.varied.get("ICC.MARGIN") for one in teachers] == [None, 0.1, 0.3, 0.5, 0.7]
    assert all(one.top1 == 40.0 for one in found)
    student = next(one for one in found if one.recipe.endswith("ICC.MARGIN:0.7") and one.method == "KD")
    assert student.varied == {"ICC.REDUCTION": "anchors", "ICC.WEIGHT": 0.02, "ICC.MARGIN": 0.7}
    assert student.trained == "resnet20"
    file = runs[3].folder / "metrics.jsonl"
    for damaged in (lines[:1], ["", *lines], [lines[0], 1], []):
        file.write_text("".join(json.dumps(line) + "\n" for line in damaged))
        with pytest.raises(UserError, match="metrics.jsonl: missing or damaged, .* epochs 1 to 2; without the record"):
            results(runs, 0.3)
    for damaged in (b'{"epoch": 1}\n{"ep', b"\xff"):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=f"^{file}: "):
            results(runs, 0.3)
    file.unlink()
    with pytest.raises(UserError, match=f"^{file}: "):
        results(runs, 0.3)
