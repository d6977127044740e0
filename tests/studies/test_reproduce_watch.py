"""What a study tells while it runs, and what past records say of the next one."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdistiller_icc.studies import table_file as tables
from mdistiller_icc.studies.estimate import Past, in_bytes, total
from mdistiller_icc.studies.execute import Outcome
from mdistiller_icc.studies.plan import plan
from mdistiller_icc.studies.watch import TimeLeft, Watch


@pytest.fixture(scope="module")
def runs():
    return plan(tables.load("quickstart"), seeds=[0, 1])


def named(runs, name):
    return next(run for run in runs if run.name == name)


def test_time_left_learns_from_runs_of_the_same_kind(runs):
    left = TimeLeft({})
    teacher, other = named(runs, "resnet20_icc,seed:0"), named(runs, "resnet20_icc,seed:1")
    student = named(runs, "KD,resnet20_icc,resnet8,seed:0")
    assert left.estimate([(teacher, 1.0)], jobs=1) is None
    left.learn(teacher, seconds=10, share=0.5)
    assert left.estimate([(teacher, 0.5), (other, 1.0)], jobs=1) == 30
    assert left.estimate([(teacher, 0.5), (other, 1.0)], jobs=2) == 15
    assert left.estimate([(other, 1.0)], jobs=2) == 20, "one run does not go faster with two"
    assert left.estimate([(other, 1.0), (student, 1.0)], jobs=1) == 40, "unknown runs take as long as the others"
    left.learn(student, seconds=5, share=1)
    assert left.estimate([(other, 1.0), (student, 1.0)], jobs=1) == 25
    assert left.estimate([], jobs=1) == 0
    assert TimeLeft({teacher: 7.0}).estimate([(teacher, 1.0)], jobs=1) == 7


def write_epochs(run, epochs, top1):
    run.folder.mkdir(parents=True, exist_ok=True)
    run.console.touch()
    lines = [{"epoch": i + 1} | ({"test_top1": top1} if i + 1 == epochs else {}) for i in range(epochs)]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_lines_where_nothing_can_be_drawn(runs, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    watch = Watch("quickstart", runs[1:], before=1, jobs=2, expected={})
    write_epochs(runs[1], 1, 90.0)
    watch.look()
    assert list(watch.going) == [runs[1]] and watch.going[runs[1]].top1 == 90.0
    watch.end(runs[1], Outcome("finished", top1=91.5))
    watch.end(runs[2], Outcome("failed", "oops"))
    watch.end(runs[3], Outcome("skipped", "it needs another"))
    watch.close()
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.startswith(f"[2/{len(runs)}] {runs[1].name}: 91.50 % in 00:00; ") and first.endswith(" left")
    assert second == f"failed: {runs[2].name}: oops"
    assert third == f"skipped: {runs[3].name}: it needs another"


def test_a_run_is_followed_in_its_folder_from_the_epoch_it_goes_on_from(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run, epochs = runs[0], runs[0].cfg.SOLVER.EPOCHS
    write_epochs(run, 2, 50.0)
    os.utime(run.console, (1, 1))
    watch = Watch("quickstart", runs, before=0, jobs=1, expected={})
    watch.look()
    assert not watch.going, "it was interrupted in an earlier study and has not gone on yet"
    run.console.touch()
    watch.look()
    assert (watch.going[run].first, watch.going[run].epoch) == (2, 2)
    assert watch.time_left.learnt == {}, "what it had before tells nothing of how fast it is"
    write_epochs(run, 4, 60.0)
    watch.look()
    assert (watch.going[run].epoch, watch.going[run].top1) == (4, 60.0)
    (seconds,) = watch.time_left.learnt.values()
    assert 0 < seconds < 60 * epochs
    with open(run.folder / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 5, "te')
    watch.look()
    assert watch.going[run].epoch == 4, "a line that is being written is not read"


def write_record(folder, name, **changed):
    record = {
        "status": "finished", "dataset": "digits", "student": {"architecture": "resnet20"}, "teacher": None,
        "method": "ICC", "epoch": 10, "seconds": 100.0, "num_train": 1000, "device": "cpu (x86_64, 1 threads)",
        "protocol": {"fraction": 1.0, "holdout": 0.0},
    }  # fmt: skip
    run = folder / "digits" / name
    run.mkdir(parents=True)
    (run / "record.json").write_text(json.dumps(record | changed))
    (run / "latest").write_bytes(bytes(5000))


def test_costs_from_past_records(tmp_path, runs):
    teacher, student = named(runs, "resnet20_icc,seed:0"), named(runs, "KD,resnet20_icc,resnet8,seed:0")
    assert Past([tmp_path], "cpu").cost(teacher).seconds is None
    write_record(tmp_path, "plain", method="NONE", seconds=50.0)
    past = Past([tmp_path], "cpu")
    passes = teacher.cfg.SOLVER.EPOCHS * teacher.cfg.DATASET.FRACTION  # over the images of the records
    assert past.cost(teacher).seconds == pytest.approx(5 * passes), "the same network, another method"
    assert past.cost(student).seconds is None and past.cost(student).size is None
    write_record(tmp_path, "icc", seconds=80.0)
    write_record(tmp_path, "half", seconds=40.0, num_train=500, protocol={"fraction": 0.5, "holdout": 0.0})
    write_record(tmp_path, "elsewhere", device="cuda (NVIDIA H200)", seconds=1.0)
    write_record(tmp_path, "interrupted", status="interrupted", seconds=1.0)
    (tmp_path / "digits/damaged").mkdir()
    (tmp_path / "digits/damaged/record.json").write_text("{")
    cost = Past([tmp_path], "cpu").cost(teacher)
    assert cost.seconds == pytest.approx(8 * passes), "its own method, if there is one"
    assert cost.size > 5000
    whose = {"architecture": "resnet20", "kind": "icc"}
    write_record(tmp_path, "dkd", method="DKD", student={"architecture": "resnet8"}, teacher=whose, seconds=30.0)
    assert Past([tmp_path], "cpu").cost(student).seconds == pytest.approx(3 * passes)


@given(st.lists(st.none() | st.floats(0, 1e6)))
def test_totals(values):
    known, unknown = total(values)
    assert unknown == values.count(None) and known == pytest.approx(sum(value for value in values if value is not None))


def test_sizes_in_words():
    assert [in_bytes(size) for size in (0, 999, 1500, 2.5e6, 3e9, 4e12)] == [
        "0 B", "999 B", "1.5 kB", "2.5 MB", "3 GB", "4 TB",
    ]  # fmt: skip
