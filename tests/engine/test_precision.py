"""Which precision and layout a run is computed in, and that the fast ones learn the same."""

from __future__ import annotations

import functools
import os

import pytest
import torch
from torch import nn

from mdistiller_icc import data
from mdistiller_icc.builtin.distillers import Vanilla
from mdistiller_icc.builtin.distillers import distiller_dict as builtin_distillers
from mdistiller_icc.builtin.models import cifar_model_dict
from mdistiller_icc.data import loading
from mdistiller_icc.distillers import base
from mdistiller_icc.distillers.base import Distiller
from mdistiller_icc.distillers.methods import distiller_dict as plugin_distillers
from mdistiller_icc.engine import precision
from mdistiller_icc.engine.evaluate import evaluate
from mdistiller_icc.engine.kernels import choose_kernels
from mdistiller_icc.engine.progress import Silent
from mdistiller_icc.engine.trainer import BATCH, Trainer
from mdistiller_icc.plugin import register
from mdistiller_icc.run import check, configure

CPU = torch.device("cpu")
KNOWN = [*builtin_distillers, *plugin_distillers]
SMALL = ["DATASET.TYPE", "digits", "DATASET.FRACTION", "0.1", "SOLVER.EPOCHS", "2"]


def test_auto_layout_spares_networks_and_methods_that_are_not_ours(monkeypatch):
    host = register(verbose=False).host
    own = {"DISTILLER.TYPE": "KD", "DISTILLER.STUDENT": "ShuffleV1", "DISTILLER.TEACHER": "resnet20_vanilla"}

    def layout(asked="auto", **changed):
        given = own | {f"DISTILLER.{key}": name for key, name in changed.items()} | {"SOLVER.CHANNELS_LAST": asked}
        return check(configure(None, [text for pair in given.items() for text in pair])).layout

    class Theirs(nn.Module):
        """mdistiller's interface, and nothing of ours."""

        def __init__(self, student, teacher):
            super().__init__()

    class Own(Distiller):
        """A user's, who may call view."""

    monkeypatch.setitem(host.cifar_model_dict, "theirs", (functools.partial(nn.Linear, 3), None))
    monkeypatch.setitem(host.distiller_dict, "THEIRS", Theirs)
    monkeypatch.setitem(host.distiller_dict, "OWN", Own)
    assert layout() == layout(TYPE="NONE") == layout(TYPE="ICC") == torch.channels_last
    assert all(layout(TYPE=name) == torch.channels_last for name in KNOWN)
    for changed in ({"TEACHER": "theirs"}, {"STUDENT": "theirs"}, {"TYPE": "THEIRS"}, {"TYPE": "OWN"}):
        assert layout(**changed) == torch.contiguous_format
        assert layout("always", **changed) == torch.channels_last
    assert layout("never") == torch.contiguous_format


@pytest.mark.parametrize("method", KNOWN)
def test_a_method_passes_images_on_in_the_layout_that_it_gets_them_in(method):
    cfg = configure(None, [*SMALL, "DISTILLER.TYPE", method, "CRD.NCE.K", "8"])
    kind, last = register(verbose=False).host.distiller_dict[method], {"memory_format": torch.channels_last}
    dataset = data.load(cfg, 0, CPU, strong=kind.strong_view(cfg), **last)
    student, teacher = (cifar_model_dict["resnet8"][0](num_classes=dataset.num_classes) for _ in range(2))
    distiller = base.build(kind, student, teacher, cfg, dataset.num_data)
    distiller.to(**last).attach(dataset.train)
    layouts = []

    def see(_layer, given):
        layouts.append(given[0].is_contiguous(**last))

    for layer in student.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_pre_hook(see)
    inputs = dict(zip(BATCH, next(iter(dataset.train)), strict=False))
    assert inputs["image"].is_contiguous(**last)
    distiller(**{name: tensor for name, tensor in inputs.items() if tensor is not None}, epoch=1)
    assert layouts and all(layouts)


def test_evaluation_batches_grow_on_an_accelerator_alone_and_change_no_accuracy():
    assert loading.test_batch(64, 32, "resident", torch.device("cuda")) == 1024
    assert loading.test_batch(64, 224, "workers", torch.device("cuda")) == 64
    assert loading.test_batch(64, 32, "resident", CPU) == 64
    torch.manual_seed(0)
    network = cifar_model_dict["resnet8"][0](num_classes=10).eval()
    found = []
    for size in ("7", "360"):
        cfg = configure(None, [*SMALL, "DATASET.TEST.BATCH_SIZE", size])
        found.append(evaluate(lambda image: network(image)[0], data.load(cfg, 0, CPU).test, CPU))
    assert found[0][:2] == found[1][:2] and found[0].loss == pytest.approx(found[1].loss, rel=1e-5)


def algorithms():
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
        torch.backends.cudnn.benchmark,
    )


def test_a_gpu_repeats_itself_in_fp32_and_is_quick_in_bf16(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = algorithms()
    try:
        choose_kernels("fp32", CPU)
        assert algorithms() == before and "CUBLAS_WORKSPACE_CONFIG" not in os.environ
        choose_kernels("fp32", torch.device("cuda:1"))
        assert algorithms() == (True, True, False, False) and os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        choose_kernels("bf16", torch.device("cuda"))
        assert algorithms() == (False, True, False, True)
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory, torch.backends.cudnn.benchmark = before[2:]


def trained(tmp_path, monkeypatch, *options, layout="never"):
    monkeypatch.chdir(tmp_path)
    cfg = configure(None, [*SMALL, "SOLVER.CHANNELS_LAST", layout, *options])
    torch.manual_seed(0)
    dataset = data.load(cfg, 0, CPU, memory_format=precision.memory_format(layout))
    method = Vanilla(cifar_model_dict["resnet8"][0](num_classes=10))
    trainer = Trainer("run", method, dataset.train, dataset.test, cfg, progress=Silent())
    return [trainer.train_epoch(epoch)["train_loss"] for epoch in (1, 2)]


def test_layout_and_precision_learn_alike(tmp_path, monkeypatch):
    plain = trained(tmp_path, monkeypatch)
    assert trained(tmp_path, monkeypatch) == plain  # fp32: the same to the last bit
    last = trained(tmp_path, monkeypatch, layout="always")
    assert last == trained(tmp_path, monkeypatch, layout="always")
    assert last == pytest.approx(plain, rel=1e-3)
    assert trained(tmp_path, monkeypatch, "SOLVER.PRECISION", "bf16", layout="always") == pytest.approx(plain, rel=0.05)
