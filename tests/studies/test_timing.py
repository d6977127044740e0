"""``--plan`` without past records: a few steps of each kind of run are timed, and nothing is written or downloaded."""

from __future__ import annotations

import pytest
import yaml

from mdistiller_icc.studies import timing
from mdistiller_icc.studies.reproduce import main
from mdistiller_icc.studies.study import Study
from mdistiller_icc.studies.table_file import load

TABLE = {
    "dataset": "digits",
    "epochs": {"full": 20, "short": 1},
    "settings": {"DATASET": {"FRACTION": 0.2}, "SOLVER": {"LR": 1e9, "EVAL_EVERY": 8}},
    "teachers": {"vanilla": None, "icc": None},
    "methods": {"KD": None, "CRD": {"SOLVER": {"TRAINER": "crd"}, "CRD": {"NCE": {"K": 16}}}},
    "pairs": [{"teacher": "resnet14", "student": "resnet8"}],
    "alone": True,
}


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(**changed):
        (tmp_path / "own.yaml").write_text(yaml.safe_dump(TABLE | changed, sort_keys=False))
        return load("./own.yaml")

    return write


def test_every_kind_of_run_is_timed_once_and_leaves_nothing(table, tmp_path, capsys, monkeypatch):
    table()
    kinds, measure = [], timing._speed
    monkeypatch.setattr(timing, "_speed", lambda run, device: kinds.append(run.name) or measure(run, device))
    assert main(["./own.yaml", "--plan", "--device", "cpu", "--jobs", "1"]) == 0
    told = capsys.readouterr()
    assert kinds == ["resnet14_vanilla,seed:0", "NONE,resnet8,seed:0", "KD,resnet14_vanilla,resnet8,seed:0"]
    assert told.err == "no past records of 7 runs: a few steps of each kind are timed\n"
    assert "(7 of the runs by a few steps on this machine)" in told.out and "time: about " in told.out
    assert [file.name for file in tmp_path.iterdir()] == ["own.yaml"]


def test_a_runs_time_is_that_of_its_images_and_its_evaluations(table, monkeypatch):
    monkeypatch.setattr(timing, "_speed", lambda run, device: (1e-3, 0.5, 100))
    study = Study(table(), device="cpu")
    study.time()
    assert {cost.seconds for cost in study.costs.values()} == {1e-3 * 100 * 20 + 0.5 * 3}  # after epochs 8, 16 and 20


def test_without_the_data_set_it_says_so_and_downloads_nothing(table, tmp_path, capsys):
    table(dataset="cifar10", settings={})
    (tmp_path / "data").mkdir()
    assert main(["./own.yaml", "--plan", "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert "unknown, no past records (not timed: CIFAR-10 not found: looked in data/" in told
    assert not list((tmp_path / "data").iterdir())
