"""Anybody's checkpoint: which of its parts are the network's weights, and what is said of the choice."""

from __future__ import annotations

import argparse
import itertools
import random
from collections import OrderedDict

import numpy as np
import pytest
import torch

from mdistiller_icc.builtin.models import cifar_model_dict, imagenet_model_dict
from mdistiller_icc.errors import UserError
from mdistiller_icc.teachers import weights

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "student.")
ARGS = argparse.Namespace(lr=0.1, model="resnet8", stages=[150, 180])
OPTIMIZER = {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": np.float64(0.1)}]}


def network(name="resnet8", num_classes=10):
    return cifar_model_dict[name][0](num_classes=num_classes)


@pytest.fixture
def state():
    torch.manual_seed(0)
    return network().state_dict()


def under(prefix, state):
    return OrderedDict((prefix + key, value) for key, value in state.items())


def zeros(state):
    return {key: torch.zeros_like(value) for key, value in state.items()}


def read(tmp_path, content, name="resnet8", model=None):
    """A network with what is found in a file of ``content``."""
    torch.save(content, tmp_path / "file")
    model = network(name) if model is None else model
    weights.load(model, tmp_path / "file", name)
    return model.state_dict()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("container", [None, "model", "state_dict", "model_state_dict", "net", "student", "teacher_1"])
def test_every_container_under_every_prefix(tmp_path, state, container):
    mixtures = ["", *PREFIXES, *map("".join, itertools.permutations(PREFIXES, 2)), "module.model._orig_mod.net."]
    for prefix in mixtures:
        named = under(prefix, state)
        assert same(read(tmp_path, {container: named, "epoch": 240} if container else named), state), prefix
    assert len(mixtures) == 27


LAYOUTS = {
    "our store's": (lambda s: {"model": s, "meta": {"kind": "icc", "classes": list("0123456789")}}, None),
    "bare": (lambda s: s, None),
    "mdistiller's": (
        lambda s: {"epoch": 240, "model": s, "optimizer": OPTIMIZER, "best_acc": np.float64(71.2)},
        "weights from 'model'; not read: 'epoch', 'optimizer', 'best_acc'",
    ),
    "mdistiller's latest": (
        lambda s: {"model": under("module.student.", s) | under("module.teacher.", zeros(s)), "epoch": 3},
        "weights from 'model'; names without 'module' and 'student'; {n} other tensors left, such as "
        "'teacher.bn1.bias'; not read: 'epoch'",
    ),
    "RepDistiller's": (
        lambda s: {"epoch": 240, "model": s, "best_acc": torch.tensor(71.2), "optimizer": OPTIMIZER},
        "weights from 'model'; not read: 'epoch', 'best_acc', 'optimizer'",
    ),
    "torchdistill's": (
        lambda s: {"model": s, "optimizer": OPTIMIZER, "lr_scheduler": {"last_epoch": 3}, "best_value": 71.2,
                   "args": ARGS},
        "weights from 'model'; not read: 'optimizer', 'lr_scheduler', 'best_value', 'args'",
    ),
    "timm's": (
        lambda s: {"epoch": 3, "arch": "resnet8", "state_dict": s, "optimizer": OPTIMIZER, "version": 2, "args": ARGS,
                   "amp_scaler": {"scale": 1.0}, "state_dict_ema": zeros(s), "metric": 71.2},
        "weights from 'state_dict'; not read: 'state_dict_ema' (an average over "
        "training), 'epoch', 'arch', 'optimizer' and 4 more",
    ),
    "an average alone": (
        lambda s: {"model_ema": under("module.", s) | {"n_averaged": torch.tensor(5)}, "epoch": 3},
        "weights from 'model_ema' (an average over training); names without 'module'; "
        "1 other tensor left, such as 'n_averaged'; not read: 'epoch'",
    ),
    "DeiT's": (
        lambda s: {"model_ema": zeros(s), "model": s},
        "weights from 'model'; not read: 'model_ema' (an average over training)",
    ),
    "an average before what it is of": (
        lambda s: {"ema": zeros(s), "weights": s},
        "weights from 'weights'; not read: 'ema' (an average over training)",
    ),
    "a teacher before its student": (
        lambda s: {"teacher": zeros(s), "net": s},
        "weights from 'net'; not read: 'teacher'",
    ),
    "Lightning's": (
        lambda s: {"state_dict": under("model.", s) | {"loss.weight": torch.ones(10)}, "hyper_parameters": {"lr": 0.1},
                   "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_k_models": {}}}, "global_step": 3},
        "weights from 'state_dict'; names without 'model'; 1 other tensor left, such as 'loss.weight'; "
        "not read: 'hyper_parameters', 'callbacks', 'global_step'",
    ),
    "mmcv's": (
        lambda s: {"meta": {"CLASSES": ["a"], 0: 1}, "state_dict": under("backbone.", s)},
        "weights from 'state_dict'; names without 'backbone'; not read: 'meta'",
    ),
    "nested": (
        lambda s: {"checkpoint": {"network": {"note": "mine"}, "weights": s}, 3: "numbers for keys"},
        "weights from 'weights'; not read: 3, 'network'",
    ),
    "thop's": (
        lambda s: s | {"total_ops": torch.zeros(1), "conv1.total_ops": torch.zeros(1), "total_params": torch.zeros(1)},
        "weights; 3 other tensors left, such as 'conv1.total_ops'",
    ),
    "before torch 0.4.1": (
        lambda s: {"net": {key: value for key, value in s.items() if "num_batches_tracked" not in key}, "acc": 71.2},
        "weights from 'net'; num_batches_tracked was missing and is 0; not read: 'acc'",
    ),
    "DataParallel inside": (
        lambda s: {key.replace("layer1.", "layer1.module."): value for key, value in s.items()},
        "weights; names without 'module'",
    ),
    "half precision": (lambda s: {key: v.half() if v.is_floating_point() else v for key, v in s.items()}, None),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_fields_files_are_read_and_what_was_taken_is_said(tmp_path, state, capsys, layout):
    write, said = LAYOUTS[layout]
    found = read(tmp_path, write(state))
    assert found.keys() == state.keys()
    assert all(torch.allclose(found[key].float(), state[key].float(), atol=1e-3) for key in state)
    line = capsys.readouterr().out
    assert line == (f"{tmp_path / 'file'}: {said.format(n=len(state))}\n" if said else "")


def test_a_network_whose_own_names_begin_like_a_prefix(tmp_path):
    """mdistiller's MobileNetV1 has a part called ``model`` beside its ``fc``."""
    torch.manual_seed(0)
    state = imagenet_model_dict["MobileNetV1"]().state_dict()
    assert any(key.startswith("model.") for key in state) and "fc.weight" in state
    for prefix in ("", "module.", "model.", "student."):
        found = read(tmp_path, {"model": under(prefix, state)}, "MobileNetV1", imagenet_model_dict["MobileNetV1"]())
        assert same(found, state)


def test_the_part_that_fits_is_taken(tmp_path, state, capsys):
    found = read(tmp_path, {"model": network("resnet14").state_dict(), "student": state})
    assert same(found, state) and "weights from 'student'; not read: 'model'" in capsys.readouterr().out
    found = read(tmp_path, {"net": under("student.", state) | under("teacher.", zeros(state))})
    assert same(found, state)


@pytest.mark.parametrize(
    "content, message",
    [
        (lambda s: {}, "holds no network's weights"),
        (lambda s: [s], "holds no network's weights"),
        (lambda s: {"model": None, "state_dict": [], "net": {}}, "holds no network's weights"),
        (lambda s: {"model": "resnet8", 3: s}, "holds no network's weights"),
        (lambda s: {"model": {"a": torch.ones(1)}}, "not a checkpoint of resnet8: .* keys missing, such as"),
        (lambda s: s | {"aux.weight": torch.ones(1)}, "1 unknown keys, such as 'aux.weight'"),
        (lambda s: s | {"\x1b[2J" + "x" * 9999: torch.ones(1)}, r"1 unknown keys, such as '\\x1b\[2Jx{1,80}$"),
        (lambda s: under("module.", s) | s, "under the same names with and without module or _orig_mod"),
        (lambda s: s | {"fc.bias": s["fc.bias"].to("meta")}, "fc.bias is no plain tensor"),
        (lambda s: s | {"fc.bias": s["fc.bias"].to_sparse()}, "fc.bias is no plain tensor"),
        (lambda s: s | {"fc.bias": s["fc.bias"] / 0}, "'fc.bias' holds numbers that are not finite"),
        (lambda s: {"model": network(num_classes=100).state_dict()}, r"fc.bias is \(100,\), not \(10,\) \(and 1 more"),
        (lambda s: under("module.", network("resnet14").state_dict()), "36 unknown keys, such as 'layer1.1.bn1.bias'"),
    ],
)
def test_what_is_not_the_networks_is_one_line(tmp_path, state, content, message):
    model = network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(UserError, match=message) as refused:
        read(tmp_path, content(state), model=model)
    assert "\n" not in str(refused.value) and same(model.state_dict(), before)


def test_a_dictionary_that_holds_itself(tmp_path, state):
    content = {"state_dict": state}
    for key in map(str, range(50)):
        content[key] = content
    assert same(read(tmp_path, content), state)
    del content["state_dict"]
    with pytest.raises(UserError, match="holds no network's weights"):
        read(tmp_path, content)


KEYS = (
    "model", "state_dict", "net", "module", "student", "ema", "model_ema", "optimizer", "meta", "epoch", "model.", "",
    "module.module", 0, 1.5, None, (1, 2), "x" * 5000, "\x1b[2J",
)  # fmt: skip


def tree(rng, state, depth=0):
    """Something that might be in a file, with or without the network's weights in it."""
    if depth < 4 and rng.random() < 0.7:
        return {rng.choice(KEYS): tree(rng, state, depth + 1) for _ in range(rng.randrange(1, 5))}
    prefix = "module." * rng.randrange(3) + rng.choice(("", "model.", "student."))
    leaves = (
        state, under(prefix, state), {0: state}, [state], dict(list(state.items())[:5]), torch.tensor(float("nan")),
        torch.ones(2), torch.ones(2, 2).to_sparse(), 3, None, "text", b"bytes", float("inf"), ARGS,
    )  # fmt: skip
    return rng.choice(leaves)


@pytest.mark.parametrize("times", [40, pytest.param(1500, marks=pytest.mark.slow)])
def test_whatever_a_file_holds_it_is_read_or_told_in_one_line(tmp_path, state, capsys, times):
    rng, told = random.Random(0), 0
    for _ in range(times):
        try:
            assert same(read(tmp_path, tree(rng, state)), state)
        except UserError as error:
            told += 1
            assert "\n" not in str(error) and len(str(error)) < 600
        line = capsys.readouterr().out
        assert line.count("\n") <= 1 and len(line) < 900 and "\x1b" not in line
    if times > 40:
        with capsys.disabled():
            print(f"{times} contents: {told} told, {times - told} read")
    assert 0 < told < times
