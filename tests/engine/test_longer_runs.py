"""More epochs for a run that is there: where it comes to the same as a run that had them from the start."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
import yaml

from mdistiller_icc.engine.progress import Silent
from mdistiller_icc.errors import UserError
from mdistiller_icc.run import configure, run
from mdistiller_icc.studies.plan import PlannedRun
from mdistiller_icc.studies.state import state

RUN = [
    "DATASET.TYPE", "digits", "DATASET.FRACTION", "0.05", "DISTILLER.TYPE", "NONE", "DISTILLER.STUDENT", "resnet8",
    "SOLVER.BATCH_SIZE", "16", "EXPERIMENT.NAME", "run",
]  # fmt: skip
STEP, COSINE = ["SOLVER.LR_DECAY_STAGES", "[1]"], ["SOLVER.SCHEDULE", "cosine"]


def train(epochs, *options, resume=False):
    cfg = configure(None, [*RUN, "SOLVER.EPOCHS", str(epochs), *options])
    return run(cfg, "student", device="cpu", progress=Silent(), resume=resume)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The weights and the record of three epochs at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("straight"))
        record = train(3, *STEP)
        return torch.load("output/distill/run/student_latest", weights_only=True)["model"], record


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folders of finished runs of two epochs, by schedule."""
    made = {}
    for name, options in {"step": STEP, "cosine": COSINE}.items():
        made[name] = tmp_path_factory.mktemp(name)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(made[name])
            train(2, *options)
    return made


@pytest.fixture
def of(finished, tmp_path, monkeypatch):
    def copy(schedule):
        shutil.copytree(finished[schedule], tmp_path, dirs_exist_ok=True)
        monkeypatch.chdir(tmp_path)
        return tmp_path / "output/distill/run"

    return copy


def test_a_longer_run_of_steps_comes_to_the_same_as_one_at_once(of, straight):
    folder = of("step")
    record = train(3, *STEP, resume=True)
    network, whole = torch.load(folder / "student_latest", weights_only=True)["model"], straight[0]
    assert all(torch.equal(network[key], whole[key]) for key in whole)
    assert record["top1"] == straight[1]["top1"] and record["protocol"] == straight[1]["protocol"]
    assert record["status"] == "finished" and record["epoch"] == 3
    assert yaml.safe_load((folder / "config.yaml").read_text())["SOLVER"]["EPOCHS"] == 3


def test_milestones_to_come_may_change_with_it_and_those_passed_may_not(of):
    of("step")
    with pytest.raises(UserError, match=r"with SOLVER.LR_DECAY_STAGES \[2\]: it was begun with \[1\]$"):
        train(2, "SOLVER.LR_DECAY_STAGES", "[2]", resume=True)
    with pytest.raises(UserError, match="epoch 2 of the step schedule would have had 0.05, not 0.005"):
        train(3, "SOLVER.LR_DECAY_STAGES", "[2]", resume=True)
    record = train(3, "SOLVER.LR_DECAY_STAGES", "[1, 2]", resume=True)
    assert record["epoch"] == 3 and record["protocol"]["lr_decay_stages"] == [1, 2]


def test_a_cosine_schedule_cannot_become_longer_and_no_run_shorter(of):
    folder = of("cosine")
    before = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    with pytest.raises(UserError) as refused:
        train(3, *COSINE, resume=True)
    assert str(refused.value).endswith(
        "run: cannot be resumed with SOLVER.EPOCHS 3: it was begun with 2, and epoch 2 of the cosine schedule "
        "would have had 0.0375, not 0.025"
    )
    with pytest.raises(UserError, match="with SOLVER.EPOCHS 1: it was begun with 2$"):
        train(1, *COSINE, resume=True)
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} == before


def test_a_method_that_looks_at_the_number_of_epochs_is_not_made_longer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = ["DISTILLER.STUDENT", "resnet8", "DISTILLER.TYPE", "NONE"]
    run(configure(None, [*RUN, *network, "SOLVER.EPOCHS", "1"]), "teacher", device="cpu", progress=Silent())
    wkd = ["DISTILLER.TYPE", "WKD", "DISTILLER.TEACHER", "resnet8_vanilla", "EXPERIMENT.NAME", "wkd"]
    train(2, *wkd, "WKD.DECAY_FROM", "1")
    with pytest.raises(UserError, match="SOLVER.EPOCHS 3: it was begun with 2, which WKD looks at after epoch 1$"):
        train(3, *wkd, "WKD.DECAY_FROM", "1", resume=True)


def test_a_study_goes_on_with_it_too(of):
    of("step")
    cfg = configure(None, [*RUN, *STEP, "SOLVER.EPOCHS", "3"])
    assert state(PlannedRun("run", "student", cfg, "teachers")).status == "begun"


def test_the_command_line(command, tmp_path):
    words = [*RUN[:-2], "SOLVER.EPOCHS", "1", *STEP]
    alone = command("tools/train.py", *words, "--epochs", "2")
    assert alone.returncode == 2 and alone.stderr.endswith("SOLVER.EPOCHS N begins one of N\n")
    for longer in ([], ["--resume", "--epochs", "2"]):
        done = command("tools/train.py", *words, *longer)
        assert done.returncode == 0, done.stderr
    (record,) = (json.loads(file.read_text()) for file in tmp_path.glob("output/distill/*/record.json"))
    assert record["epoch"] == record["protocol"]["epochs"] == 2
