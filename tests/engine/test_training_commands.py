"""The training commands as a user runs them: real processes, real kills, real mistakes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mdistiller_icc.builtin.models import cifar_model_dict
from mdistiller_icc.command_line import train
from mdistiller_icc.engine.run_folder import portable
from mdistiller_icc.errors import exit_status

ROOT = Path(__file__).parents[2]
SMALL = ["DATASET.TYPE", "digits", "DATASET.FRACTION", "0.1", "DISTILLER.STUDENT", "resnet8", "EXPERIMENT.NAME", "run"]
TEACHER = ["DISTILLER.TYPE", "ICC", "SOLVER.TRAINER", "icc", "ICC.MARGIN", "-0.5", "ICC.QUEUE.SIZE", "2"]


def teach(command, *options, **kwargs):
    return command("tools/train_teacher.py", *SMALL, *TEACHER, *options, **kwargs)


def folder(tmp_path, project="distill", name="run"):
    return tmp_path / "output" / project / name


def test_a_teacher_is_trained_a_student_learns_from_it(command, tmp_path):
    taught = teach(command, "SOLVER.EPOCHS", "12", "DATASET.FRACTION", "0.5", "DATASET.HOLDOUT", "0.2")
    assert taught.returncode == 0, taught.stderr
    record = json.loads((folder(tmp_path) / "record.json").read_text())
    assert record["status"] == "finished" and record["role"] == "teacher" and record["method"] == "ICC"
    published = tmp_path / "teachers" / "digits" / "resnet8_icc.pth"
    stored = torch.load(published, weights_only=True)  # what mdistiller's own loader reads
    assert stored["meta"]["kind"] == "icc"
    assert stored["model"].keys() == torch.load(folder(tmp_path) / "student_latest", weights_only=True)["model"].keys()

    learnt = command(
        "tools/train.py", "DISTILLER.TYPE", "DKD", "DISTILLER.TEACHER", "resnet8_icc", "DATASET.TYPE", "digits",
        "DISTILLER.STUDENT", "resnet8", "SOLVER.EPOCHS", "2", "DATASET.FRACTION", "0.2", "--seed", "3",
    )  # fmt: skip
    assert learnt.returncode == 0, learnt.stderr
    assert "teacher: resnet8, icc" in learnt.stdout
    student = json.loads(next((tmp_path / "output/distill").glob("*seed=3/record.json")).read_text())
    assert student["teacher"]["kind"] == "icc" and student["teacher"]["digest"].startswith("sha256:")
    assert student["teacher"]["top1"] == pytest.approx(record["top1"]["last"])
    assert student["seed"] == 3 and student["epoch"] == 2

    latest = torch.load(folder(tmp_path, name=portable(student["name"])) / "latest", weights_only=True)
    assert not any(key.startswith("teacher") for key in latest["model"])
    for name in ("config.yaml", "metrics.jsonl", "worklog.txt", "train.events", "best", "student_best"):
        assert (folder(tmp_path) / name).exists()
    lines = [json.loads(line) for line in (folder(tmp_path) / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 13))
    assert record["top1"]["last"] == lines[-1]["test_top1"]
    assert record["top1"]["mean_last_10"] == pytest.approx(sum(line["test_top1"] for line in lines[-10:]) / 10)
    chosen = max(lines, key=lambda line: (line["holdout_top1"], -line["epoch"]))
    assert record["top1"]["heldout_selected"] == chosen["test_top1"]


def test_killed_and_resumed_equals_uninterrupted_to_the_last_bit(command, tmp_path):
    epochs = ["SOLVER.EPOCHS", "5"]
    assert teach(command, *epochs, env={"MDISTILLER_ICC_TEACHERS": "one"}).returncode == 0
    whole = folder(tmp_path)
    whole.rename(whole.with_name("whole"))

    line = [sys.executable, str(ROOT / "tools/train_teacher.py"), *SMALL, *TEACHER, *epochs]
    environment = os.environ | {"MDISTILLER_ICC_HOST": "builtin", "MDISTILLER_ICC_TEACHERS": "two"}
    process = subprocess.Popen(line, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    metrics = folder(tmp_path) / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") >= 2):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed_after = metrics.read_text().count("\n")
    assert 2 <= killed_after < 5

    again = teach(command, "--resume", *epochs, env={"MDISTILLER_ICC_TEACHERS": "two"})
    assert again.returncode == 0, again.stderr
    one, two = (torch.load(tmp_path / store / "digits/resnet8_icc.pth", weights_only=True) for store in ("one", "two"))
    assert all(torch.equal(one["model"][key], two["model"][key]) for key in one["model"])
    one, two = (torch.load(path / "latest", weights_only=True) for path in (whole.with_name("whole"), whole))
    assert all(torch.equal(one["model"][key], two["model"][key]) for key in one["model"] if "extra_state" not in key)
    exact = ("train_loss", "test_top1", "icc/loss_intra")
    curves = [
        [[json.loads(line)[key] for key in exact] for line in (path / "metrics.jsonl").read_text().splitlines()]
        for path in (whole.with_name("whole"), whole)
    ]
    assert curves[0] == curves[1]


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_leave_an_interrupted_run(tmp_path, number, status):
    line = [sys.executable, str(ROOT / "tools/train_teacher.py"), "SOLVER.EPOCHS", "500", *SMALL, *TEACHER]
    process = subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (folder(tmp_path) / "latest").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, stderr = process.communicate()
    assert process.returncode == status and "Traceback" not in stderr
    assert json.loads((folder(tmp_path) / "record.json").read_text())["status"] == "interrupted"


def test_nothing_is_overwritten(command, tmp_path):
    epoch = ["SOLVER.EPOCHS", "1"]
    assert teach(command, *epoch).returncode == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    again = teach(command, *epoch)
    assert again.returncode == 2 and "--resume continues it" in again.stderr
    other_settings = teach(command, "--resume", *epoch, "SOLVER.LR", "0.2")
    assert other_settings.returncode == 2 and "with SOLVER.LR 0.2: it was begun with 0." in other_settings.stderr
    other_run = teach(command, *epoch, "EXPERIMENT.PROJECT", "other")
    assert other_run.returncode == 2 and "resnet8_icc.pth: holds the teacher of distill/run" in other_run.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert teach(command, "--overwrite", *epoch).returncode == 0


STUDENT = ["DATASET.TYPE", "digits", "DISTILLER.TYPE", "KD", "DISTILLER.STUDENT", "resnet8", "SOLVER.EPOCHS", "1"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["SOLVER.EPOCH", "2"], "command line: unknown key SOLVER.EPOCH (did you mean 'SOLVER.EPOCHS'?)"),
        (["SOLVER.EPOCHS", "many"], "command line: SOLVER.EPOCHS wants a whole number, got 'many'"),
        (["SOLVER.EPOCHS"], "command line: 'SOLVER.EPOCHS' has no value"),
        (["SOLVER", "3"], "command line: SOLVER is a group of keys"),
        (["--cfg", "nowhere.yaml"], "nowhere.yaml: no such file or shipped configuration"),
        (["--cfg", "icc/res111"], "icc/res111: no such file or shipped configuration (did you mean 'icc/res110'?)"),
        (["--cfg", "configs/icc/res110.yaml"], "the configuration that comes with the package is --cfg icc/res110"),
        (["--cfg", "bad.yaml"], "bad.yaml, line 2: not readable as YAML"),
        (["--cfg", "list.yaml"], "list.yaml: holds a list, not configuration keys"),
        (["--cfg", "key.yaml"], "key.yaml: unknown key DISTILLER.STUDNET (did you mean 'DISTILLER.STUDENT'?)"),
        (["--device", "cuda:99"], "--device cuda:99"),
        ([*STUDENT, "DISTILLER.TYPE", "DKDD"], "DISTILLER.TYPE: no distiller 'DKDD' (did you mean 'DKD'?)"),
        ([*STUDENT, "DISTILLER.STUDENT", "resnet9"], "DISTILLER.STUDENT: no network 'resnet9' for digits (did you"),
        ([*STUDENT, "DISTILLER.TEACHER", "resnet20_ic"], "DISTILLER.TEACHER: no network 'resnet20_ic' for digits (did"),
        ([*STUDENT, "DISTILLER.TEACHER", "resnet20_icc"], "teacher --cfg icc/res110 DISTILLER.STUDENT resnet20"),
        ([*STUDENT, "DISTILLER.TEACHER", "resnet20"], "the host has no checkpoint of it; name resnet20_icc"),
        ([*STUDENT, "DISTILLER.TEACHER", "resnet8", "DISTILLER.TEACHER_CKPT", "bad.yaml"], "bad.yaml: "),
        (
            [*STUDENT, "DISTILLER.TEACHER", "resnet8", "DISTILLER.TEACHER_CKPT", "r14"],
            "r14: not a checkpoint of resnet8",
        ),
        ([*STUDENT, "DISTILLER.TEACHER", "resnet14", "DISTILLER.TEACHER_CKPT", "half"], "half: damaged"),
        ([*STUDENT, "DISTILLER.TEACHER", "resnet14", "DISTILLER.TEACHER_CKPT", "r14"], "is no better than chance"),
        (["DATASET.TYPE", "digit"], "DATASET.TYPE: unknown 'digit' (did you mean 'digits'?)"),
        ([*STUDENT, "DISTILLER.TYPE", "NONE", "SOLVER.TYPE", "SGDD"], "SOLVER.TYPE is one of SGD, AdamW, not 'SGDD'"),
        ([*STUDENT, "DISTILLER.TYPE", "NONE", "SOLVER.SCHEDULE", "cosin"], "did you mean 'cosine'?"),
        ([*STUDENT, "DISTILLER.TYPE", "NONE", "SOLVER.TRAINER", "icd"], "SOLVER.TRAINER: no trainer 'icd' (did you"),
        ([*STUDENT, "DISTILLER.TYPE", "NONE", "SOLVER.EPOCHS", "0"], "SOLVER.EPOCHS must be at least 1, not 0"),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(value[-2:]),
)
def test_mistakes_are_told_in_one_line(monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["tools/train.py", *arguments])
    (tmp_path / "bad.yaml").write_text("a: [1, 2\n")
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "key.yaml").write_text("DISTILLER:\n  STUDNET: resnet8\n")
    model = cifar_model_dict["resnet14"][0](num_classes=10)
    torch.save({"state_dict": {f"module.{key}": value for key, value in model.state_dict().items()}}, tmp_path / "r14")
    (tmp_path / "half").write_bytes((tmp_path / "r14").read_bytes()[:9000])
    assert exit_status(lambda: train("", role="student")) == 2
    stderr = capsys.readouterr().err
    assert message in stderr
    assert stderr.count("\n") == 1
    assert not (tmp_path / "output").exists()


def test_students_are_no_teachers(command):
    done = command("tools/train_teacher.py", *STUDENT)
    assert done.returncode == 2 and f"DISTILLER.TYPE KD trains students (python {ROOT}/tools/train.py)" in done.stderr


def test_a_run_without_a_whole_checkpoint_is_not_resumed(command, tmp_path):
    assert teach(command, "SOLVER.EPOCHS", "1").returncode == 0
    for latest in (folder(tmp_path) / "latest", folder(tmp_path) / "best"):
        latest.write_bytes(latest.read_bytes()[:1000])
    done = teach(command, "--resume", "SOLVER.EPOCHS", "1")
    assert done.returncode == 2 and "latest: damaged" in done.stderr and done.stderr.count("error") == 1


def test_help_needs_no_torch(command):
    done = command("tools/train.py", "--help", env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert done.returncode == 0 and "KEY VALUE" in done.stdout
    assert " torch\n" not in done.stderr
