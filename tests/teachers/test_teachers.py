"""Teachers: anybody's checkpoints, the store's names, what a missing one says."""

from __future__ import annotations

import pytest
import torch

from mdistiller_icc.builtin.models import cifar_model_dict
from mdistiller_icc.errors import UserError
from mdistiller_icc.plugin import register
from mdistiller_icc.run import configure
from mdistiller_icc.teachers import checkpoint, resolve, store

CLASSES = tuple("0123456789")


@pytest.fixture
def network():
    return cifar_model_dict["resnet8"][0](num_classes=10)


@pytest.mark.parametrize("wrapper", ["model", "state_dict", None])
@pytest.mark.parametrize("prefix", ["", "module.", "student.", "module.student."])
def test_every_layout_is_read(tmp_path, network, wrapper, prefix):
    state = {prefix + key: value for key, value in network.state_dict().items()}
    torch.save({wrapper: state, "epoch": 240} if wrapper else state, tmp_path / "file")
    other = cifar_model_dict["resnet8"][0](num_classes=10)
    checkpoint.load_into(other, checkpoint.read_state(tmp_path / "file"), tmp_path / "file", "resnet8")
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), other.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(
    "classes, architecture, message",
    [
        (100, "resnet8", "fc.bias is \\(10,\\), not \\(100,\\)"),
        (10, "resnet14", "keys missing, such as 'layer1.1.bn1.bias'"),
    ],
)
def test_foreign_checkpoints_change_nothing(network, classes, architecture, message):
    other = cifar_model_dict[architecture][0](num_classes=classes)
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(UserError, match=f"file: not a checkpoint of {architecture}.*{message}"):
        checkpoint.load_into(other, network.state_dict(), "file", architecture)
    assert all(torch.equal(before[key], value) for key, value in other.state_dict().items())


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04broken", b"\x80\x02}q\x00."])
def test_no_checkpoint_at_all(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UserError, match="file: "):
        checkpoint.read_state(tmp_path / "file")


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (print, ("gotcha",))

    torch.save({"model": Harmful()}, tmp_path / "file")
    with pytest.raises(UserError, match="file: holds a print, which could run code"):
        checkpoint.read(tmp_path / "file")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    checkpoint.save({"model": {}}, tmp_path / "file")
    before = (tmp_path / "file").read_bytes()
    with pytest.raises(AttributeError):
        checkpoint.save({"model": lambda: None}, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_names():
    assert store.parse("wrn_40_2_icc") == ("wrn_40_2", "icc")
    assert store.parse("resnet8x4") is None and store.parse("_icc") is None


def load(*options):
    base = ["DATASET.TYPE", "digits", "DISTILLER.TYPE", "KD"]
    return resolve.load(register(verbose=False).host.cifar_model_dict, configure(None, [*base, *options]), CLASSES)


def publish(network, seed, kind="icc", classes=CLASSES):
    record = {"dataset": "digits", "seed": seed or 0, "top1": {}, "protocol": {}, "method_config": {}, "versions": {},
              "project": "p", "name": "n", "student": {"architecture": "resnet8"}}  # fmt: skip
    return resolve.publish(network, classes, kind, seed, record)


def test_the_store_by_seed(tmp_path, monkeypatch, network):
    monkeypatch.setenv("MDISTILLER_ICC_TEACHERS", str(tmp_path))
    assert publish(network, 3) == tmp_path / "digits" / "resnet8_icc_seed3.pth"
    with pytest.raises(UserError, match=r"there are seeds 3: DISTILLER.TEACHER_SEED.*tools/train_teacher.py"):
        load("DISTILLER.TEACHER", "resnet8_icc")
    model, whose = load("DISTILLER.TEACHER", "resnet8_icc", "DISTILLER.TEACHER_SEED", "3")
    assert (whose.architecture, whose.kind, whose.seed) == ("resnet8", "icc", 3)
    assert torch.equal(model.fc.weight, network.fc.weight)
    with pytest.raises(UserError, match="resnet8_vanilla.pth: no such teacher; train it: .*configs/vanilla"):
        load("DISTILLER.TEACHER", "resnet8_vanilla")


def test_classes_in_another_order_are_refused(tmp_path, monkeypatch, network):
    monkeypatch.setenv("MDISTILLER_ICC_TEACHERS", str(tmp_path))
    publish(network, None, classes=CLASSES[::-1])
    with pytest.raises(UserError, match="trained on other classes"):
        load("DISTILLER.TEACHER", "resnet8_icc")


def test_any_file_outright(tmp_path, network):
    torch.save(network.state_dict(), tmp_path / "mine")
    _, whose = load("DISTILLER.TEACHER", "resnet8", "DISTILLER.TEACHER_CKPT", str(tmp_path / "mine"))
    assert whose.kind == "file" and whose.digest == checkpoint.digest(tmp_path / "mine")


def test_the_command_names_the_configuration_made_for_the_teacher(monkeypatch):
    monkeypatch.chdir(__file__.rsplit("/tests/", 1)[0])
    named = store.command("cifar100", store.TeacherName("resnet110", "icc"), seed=1)
    assert named == "python tools/train_teacher.py --cfg configs/icc/res110.yaml --seed 1"
    other = store.command("digits", store.TeacherName("resnet8", "vanilla"))
    assert other.endswith("--cfg configs/vanilla/res110.yaml DISTILLER.STUDENT resnet8 DATASET.TYPE digits")
