"""The real mdistiller, unedited: its script with our parts, and our commands with its parts; each run a process."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch

CONFIG = """
EXPERIMENT: {{PROJECT: real, NAME: "", TAG: "{tag}"}}
DISTILLER: {{TYPE: {method}, TEACHER: resnet8_icc, STUDENT: resnet8}}
DATASET: {{NUM_WORKERS: 0}}
SOLVER: {{EPOCHS: {epochs}, BATCH_SIZE: 50, LR_DECAY_STAGES: [1], TRAINER: {trainer}}}
CRD: {{NCE: {{K: 64}}, FEAT: {{STUDENT_DIM: 64, TEACHER_DIM: 64}}}}
REVIEWKD: {{IN_CHANNELS: [16, 32, 64, 64], OUT_CHANNELS: [16, 32, 64, 64]}}
ICC: {{MARGIN: -0.9, QUEUE: {{SIZE: 1, POLICY: slide}}}}
DKD: {{T: 4}}
"""
TRAINERS = {"CRD": "crd", "ICC": "icc"}


@pytest.fixture(scope="module")
def place(sandbox, python, tmp_path_factory) -> Path:
    """A working folder whose store holds an ICC teacher trained by our command on mdistiller's own network."""
    folder = tmp_path_factory.mktemp("work")
    done = ours(python, sandbox, folder, "train_teacher.py", "--cfg", write(folder, "teacher", "ICC"))
    assert done.returncode == 0, done.stderr
    assert (folder / "teachers/cifar100/resnet8_icc.pth").is_file()
    return folder


def write(folder, tag, method, epochs=1) -> Path:
    file = folder / f"{tag}.yaml"
    file.write_text(CONFIG.format(tag=tag, method=method, epochs=epochs, trainer=TRAINERS.get(method, "base")))
    return file


def ours(python, sandbox, folder, tool, *arguments):
    tools = Path(__file__).parents[2] / "tools"
    path = (sandbox / "accept", sandbox)
    arguments = (*arguments, "DATASET.ROOT", sandbox / "data")
    return python(tools / tool, *arguments, cwd=folder, path=path, MDISTILLER_ICC_HOST="mdistiller")


def theirs(python, sandbox, folder, *arguments, script="train.py"):
    """Run mdistiller's script through the launcher; its package is found beside it, not on the import path."""
    path = (sandbox / "accept",)
    return python("-m", "mdistiller_icc", sandbox / "tools" / script, *arguments, cwd=folder, path=path)


@pytest.mark.parametrize("method", ["DKD", "CRD", "REVIEWKD", "ICCKD", "CKD", "BICKD", "PCKD", "CTKD", "SIMKD", "KDPP"])
def test_its_script_distils_from_an_icc_teacher(python, sandbox, place, method):
    done = theirs(python, sandbox, place, "--cfg", write(place, method, method))
    assert done.returncode == 0, done.stderr
    assert "host: mdistiller 0.1 at " in done.stderr
    run = place / "output/real" / method
    student = torch.load(run / "student_latest", weights_only=True)["model"]
    assert student.keys() == torch.load(place / "teachers/cifar100/resnet8_icc.pth", weights_only=True)["model"].keys()
    assert "test_acc: " in (run / "worklog.txt").read_text()


def test_its_own_methods_take_no_standardised_logits_and_ours_do(python, sandbox, place):
    done = theirs(python, sandbox, place, "--cfg", write(place, "kd", "DKD"), "DISTILLER.LOGIT_STAND", "True")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "DISTILLER.LOGIT_STAND: DKD of this host takes no standardised logits; ICCKD, CKD, PCKD, DIST" in done.stderr
    done = theirs(python, sandbox, place, "--cfg", write(place, "ls", "DIST"), "DISTILLER.LOGIT_STAND", "True")
    assert done.returncode == 0, done.stderr


def test_its_script_trains_an_icc_teacher_that_a_student_then_has(python, sandbox, place):
    done = theirs(python, sandbox, place, "--cfg", write(place, "icc", "ICC", epochs=2))
    assert done.returncode == 0, done.stderr
    worklog = (place / "output/real/icc/worklog.txt").read_text()
    assert worklog.count("icc/passed: 1.00") == 2 and "icc/anchors: 0.00" not in worklog
    # `latest` is of after the learning-rate drop, with a NumPy number in it
    taught = ["DISTILLER.TEACHER", "resnet8", "DISTILLER.TEACHER_CKPT", "output/real/icc/latest"]
    done = theirs(python, sandbox, place, "--cfg", write(place, "taught", "DKD"), *taught)
    assert done.returncode == 0, done.stderr


def test_its_script_distils_from_other_peoples_files(python, sandbox, place):
    """One of before torch 0.4.1, in its format, with a command line beside the weights; and one with a bit flipped."""
    file = place / "teachers/cifar100/resnet8_icc.pth"
    state = torch.load(file, weights_only=True)["model"]
    old = {f"module.{key}": value for key, value in state.items() if "num_batches_tracked" not in key}
    content = {"net": old, "acc": 71.2, "args": argparse.Namespace(lr=0.1)}
    torch.save(content, place / "old.t7", _use_new_zipfile_serialization=False)
    options = ["--cfg", write(place, "old", "DKD"), "DISTILLER.TEACHER", "resnet8", "DISTILLER.TEACHER_CKPT"]
    done = theirs(python, sandbox, place, *options, "old.t7")
    assert done.returncode == 0, done.stderr
    said = (
        "weights from 'net'; names without 'module'; num_batches_tracked was missing and is 0; not read: 'acc', 'args'"
    )
    assert f"old.t7: {said}\n" in done.stdout

    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (place / "damaged.pth").write_bytes(damaged)
    done = theirs(python, sandbox, place, *options, "damaged.pth")
    assert done.returncode == 2 and done.stderr.startswith("error: damaged.pth: damaged: '"), done.stderr


def test_its_script_resumes_after_a_learning_rate_drop(python, sandbox, place):
    cfg = write(place, "resumed", "DKD", epochs=2)
    assert theirs(python, sandbox, place, "--cfg", cfg).returncode == 0
    write(place, "resumed", "DKD", epochs=3)
    done = theirs(python, sandbox, place, "--cfg", cfg, "--resume")
    assert done.returncode == 0, done.stderr
    epochs = [line for line in (place / "output/real/resumed/worklog.txt").read_text().splitlines() if "epoch" in line]
    assert epochs == ["epoch: 1", "epoch: 2", "epoch: 3"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["DISTILLER.TEACHER", "resnet14_icc"], "error: teachers/cifar100/resnet14_icc.pth: no such teacher; train it"),
        (["SOLVER.TYPE", "AdamW"], "error: SOLVER.TYPE AdamW: mdistiller's own scripts do not know it"),
        (["--resume", "EXPERIMENT.TAG", "never"], "latest: there is no run to resume"),
    ],
    ids=["teacher", "optimizer", "resume"],
)
def test_mistakes_are_told_in_one_line(python, sandbox, place, arguments, message):
    done = theirs(python, sandbox, place, "--cfg", write(place, "mistake", "KD"), *arguments)
    assert done.returncode == 2
    first, *rest = [line for line in done.stderr.splitlines() if not line.startswith(("host: ", "registered: "))]
    assert message in first
    assert not rest or "tensorboardX" in done.stderr  # whose exit handler starts a thread, which Python 3.12 refuses


def test_its_evaluation_script_knows_our_teachers(python, sandbox, place):
    done = theirs(python, sandbox, place, "-m", "resnet8_icc", script="eval.py")
    assert done.returncode == 0 and "Top-1" in done.stderr


@pytest.fixture(scope="module")
def on_digits(sandbox, python, tmp_path_factory):
    """Run one of our commands on digits with mdistiller's parts; an ICC teacher is there."""
    folder = tmp_path_factory.mktemp("digits")

    def run(tool, method, *options):
        few = ["DATASET.TYPE", "digits", "DATASET.FRACTION", "0.3", "SOLVER.LR_DECAY_STAGES", "[5]"]
        return folder, ours(python, sandbox, folder, tool, "--cfg", write(folder, method, method), *few, *options)

    _, done = run("train_teacher.py", "ICC", "SOLVER.EPOCHS", "6")
    assert done.returncode == 0, done.stderr
    return run


@pytest.mark.parametrize("method", ["KD", "DKD", "CRD", "REVIEWKD", "AT", "PCKD"])
def test_our_engine_drives_its_distillers(on_digits, method):
    folder, done = on_digits("train.py", method, "EXPERIMENT.NAME", method)
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / f"output/real/{method}/record.json").read_text())
    assert record["status"] == "finished" and record["host"] == {"name": "mdistiller", "version": "0.1"}
    assert record["teacher"]["kind"] == "icc" and record["top1"]["last"] is not None
