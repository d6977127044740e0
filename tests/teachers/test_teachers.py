"""Teachers: anybody's checkpoints, the store's names, what a missing one says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mdistiller_icc.builtin.models import cifar_model_dict
from mdistiller_icc.errors import UserError
from mdistiller_icc.plugin import register
from mdistiller_icc.run import configure
from mdistiller_icc.teachers import checkpoint, resolve, store, weights

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
    weights.load(other, tmp_path / "file", "resnet8")
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
        weights.load_into(other, network.state_dict(), "file", architecture)
    assert all(torch.equal(before[key], value) for key, value in other.state_dict().items())


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04broken", b"\x80\x02}q\x00."])
def test_no_checkpoint_at_all(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UserError, match="file: "):
        checkpoint.read(tmp_path / "file")


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


def publish(network, seed, kind="icc", classes=CLASSES, epochs=None, fraction=1.0, **method_config):
    protocol = {} if epochs is None else {"epochs": epochs, "fraction": fraction}
    record = {"dataset": "digits", "seed": seed or 0, "top1": {}, "protocol": protocol, "versions": {},
              "method_config": method_config, "project": "p", "name": "n",
              "student": {"architecture": "resnet8"}}  # fmt: skip
    return resolve.publish(network, classes, kind, seed, record)


def test_the_store_by_seed(tmp_path, monkeypatch, network):
    monkeypatch.setenv("MDISTILLER_ICC_TEACHERS", str(tmp_path))
    assert publish(network, 3) == tmp_path / "digits" / "resnet8_icc_seed3.pth"
    with pytest.raises(UserError, match=r"there are seeds 3: DISTILLER.TEACHER_SEED.*train it: .*teacher --cfg icc"):
        load("DISTILLER.TEACHER", "resnet8_icc")
    model, whose = load("DISTILLER.TEACHER", "resnet8_icc", "DISTILLER.TEACHER_SEED", "3")
    assert (whose.architecture, whose.kind, whose.seed) == ("resnet8", "icc", 3)
    assert torch.equal(model.fc.weight, network.fc.weight)
    with pytest.raises(UserError, match="resnet8_vanilla.pth: no such teacher; train it: .* --cfg vanilla/"):
        load("DISTILLER.TEACHER", "resnet8_vanilla")


def test_what_a_killed_process_left_of_a_teacher_is_cleared(tmp_path, monkeypatch, network):
    monkeypatch.setenv("MDISTILLER_ICC_TEACHERS", str(tmp_path))
    file = publish(network, 3)
    before = file.read_bytes()
    script = (
        "import os, sys\n"
        "from mdistiller_icc import whole_file\n"
        "with whole_file.replacing(sys.argv[1]) as stream:\n"
        "    stream.write(b'half')\n"
        "    stream.flush()\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", script, file], env=environment).returncode == -9
    assert len(list(file.parent.iterdir())) == 2 and file.read_bytes() == before
    publish(network, 3)
    assert list(file.parent.iterdir()) == [file]


def test_classes_in_another_order_are_refused(tmp_path, monkeypatch, network):
    monkeypatch.setenv("MDISTILLER_ICC_TEACHERS", str(tmp_path))
    publish(network, None, classes=CLASSES[::-1])
    with pytest.raises(UserError, match="trained on other classes"):
        load("DISTILLER.TEACHER", "resnet8_icc")


def test_any_file_outright(tmp_path, network):
    torch.save(network.state_dict(), tmp_path / "mine")
    _, whose = load("DISTILLER.TEACHER", "resnet8", "DISTILLER.TEACHER_CKPT", str(tmp_path / "mine"))
    assert whose.kind == "file" and whose.digest == checkpoint.digest(tmp_path / "mine")


@pytest.mark.parametrize(
    "meta",
    [
        ["a", "list"], {0: 1, 7: {}}, "text", 5, None,
        {"classes": 5, "kind": 3, "seed": "x", "dataset": [], "protocol": 7},
        {"protocol": {"epochs": "many", "fraction": None}, "run": {}},
    ],
)  # fmt: skip
def test_what_others_call_meta_is_left_alone(tmp_path, network, meta):
    torch.save({"model": network.state_dict(), "meta": meta}, tmp_path / "file")
    _, whose = load("DISTILLER.TEACHER", "resnet8", "DISTILLER.TEACHER_CKPT", str(tmp_path / "file"))
    assert (whose.kind, whose.seed, whose.dataset, whose.trained) == ("file", None, "digits", None)


def test_home_folders(tmp_path, monkeypatch, network):
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(network.state_dict(), tmp_path / "mine")
    _, whose = load("DISTILLER.TEACHER", "resnet8", "DISTILLER.TEACHER_CKPT", "~/mine")
    assert whose.path == str(tmp_path / "mine")
    with pytest.raises(UserError, match="DISTILLER.TEACHER_CKPT ~no-such-user/x: no home folder is known"):
        load("DISTILLER.TEACHER", "resnet8", "DISTILLER.TEACHER_CKPT", "~no-such-user/x")
    monkeypatch.setenv("MDISTILLER_ICC_TEACHERS", "~/store")
    assert store.root() == tmp_path / "store"
    monkeypatch.setenv("MDISTILLER_ICC_TEACHERS", "~no-such-user")
    with pytest.raises(UserError, match="MDISTILLER_ICC_TEACHERS ~no-such-user: no home folder is known"):
        store.root()


def test_a_teacher_of_another_length_says_so(tmp_path, monkeypatch, network, capsys):
    monkeypatch.setenv("MDISTILLER_ICC_TEACHERS", str(tmp_path))
    file = publish(network, None, epochs=2, fraction=0.05)
    options = ["DISTILLER.TEACHER", "resnet8_icc", "SOLVER.EPOCHS", "2", "DATASET.FRACTION"]
    _model, teacher = load(*options, "0.05")
    resolve.tell_training(teacher.path, teacher.trained, configure(None, [*options, "0.05"]))
    assert capsys.readouterr().out == ""
    resolve.tell_training(teacher.path, teacher.trained, configure(None, [*options, "1.0"]))
    said = (
        f"{file}: this teacher was trained for 2 epochs on 5 % of the images; this run is for 2 epochs on all images\n"
    )
    assert capsys.readouterr().out == said


def test_a_short_teacher_gives_way_to_a_longer_one_of_its_recipe(tmp_path, monkeypatch, network):
    monkeypatch.setenv("MDISTILLER_ICC_TEACHERS", str(tmp_path))
    file = publish(network, None, epochs=2, fraction=0.05, MARGIN=0.3, GONE=1)

    def check(*options, run="p/other", begun=False):
        icc = ["DATASET.TYPE", "digits", "DISTILLER.TYPE", "ICC", "SOLVER.EPOCHS", "30", "ICC.MARGIN", "0.3"]
        return resolve.check_place(file, run, configure(None, [*icc, *options]), begun=begun)

    assert check(run="p/n").endswith("gives way to this run's, 30 epochs on all images"), "for all that the name is its"
    assert check("SOLVER.EPOCHS", "1", run="p/n", begun=True) is None, "it is this run's own"
    said = "the teacher of p/n, 2 epochs on 5 % of the images, gives way to this run's, 30 epochs on all images"
    assert check() == f"{file}: {said}"
    for options in (
        ["SOLVER.EPOCHS", "1"],  # shorter
        ["SOLVER.EPOCHS", "2", "DATASET.FRACTION", "0.05"],  # as long
        ["DATASET.FRACTION", "0.04"],  # longer on fewer images
        ["ICC.MARGIN", "0.5"],  # another recipe
    ):
        with pytest.raises(UserError, match="holds the teacher of p/n, 2 epochs on 5 % of the images; --overwrite"):
            check(*options)
    torch.save({"model": network.state_dict()}, file)
    with pytest.raises(UserError, match="holds the teacher of somebody else; --overwrite"):
        check()
    file.write_bytes(b"")
    with pytest.raises(UserError, match=r"resnet8_icc.pth: .*; --overwrite replaces it, --seed N or"):
        check()


def test_the_command_names_the_configuration_made_for_the_teacher(monkeypatch):
    monkeypatch.setattr("sys.argv", ["bin/mdistiller-icc", "train"])
    monkeypatch.setattr("shutil.which", lambda name: f"bin/{name}")
    named = store.command("cifar100", store.TeacherName("resnet110", "icc"), seed=1)
    assert named == "mdistiller-icc teacher --cfg icc/res110 --seed 1"
    other = store.command("digits", store.TeacherName("resnet8", "vanilla"))
    assert other == "mdistiller-icc teacher --cfg vanilla/res110 DISTILLER.STUDENT resnet8 DATASET.TYPE digits"
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert store.command("digits", store.TeacherName("resnet8", "icc")).startswith("python -m mdistiller_icc teacher ")


def test_who_runs_a_script_of_ours_is_told_the_one_beside_it(monkeypatch):
    monkeypatch.chdir(__file__.rsplit("/tests/", 1)[0])
    monkeypatch.setattr("sys.argv", ["tools/train.py", "--cfg", "cifar100/dkd_icc"])
    named = store.command("cifar100", store.TeacherName("resnet110", "icc"))
    assert named == "python tools/train_teacher.py --cfg icc/res110"
