"""``DISTILLER.STUDENT_CKPT``: a network that starts from the weights of a file."""

from __future__ import annotations

import json

import pytest
import torch

from mdistiller_icc.builtin.models import cifar_model_dict
from mdistiller_icc.engine.progress import Silent
from mdistiller_icc.errors import UserError
from mdistiller_icc.run import configure, run
from mdistiller_icc.tables import render
from mdistiller_icc.teachers import checkpoint

RUN = [
    "DATASET.TYPE", "digits", "DATASET.FRACTION", "0.05", "DISTILLER.STUDENT", "resnet8", "SOLVER.EPOCHS", "1",
    "SOLVER.LR", "0.0", "SOLVER.WEIGHT_DECAY", "0.0", "EXPERIMENT.NAME", "run",
]  # fmt: skip
"""Nothing is learnt: batch norms alone move."""
PLAIN = ["DISTILLER.TYPE", "NONE"]


@pytest.fixture
def trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MDISTILLER_ICC_HOST", "builtin")

    def train(*options, role="student", **kwargs):
        record = run(configure(None, [*RUN, *options]), role, device="cpu", progress=Silent(), **kwargs)
        return record, torch.load("output/distill/run/student_latest", weights_only=True)["model"]

    return train


def of(classes, file, name="resnet8"):
    """Write a network's weights to a file, in mdistiller's layout; returns them."""
    torch.manual_seed(7)
    state = cifar_model_dict[name][0](num_classes=classes).state_dict()
    checkpoint.save({"model": state, "epoch": 3}, file)
    return state


def same(state, network, but=()):
    learnt = [key for key in state if "running" not in key and "num_batches" not in key]
    return all(torch.equal(state[key], network[key]) for key in learnt if not key.startswith(tuple(but)))


@pytest.mark.parametrize("role, method", [("student", "NONE"), ("teacher", "ICC")])
def test_it_starts_from_the_file_and_its_record_says_so(trained, role, method, capsys):
    state = of(10, "start.pth")
    options = ["DISTILLER.TYPE", method, "DISTILLER.STUDENT_CKPT", "start.pth"]
    record, network = trained(*options, role=role)
    assert same(state, network)
    told = {"path": "start.pth", "digest": checkpoint.digest("start.pth"), "new_classifier": False}
    assert record["student"]["start"] == told and record["protocol"]["start"] == told["digest"]
    assert "start: resnet8 (start.pth)\n" in capsys.readouterr().out
    assert f"from weights {told['digest'][7:15]}" in render(["output"], "md")


def test_a_run_from_scratch_says_nothing_of_it(trained):
    record, network = trained(*PLAIN)
    assert "start" not in record["student"] and "start" not in record["protocol"]
    assert not same(of(10, "start.pth"), network)


def test_classes_that_differ_are_refused_or_on_request_begin_anew(trained):
    state, start = of(100, "hundred.pth"), ["DISTILLER.STUDENT_CKPT", "hundred.pth"]
    with pytest.raises(UserError) as refused:
        trained(*PLAIN, *start)
    assert str(refused.value) == (
        "hundred.pth: not a checkpoint of resnet8: fc.bias is (100,), not (10,) (and 1 more); where its classes alone "
        "differ, DISTILLER.NEW_CLASSIFIER True gives the network a new classifier"
    )
    record, network = trained(*PLAIN, *start, "DISTILLER.NEW_CLASSIFIER", "True")
    assert same(state, network, but=["fc."]) and network["fc.weight"].shape == (10, 64)
    assert record["student"]["start"]["new_classifier"] is True


def test_as_many_classes_of_other_names_are_others(trained):
    checkpoint.save({"model": of(10, "x"), "meta": {"classes": list("abcdefghij")}}, "letters.pth")
    start = ["DISTILLER.STUDENT_CKPT", "letters.pth"]
    with pytest.raises(
        UserError, match="^letters.pth: was trained on other classes, .*; DISTILLER.NEW_CLASSIFIER True"
    ):
        trained(*PLAIN, *start)
    _, network = trained(*PLAIN, *start, "DISTILLER.NEW_CLASSIFIER", "True")
    assert not torch.equal(network["fc.weight"], of(10, "x")["fc.weight"])


def test_a_resumed_run_goes_on_from_its_own_weights_without_the_file(trained, tmp_path):
    of(10, "start.pth")
    options = [*PLAIN, "DISTILLER.STUDENT_CKPT", "start.pth"]
    begun, _ = trained(*options)
    (tmp_path / "start.pth").unlink()
    longer, _ = trained(*options, "SOLVER.EPOCHS", "2", resume=True)
    assert longer["epoch"] == 2 and longer["student"] == begun["student"]
    assert longer["protocol"]["start"] == begun["protocol"]["start"]


@pytest.mark.parametrize("words, told", [
    (["DISTILLER.STUDENT_CKPT", "no.pth"], "no.pth: No such file or directory"),
    (["DISTILLER.STUDENT_CKPT", "other.pth"], "other.pth: not a checkpoint of resnet8: "),
    (["DISTILLER.STUDENT_CKPT", "other.pth", "DISTILLER.NEW_CLASSIFIER", "True"], "other.pth: not a"),
    (["DISTILLER.NEW_CLASSIFIER", "True"], "DISTILLER.NEW_CLASSIFIER True: of which file? DISTILLER.STUDENT_CKPT"),
])  # fmt: skip
def test_mistakes_are_one_line(command, tmp_path, words, told):
    of(10, tmp_path / "other.pth", "resnet14")
    done = command("tools/train.py", *RUN, *PLAIN, *words)
    assert done.returncode == 2 and done.stderr.startswith(f"error: {told}") and done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("output/**/record.json"))


def test_a_student_of_a_teacher_starts_from_a_file_too(command, tmp_path):
    of(10, tmp_path / "start.pth")
    teacher = command("tools/train_teacher.py", *RUN[:-2], "DISTILLER.TYPE", "ICC")
    assert teacher.returncode == 0, teacher.stderr
    done = command(
        "tools/train.py", *RUN, "DISTILLER.TYPE", "KD", "DISTILLER.TEACHER", "resnet8_icc",
        "DISTILLER.STUDENT_CKPT", "start.pth", "SOLVER.EPOCHS", "2",  # so that a teacher of one is told to be short
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "output/distill/run/record.json").read_text())
    assert record["student"]["start"]["path"] == "start.pth" and record["teacher"]["kind"] == "icc"
