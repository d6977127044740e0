"""A network's weights in the files that people have."""

from __future__ import annotations

import contextlib
import json

import pytest
import torch

from mdistiller_icc.builtin.models import cifar_model_dict
from mdistiller_icc.commands.entry import main

CLASSES = [str(digit) for digit in range(10)]


@pytest.fixture(scope="session")
def network():
    """An untrained network in eval mode, whose batch norms are not the identity."""
    torch.manual_seed(0)
    made = cifar_model_dict["resnet8"][0](num_classes=10)
    with torch.no_grad():
        made(torch.randn(64, 3, 32, 32))
    return made.eval()


@pytest.fixture
def here(tmp_path, monkeypatch, network):
    """A working folder with that network as a stored teacher, a run's student, mdistiller's and RepDistiller's file."""
    monkeypatch.chdir(tmp_path)
    state = network.state_dict()
    (tmp_path / "teachers/digits").mkdir(parents=True)
    meta = {"architecture": "resnet8", "kind": "icc", "seed": 0, "dataset": "digits", "classes": CLASSES}
    torch.save({"model": state, "meta": meta}, tmp_path / "teachers/digits/resnet8_icc.pth")
    (tmp_path / "run").mkdir()
    student = {f"module.student.{key}": value for key, value in state.items()}
    torch.save({"epoch": 3, "model": student, "best_acc": 9.0}, tmp_path / "run/best")
    record = {"student": {"architecture": "resnet8"}, "dataset": "digits", "num_classes": 10}
    (tmp_path / "run/record.json").write_text(json.dumps(record))
    torch.save({"model": state}, tmp_path / "mdistillers")
    torch.save({"epoch": 240, "model": state, "accuracy": 9.0}, tmp_path / "ckpt_epoch_240.pth")
    return tmp_path


@pytest.fixture
def printed(capsys):
    """Run a command in this process and return what it prints to standard output."""

    def run(*words) -> str:
        capsys.readouterr()
        assert main([*map(str, words)]) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def full_disk():
    """``with full_disk():`` no file of this process takes another byte."""
    resource = pytest.importorskip("resource")

    @contextlib.contextmanager
    def full():
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return full
