"""What a launched script's configuration does when it is merged and frozen."""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np
import pytest
import torch
from yacs.config import CfgNode

from mdistiller_icc.errors import UserError
from mdistiller_icc.launch import NOBODY, LaunchedConfig, told_as_user_error
from mdistiller_icc.plugin import register
from mdistiller_icc.teachers import checkpoint

PAIR = ["DISTILLER.TYPE", "KD", "DISTILLER.TEACHER", "resnet8_icc", "DISTILLER.STUDENT", "resnet8"]


@pytest.fixture
def cfg(monkeypatch, tmp_path):
    """A fresh configuration as a script imports it; the store is empty and the registries are copies."""
    monkeypatch.chdir(tmp_path)
    registered = register(verbose=False)
    dictionaries = {
        field.name: dict(getattr(registered.host, field.name))
        for field in dataclasses.fields(registered.host)
        if field.name.endswith("_dict")
    }
    host = dataclasses.replace(registered.host, **dictionaries)
    monkeypatch.setattr(LaunchedConfig, "registered", registered._replace(host=host), raising=False)
    cfg = registered.host.CFG.clone()
    cfg.LOG.WANDB = False
    object.__setattr__(cfg, "__class__", LaunchedConfig)
    return cfg


def teach(file, seed=0, num_classes=100, prefix="", wrap=lambda state: {"model": state}):
    """Write a checkpoint of resnet8 and return its weights."""
    torch.manual_seed(seed)
    state = register().host.cifar_model_dict["resnet8"][0](num_classes=num_classes).state_dict()
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(wrap({f"{prefix}{key}": value for key, value in state.items()}), file)
    return state


def as_the_script_finds_it(cfg, name="resnet8_icc"):
    """What mdistiller's script makes of the registry's entry."""
    factory, file = cfg.registered.host.cifar_model_dict[name]
    model = factory(num_classes=100)
    model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True)["model"])
    return model.state_dict()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_merges_like_ours_and_stays_open_until_frozen(cfg, tmp_path):
    (tmp_path / "a.yaml").write_text("SOLVER:\n  LR: 1\n  WEIGHT_DECAY: 5e-4\nDKD:\n  T: 4\n")
    cfg.merge_from_file("a.yaml")
    cfg.merge_from_list(["SOLVER.EPOCHS", "3"])
    assert (cfg.SOLVER.LR, cfg.SOLVER.WEIGHT_DECAY, cfg.DKD.T, cfg.SOLVER.EPOCHS) == (1.0, 0.0005, 4.0, 3)
    cfg.LOG.PREFIX = "elsewhere"  # scripts of forks set things between merging and freezing
    cfg.freeze()
    assert cfg.LOG.PREFIX == "elsewhere"
    assert cfg.is_frozen() and cfg.SOLVER.is_frozen()
    assert type(cfg.clone()) is CfgNode


def test_the_stored_teacher_is_what_the_script_loads(cfg, tmp_path):
    state = teach(tmp_path / "teachers/cifar100/resnet8_icc.pth")
    cfg.merge_from_list(PAIR)
    cfg.freeze()
    assert same(as_the_script_finds_it(cfg), state)


def test_a_hosts_own_method_takes_no_standardised_logits(cfg, tmp_path):
    class Theirs(torch.nn.Module):
        pass

    teach(tmp_path / "teachers/cifar100/resnet8_icc.pth")
    cfg.registered.host.distiller_dict["KD"] = Theirs
    cfg.merge_from_list([*PAIR, "DISTILLER.LOGIT_STAND", "True"])
    with pytest.raises(UserError, match="LOGIT_STAND: KD of this host takes no standardised logits; .*ICCKD, CKD"):
        cfg.freeze()
    cfg.merge_from_list(["DISTILLER.TYPE", "RLD"])
    cfg.freeze()


@pytest.mark.parametrize("method, hint", [("CRLD", ""), ("MLKD", " (MLKD.STRONG_VIEW False does without)")])
def test_mdistillers_loaders_have_no_strong_view(cfg, tmp_path, method, hint):
    teach(tmp_path / "teachers/cifar100/resnet8_icc.pth")
    cfg.merge_from_list([*PAIR, "DISTILLER.TYPE", method])
    with pytest.raises(UserError) as error:
        cfg.freeze()
    told = f"DISTILLER.TYPE {method} wants a weak and a strong view of each image; mdistiller's own loaders have one"
    assert str(error.value) == told + hint
    if hint:
        cfg.merge_from_list(["MLKD.STRONG_VIEW", "False"])
        cfg.freeze()


def test_teacher_seed_chooses_its_file(cfg, tmp_path):
    teach(tmp_path / "teachers/cifar100/resnet8_icc.pth")
    state = teach(tmp_path / "teachers/cifar100/resnet8_icc_seed3.pth", seed=3)
    cfg.merge_from_list([*PAIR, "DISTILLER.TEACHER_SEED", "3"])
    cfg.freeze()
    assert same(as_the_script_finds_it(cfg), state)


@pytest.mark.parametrize(
    "prefix, wrap",
    [
        ("", lambda state: state),
        ("module.", lambda state: {"state_dict": state}),
        # mdistiller's `latest` after a learning-rate drop: its rate is a NumPy number
        ("module.student.", lambda state: {"model": state, "optimizer": {"lr": np.float64(0.005)}, "epoch": 160}),
        ("module._orig_mod.", lambda state: {"net": state, "args": argparse.Namespace(lr=0.1)}),
        ("", lambda state: {"epoch": 240, "model": state, "best_acc": torch.tensor(71.2)}),
        ("", lambda state: {"model": {key: value for key, value in state.items() if "num_batches" not in key}}),
    ],
    ids=["bare", "state_dict, module.", "mdistiller's latest", "compiled", "RepDistiller's", "before torch 0.4.1"],
)
def test_teacher_ckpt_in_any_layout(cfg, tmp_path, prefix, wrap):
    state = teach(tmp_path / "any.pth", prefix=prefix, wrap=wrap)
    cfg.merge_from_list([*PAIR, "DISTILLER.TEACHER", "resnet8", "DISTILLER.TEACHER_CKPT", "any.pth"])
    cfg.freeze()
    assert same(as_the_script_finds_it(cfg, "resnet8"), state)
    student = cfg.registered.host.cifar_model_dict["resnet8"][0](num_classes=100)
    assert not same(student.state_dict(), state)  # the factory is the network's own, so a student starts afresh


def test_imagenet_teacher_comes_from_its_file(cfg, tmp_path):
    torch.manual_seed(0)
    models = cfg.registered.host.imagenet_model_dict
    state = models["ResNet18"](pretrained=False).state_dict()
    torch.save({"model": state}, tmp_path / "r18.pth")
    cfg.merge_from_list(["DATASET.TYPE", "imagenet", "DISTILLER.TYPE", "KD", "DISTILLER.TEACHER", "ResNet18"])
    cfg.merge_from_list(["DISTILLER.STUDENT", "ResNet18", "DISTILLER.TEACHER_CKPT", "r18.pth"])
    cfg.freeze()
    assert same(models["ResNet18"](pretrained=True).state_dict(), state)
    assert not same(models["ResNet18"](pretrained=False).state_dict(), state)


@pytest.mark.parametrize("dataset", ["cifar100", "imagenet"])
def test_icc_recipe_gets_a_teacher_that_is_nobody(cfg, dataset):
    cfg.merge_from_list(["DISTILLER.TYPE", "ICC", "DATASET.TYPE", dataset, "SOLVER.TRAINER", "icc"])
    cfg.merge_from_list(["DISTILLER.STUDENT", "ResNet18"])
    cfg.freeze()
    assert cfg.DISTILLER.TEACHER == NOBODY
    if dataset == "imagenet":
        teacher = cfg.registered.host.imagenet_model_dict[NOBODY](pretrained=True)
    else:
        assert not as_the_script_finds_it(cfg, NOBODY)
        teacher = cfg.registered.host.cifar_model_dict[NOBODY][0](num_classes=100)
    assert list(teacher.parameters()) == []


def test_a_seed_seeds_and_no_seed_does_not(cfg):
    plain = ["DISTILLER.TYPE", "NONE", "DISTILLER.STUDENT", "resnet8"]
    drawn = []
    for options in ([], [], ["EXPERIMENT.SEED", "5"], ["EXPERIMENT.SEED", "5"]):
        torch.manual_seed(len(drawn))
        cfg.defrost()
        cfg.merge_from_list([*plain, *options])
        cfg.freeze()
        drawn.append((torch.rand(1).item(), np.random.rand()))
    assert drawn[2] == drawn[3] and drawn[0] != drawn[1]


@pytest.mark.parametrize(
    "options, message",
    [
        (["SOLVER.EPOCH", "2"], "command line: unknown key SOLVER.EPOCH (did you mean 'SOLVER.EPOCHS'?)"),
        (["DISTILLER.TYPE", "DKDD"], "DISTILLER.TYPE: no distiller 'DKDD' (did you mean 'DKD'?)"),
        (["DISTILLER.STUDENT", "resnet9"], "DISTILLER.STUDENT: no network 'resnet9' for cifar100 (did you mean"),
        (["DISTILLER.TEACHER", "resnet8_ic"], "DISTILLER.TEACHER: no network 'resnet8_ic' for cifar100 (did you"),
        (["DISTILLER.TEACHER", "resnet8"], "DISTILLER.TEACHER resnet8: the host has no checkpoint of it; name"),
        (["DISTILLER.TEACHER", "resnet56_icc"], "teachers/cifar100/resnet56_icc.pth: no such teacher; train it: "),
        (["DISTILLER.TEACHER_SEED", "4"], "teachers/cifar100/resnet8_icc_seed4.pth: no such teacher; train it: "),
        (["DISTILLER.TEACHER_CKPT", "nowhere"], "nowhere: No such file or directory"),
        (["DISTILLER.TEACHER_CKPT", "ten.pth"], "ten.pth: not a checkpoint of resnet8: fc."),
        (["DISTILLER.TEACHER_CKPT", "text"], "text: a text file, not a checkpoint"),
        (["SOLVER.TRAINER", "icd"], "SOLVER.TRAINER: no trainer 'icd' (did you mean 'icc'?)"),
        (["SOLVER.SCHEDULE", "cosine"], "SOLVER.SCHEDULE cosine: mdistiller's own scripts do not know it"),
        (["DATASET.FRACTION", "0.5"], "DATASET.FRACTION 0.5: mdistiller's own scripts do not know it"),
        (["DATASET.TYPE", "digits"], "DATASET.TYPE digits: mdistiller's own scripts do not know it"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_are_user_errors(cfg, tmp_path, options, message):
    teach(tmp_path / "teachers/cifar100/resnet8_icc.pth")
    teach(tmp_path / "ten.pth", num_classes=10)
    (tmp_path / "text").write_text("no checkpoint")
    with pytest.raises(UserError) as told:
        cfg.merge_from_list([*PAIR, *options])
        cfg.freeze()
    assert str(told.value).startswith(message) and "\n" not in str(told.value)
    assert not cfg.is_frozen()


def test_wandb_is_asked_for_before_the_script_fails_over_it(cfg, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    cfg.merge_from_list(["LOG.WANDB", "True"])
    with pytest.raises(UserError, match=r"^LOG.WANDB True: wandb is not installed"):
        cfg.freeze()


@pytest.mark.parametrize(
    "error, message",
    [
        (FileNotFoundError(2, "", "teachers/cifar100/resnet56_icc.pth"), "resnet56_icc.pth: no such teacher; train it"),
        (FileNotFoundError(2, "", "output/a/b/latest"), "output/a/b/latest: there is no run to resume"),
        (NotImplementedError("AdamW"), "SOLVER.TYPE AdamW: mdistiller's own scripts do not know it"),
    ],
)
def test_what_a_script_finds_missing(cfg, error, message):
    cfg.SOLVER.TYPE = "AdamW"
    with pytest.raises(UserError) as told, told_as_user_error(cfg):
        raise error
    assert message in str(told.value)


@pytest.mark.parametrize("error", [FileNotFoundError(2, "", "data/x"), NotImplementedError("hidden"), KeyError("x")])
def test_other_errors_of_a_script_stay_loud(cfg, error):
    with pytest.raises(type(error)), told_as_user_error(cfg):
        raise error


def test_numpy_numbers_are_let_through_and_nothing_else(tmp_path):
    numbers = {"lr": np.float64(0.005), "top1": np.float32(71.5), "epoch": np.int64(3), "flag": np.bool_(True)}
    torch.save(numbers, tmp_path / "numbers")
    assert checkpoint.read(tmp_path / "numbers") == numbers
    assert torch.load(tmp_path / "numbers", weights_only=True) == numbers  # a launched script's own reading
    torch.save({"call": print}, tmp_path / "call")
    with pytest.raises(UserError, match="holds a print, which could run code"):
        checkpoint.read(tmp_path / "call")


def test_ranges_hold_and_a_slip_in_the_data_sets_name_is_not_the_networks_fault(cfg):
    cfg.merge_from_list([*PAIR, "KD.TEMPERATURE", "-3"])
    with pytest.raises(UserError, match="^KD.TEMPERATURE must be between 0.001 and 1000, not -3.0$"):
        cfg.freeze()
    cfg.merge_from_list(["KD.TEMPERATURE", "3", "SOLVER.TYPE", "Lion", "DATASET.TYPE", "tiny_imagenett"])
    with pytest.raises(UserError, match=r"^DATASET.TYPE tiny_imagenett is none of ours \(did you mean 'tiny_imagenet'"):
        cfg.freeze()
