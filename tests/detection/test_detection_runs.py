"""Detectors trained for real by the command: teacher, students, interruption, tables; short, on a few images."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mdistiller_icc.commands import collect
from mdistiller_icc.commands.detection import main
from mdistiller_icc.detection.run import check, run
from mdistiller_icc.detection.settings import configure
from mdistiller_icc.engine.progress import Silent
from mdistiller_icc.errors import UserError
from mdistiller_icc.run import check_place
from mdistiller_icc.tables.metrics import AP
from tests.detection.conftest import make, options
from tests.ranks.test_equal_to_one_process import difference

ROOT = Path(__file__).parents[2]
SHORT = ["SOLVER.EPOCHS", "2", "DETECTION.EPOCH_STEPS", "2", "SOLVER.BATCH_SIZE", "2", "SOLVER.LR", "0.001"]
SHORT += ["DISTILLER.STUDENT", "mobilenet_v2_fpn_mask", "SOLVER.TYPE", "AdamW"]
DKD = [*SHORT, "DISTILLER.TYPE", "REVIEWKD+DKD", "DISTILLER.TEACHER", "mobilenet_v2_fpn_mask_vanilla"]


class Interrupting(Silent):
    """A person who presses Ctrl-C after the first epoch."""

    def epoch(self, metrics) -> None:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def trained(pasted, tmp_path_factory):
    """A folder with a teacher in its store, and a student of it trained in one go and one that was interrupted."""
    here = os.getcwd()
    folder = tmp_path_factory.mktemp("runs")
    os.chdir(folder)
    named = [*options(pasted), *SHORT, "DISTILLER.TYPE", "NONE", "EXPERIMENT.NAME", "teacher"]
    assert main(["--teacher", "--device", "cpu", *named]) == 0
    for name in ("whole", "interrupted"):
        cfg = configure(None, [*options(pasted), *DKD, "EXPERIMENT.NAME", name])
        if name == "interrupted":
            with pytest.raises(KeyboardInterrupt):
                run(cfg, device="cpu", progress=Interrupting())
            assert json.loads(Path("output/distill/interrupted/record.json").read_text())["status"] == "interrupted"
            torch.manual_seed(99)
        run(cfg, device="cpu", resume=True, progress=Silent())
    yield folder
    os.chdir(here)


def test_the_bar_counts_the_images_of_evaluations_too(pasted, tmp_path, monkeypatch):
    class Counting(Silent):
        told, counted = None, 0

        def start(self, title, epochs, done, steps, taken):
            self.told = steps - taken

        def step(self):
            self.counted += 1

    monkeypatch.chdir(tmp_path)
    counting = Counting()
    run(configure(None, [*options(pasted), *SHORT, "SOLVER.EPOCHS", "1", "DISTILLER.TYPE", "NONE"]), "student",
        device="cpu", progress=counting)  # fmt: skip
    assert counting.told == counting.counted > 2


def test_a_resumed_run_comes_to_the_same_bits(trained):
    one, other = (torch.load(trained / "output/distill" / name / "latest") for name in ("whole", "interrupted"))
    assert one["model"].keys() == other["model"].keys() and any(
        key.startswith("parts.REVIEWKD") for key in one["model"]
    )
    assert all(torch.equal(value, other["model"][key]) for key, value in one["model"].items())
    assert difference(trained / "output/distill/whole", trained / "output/distill/interrupted") == 0
    histories = [
        [{k: v for k, v in line.items() if "second" not in k} for line in state["run"]["history"]]
        for state in (one, other)
    ]
    assert histories[0] == histories[1] and len(histories[0]) == 2
    assert {"loss_kd", "loss_mask", "test_box_ap", "test_mask_ap"} <= histories[0][0].keys()


def test_the_record_says_what_was_trained(trained):
    record = json.loads((trained / "output/distill/whole/record.json").read_text())
    assert (record["status"], record["role"], record["method"]) == ("finished", "student", "REVIEWKD+DKD")
    assert (record["num_train"], record["num_test"], record["num_classes"]) == (14, 6, 4)
    assert record["teacher"]["kind"] == "vanilla" and record["teacher"]["digest"].startswith("sha256:")
    assert {*AP} <= record.keys() and {*AP} - {name for name in AP if "mask" in name} <= record["teacher"].keys()
    assert "top1" not in record and record["protocol"]["min_size"] == [96] and record["protocol"]["warmup_steps"] == 4
    assert record["host"]["name"] == "torchvision" and record["method_config"]["DKD"]["BETA"] == 0.25
    teacher = torch.load(trained / "teachers/pasted/mobilenet_v2_fpn_mask_vanilla.pth")["meta"]
    assert teacher["kind"] == "vanilla" and len(teacher["classes"]) == 4 and "box_ap" in teacher
    assert any((trained / "output/distill/whole/train.events").iterdir())
    assert "test_box_ap:" in (trained / "output/distill/whole/worklog.txt").read_text()


@pytest.mark.parametrize("form", ["md", "html", "csv", "latex", "json"])
def test_a_table_of_them(trained, form, capsys):
    assert collect.main([str(trained / "output"), "--format", form]) == 0
    told = capsys.readouterr().out
    assert "mobilenet" in told
    if form == "md":
        heads = re.search(r"Every figure: .*?\n\n.*?\n\n(\|.*?\|)\n", told, re.DOTALL)[1]
        assert [head.strip() for head in heads.split("|")[3:-1]] == [name for name in AP.values() if "APl" not in name]
        assert "REVIEWKD+DKD" in told and "Teacher" in told and "Test box AP in %" in told
    assert collect.main([str(trained / "output"), "--metric", "mask_ap50"]) == 0
    assert "Test mask AP50 in %" in capsys.readouterr().out


def test_a_checkpoint_is_measured_again(trained, pasted, capsys, monkeypatch):
    monkeypatch.chdir(trained)
    assert main(["--eval", "output/distill/whole/student_latest", *options(pasted), *DKD]) == 0
    record = json.loads((trained / "output/distill/whole/record.json").read_text())
    assert f"box AP {record['box_ap']['last']:.2f}" in capsys.readouterr().out


def test_a_run_that_is_there_or_a_teacher_of_other_classes(trained, pasted, monkeypatch, tmp_path):
    monkeypatch.chdir(trained)
    words = [*options(pasted), *DKD, "EXPERIMENT.NAME", "whole"]
    with pytest.raises(UserError, match="holds a run already"):
        main(words)
    with pytest.raises(UserError, match="was begun with"):
        main(["--resume", *words, "DKD.BETA", "2"])
    teacher = [*options(pasted), *SHORT, "DISTILLER.TYPE", "NONE", "EXPERIMENT.NAME", "teacher", "LOG.PREFIX", "other"]
    check_place(check(configure(None, teacher), "teacher"), overwrite=False)  # the same again
    with pytest.raises(UserError, match="holds the teacher of distill/teacher, 2 epochs on all images; --overwrite"):
        main(["--teacher", *teacher, "DETECTION.EPOCH_STEPS", "1"])
    for split in ("train", "val"):
        file = make(tmp_path, split, 4, seed=0)
        file.write_text(file.read_text().replace("digit", "number"))
    with pytest.raises(UserError, match="was trained on other classes"):
        main([*options(tmp_path), *DKD, "EXPERIMENT.NAME", "other"])
    assert not Path("output/distill/other").exists()


def start(folder, *words):
    line = [sys.executable, str(ROOT / "tools/train_detection.py"), "--device", "cpu", *words]
    surroundings = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        line, cwd=folder, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(pasted, tmp_path):
    words = [
        *options(pasted),
        *SHORT,
        "DISTILLER.TYPE",
        "ICC",
        "ICC.MARGIN",
        "-1",
        "ICC.QUEUE.SIZE",
        "1",
        "SOLVER.EPOCHS",
        "4",
    ]
    whole = start(tmp_path, *words, "EXPERIMENT.NAME", "whole")
    assert whole.wait(900) == 0, whole.stderr.read()
    killed = start(tmp_path, *words, "EXPERIMENT.NAME", "killed")
    metrics = tmp_path / "output/distill/killed/metrics.jsonl"
    while not metrics.exists() or not metrics.read_text():
        assert killed.poll() is None, killed.stderr.read()
        time.sleep(0.1)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(metrics.read_text().splitlines()) < 4
    resumed = start(tmp_path, "--resume", *words, "EXPERIMENT.NAME", "killed")
    assert resumed.wait(900) == 0, resumed.stderr.read()
    assert difference(tmp_path / "output/distill/whole", tmp_path / "output/distill/killed") == 0


@pytest.mark.slow
def test_a_student_learns_to_find_objects(tmp_path):
    """Minutes: from the labels and a teacher, to an average precision far from that of an untrained one."""
    make(tmp_path, "train", 80, seed=0)
    make(tmp_path, "val", 30, seed=1)
    common = [*options(tmp_path), "SOLVER.TYPE", "AdamW", "SOLVER.LR", "0.001", "DETECTION.WARMUP_STEPS", "20"]
    common += ["SOLVER.EVAL_EVERY", "5"]
    teacher = ["DISTILLER.TYPE", "NONE", "DISTILLER.STUDENT", "resnet18_fpn", "SOLVER.EPOCHS", "15"]
    teacher += ["SOLVER.LR_DECAY_STAGES", "[12]", "EXPERIMENT.NAME", "teacher"]
    student = ["DISTILLER.TYPE", "DKD", "DISTILLER.TEACHER", "resnet18_fpn", "DISTILLER.STUDENT", "mobilenet_v2_fpn"]
    student += ["DISTILLER.TEACHER_CKPT", "output/distill/teacher/student_latest", "SOLVER.EPOCHS", "15"]
    student += ["SOLVER.LR_DECAY_STAGES", "[12]", "EXPERIMENT.NAME", "student"]
    for words in (teacher, student):
        ran = start(tmp_path, *common, *words)
        out, err = ran.communicate(timeout=3600)
        assert ran.returncode == 0, err
    record = json.loads((tmp_path / "output/distill/student/record.json").read_text())
    assert record["teacher"]["box_ap50"] > 10 and record["box_ap50"]["last"] > 10  # untrained ones find nothing
    losses = [json.loads(line)["loss_kd"] for line in (tmp_path / "output/distill/student/metrics.jsonl").open()]
    assert losses[-1] < losses[0]
