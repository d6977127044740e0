"""Runs with a teacher, or a network, that is not what they expect."""

from __future__ import annotations

import shutil
import urllib.request

import pytest
import torch

from mdistiller_icc.builtin.models import cifar_model_dict
from mdistiller_icc.engine.progress import Silent
from mdistiller_icc.errors import UserError
from mdistiller_icc.plugin import register
from mdistiller_icc.run import configure, run
from mdistiller_icc.teachers import checkpoint, resolve

SHORT = [
    "DATASET.TYPE", "digits", "DATASET.FRACTION", "0.05", "DISTILLER.STUDENT", "resnet8", "SOLVER.EPOCHS", "2",
    "EXPERIMENT.NAME", "run",
]  # fmt: skip


@pytest.fixture
def trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MDISTILLER_ICC_HOST", "builtin")

    def train(*options, role="student"):
        cfg = configure(None, [*SHORT, *options])
        return run(cfg, role, device="cpu", progress=Silent())

    return train


def untrained(epochs, fraction=0.05):
    """Put a network that knows nothing into the store, as a teacher of so many epochs; None: it does not say."""
    torch.manual_seed(0)
    network = cifar_model_dict["resnet8"][0](num_classes=10)
    torch.nn.init.zeros_(network.fc.weight)
    protocol = {"epochs": epochs, "fraction": fraction}
    record = {"dataset": "digits", "seed": 0, "top1": {}, "protocol": protocol, "versions": {}, "method_config": {},
              "project": "p", "name": "n", "student": {"architecture": "resnet8"}}  # fmt: skip
    return resolve.publish(network, tuple("0123456789"), "icc", None, record)


@pytest.mark.parametrize("epochs, fraction", [(1, 0.05), (2, 0.05), (20, 0.05), (20, 1.0), (None, 0.05)])
def test_chance_stops_a_run_unless_its_teacher_was_short(trained, capsys, epochs, fraction):
    file = untrained(epochs, fraction)
    options = ["DISTILLER.TYPE", "KD", "DISTILLER.TEACHER", "resnet8_icc"]
    if epochs is None or fraction == 1:
        with pytest.raises(UserError, match="is no better than chance"):
            trained(*options)
        return
    record = trained(*options)
    printed = capsys.readouterr().out
    length = f"{epochs} epoch{'s' * (epochs > 1)} on 5 % of the images"
    another = f"{file}: this teacher was trained for {length}; this run is for 2 epochs on 5 %"
    assert (another in printed) == (epochs != 2)
    assert "is no better than chance" in printed and f"; it was trained for {length} only\n" in printed
    assert record["status"] == "finished" and "trained" not in record["teacher"]


def test_a_longer_run_replaces_its_short_teacher(trained, capsys):
    file = untrained(1)
    trained("DISTILLER.TYPE", "ICC", "SOLVER.TRAINER", "icc", role="teacher")
    assert (
        "the teacher of p/n, 1 epoch on 5 % of the images, gives way to this run's, 2 epochs" in capsys.readouterr().out
    )
    assert checkpoint.read(file)["meta"]["run"] == "distill/run"


def test_the_same_name_elsewhere_is_not_the_same_run(trained, tmp_path, capsys):
    icc = ["DISTILLER.TYPE", "ICC", "SOLVER.TRAINER", "icc"]
    trained(*icc, role="teacher")
    file = tmp_path / "teachers/digits/resnet8_icc.pth"
    before = file.read_bytes()
    for other in (["SOLVER.EPOCHS", "1"], ["ICC.WEIGHT", "0.5"], ["SOLVER.LR", "0.01"], ["COMPAT.UPSTREAM", "True"]):
        with pytest.raises(UserError, match="holds the teacher of distill/run, 2 epochs on 5 % of the images; --overw"):
            trained(*icc, "LOG.PREFIX", "elsewhere", *other, role="teacher")
    shutil.rmtree(tmp_path / "output")
    with pytest.raises(UserError, match="holds the teacher of distill/run"):
        trained(*icc, "SOLVER.EPOCHS", "1", role="teacher")
    assert file.read_bytes() == before
    capsys.readouterr()
    trained(*icc, role="teacher")  # the same again
    assert "gives way" not in capsys.readouterr().out
    trained(*icc, "LOG.PREFIX", "elsewhere", "SOLVER.EPOCHS", "3", role="teacher")
    assert "run, 2 epochs on 5 % of the images, gives way to this run's, 3 epochs" in capsys.readouterr().out


def test_an_imagenet_teacher_without_a_network_is_one_line(tmp_path, monkeypatch):
    for scheme in ("http", "https"):  # every download is refused at once
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(urllib.request, "_opener", None)  # which may have been made with other proxies
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    networks, classes = register(verbose=False).host.imagenet_model_dict, tuple(map(str, range(1000)))
    cfg = configure(None, ["DATASET.TYPE", "imagenet", "DISTILLER.TYPE", "KD", "DISTILLER.TEACHER", "ResNet18"])
    file = tmp_path / "hub/checkpoints/resnet18-f37072fd.pth"
    with pytest.raises(UserError) as refused:
        resolve.load(networks, cfg, classes)
    told = str(refused.value)
    assert told.startswith(f"DISTILLER.TEACHER ResNet18: https://download.pytorch.org/models/{file.name} cannot be")
    assert told.endswith(f"; put it at {file}, or name a file with DISTILLER.TEACHER_CKPT") and "\n" not in told
    file.write_bytes(b"cut off")
    with pytest.raises(UserError, match=f"^{file}: its SHA-256 does not begin with f37072fd"):
        resolve.load(networks, cfg, classes)
