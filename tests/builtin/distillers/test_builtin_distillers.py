"""Every method of the built-in host: mdistiller's contract, a frozen teacher, autocast, and that it learns."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.builtin.config import CFG
from mdistiller_icc.builtin.distillers import distiller_dict
from mdistiller_icc.builtin.models import cifar_model_dict
from mdistiller_icc.distillers.base import Distiller

IMAGES = 32
METHODS = list(distiller_dict)
STUDENTS = [method for method in METHODS if method != "NONE"]


def network(architecture: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return cifar_model_dict[architecture][0](num_classes=10)


def build(method: str, *options: Any, teacher: str = "resnet14", student: str = "resnet8") -> Distiller:
    cfg = CFG.clone()
    cfg.merge_from_list(["CRD.NCE.K", 12, *options])
    arguments: list[Any] = [network(student, 0), network(teacher, 1), cfg]
    return distiller_dict[method](*arguments, *[IMAGES] * (method == "CRD")).train()


def batch(seed: int = 0, size: int = 8) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    index = torch.randperm(IMAGES, generator=generator)[:size]
    negatives = torch.randint(IMAGES, (size, 12), generator=generator)
    return {
        "image": torch.randn(size, 3, 32, 32, generator=generator),
        "target": torch.randint(10, (size,), generator=generator),
        "index": index,
        "contrastive_index": torch.cat([index[:, None], negatives], dim=1),
        "epoch": 40,
    }


def state(module: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(module.state_dict())


@pytest.mark.parametrize("method", METHODS)
def test_step_keeps_to_the_contract_and_learns(method: str) -> None:
    distiller = build(method, "CRD.NCE.MOMENTUM", 1.0)  # a memory that stands still, for a loss that can only fall
    teacher_before = state(distiller.teacher) if distiller.teacher else {}
    parameters = distiller.get_learnable_parameters()
    optimizer = torch.optim.SGD(parameters, lr=0.002)
    history = []
    for _ in range(4):
        logits, losses = distiller(**batch())
        assert list(losses) == (["loss_ce"] if method == "NONE" else ["loss_ce", "loss_kd"])
        assert logits.shape == (8, 10) and all(loss.shape == () for loss in losses.values())
        loss = sum(losses.values())
        optimizer.zero_grad()
        loss.backward()
        missing = [name for name, p in distiller.named_parameters() if p.requires_grad and p.grad is None]
        assert missing == []
        nn.utils.clip_grad_norm_(parameters, 10)
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < history[0]
    if distiller.teacher:
        assert not distiller.teacher.training
        torch.testing.assert_close(distiller.teacher.state_dict(), teacher_before, rtol=0, atol=0)
        assert all(p.grad is None for p in distiller.teacher.parameters())
        assert not {id(p) for p in parameters} & {id(p) for p in distiller.teacher.parameters()}


@pytest.mark.parametrize("method", STUDENTS)
def test_constructor_leaves_both_networks_as_they_were(method: str) -> None:
    student, teacher = network("resnet8", 0), network("resnet14", 1)
    before = state(student), state(teacher)
    distiller_dict[method](student, teacher, CFG.clone(), *[IMAGES] * (method == "CRD"))
    torch.testing.assert_close(student.state_dict(), before[0], rtol=0, atol=0)
    torch.testing.assert_close(teacher.state_dict(), before[1], rtol=0, atol=0)
    assert student.training and all(module.training for module in student.modules())


@pytest.mark.parametrize("method", METHODS)
def test_bf16_autocast_gives_nearly_the_same_losses(method: str) -> None:
    exact = build(method)
    halved = copy.deepcopy(exact)
    _, expected = exact(**batch())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, losses = halved(**batch())
    sum(losses.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in halved.student.parameters())
    for name, loss in losses.items():
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(expected[name].item(), rel=0.1, abs=0.02)


@pytest.mark.parametrize("method", METHODS)
def test_state_dict_resumes_exactly(method: str) -> None:
    first = build(method)
    first(**batch(0))
    torch.manual_seed(99)
    second = build(method)
    second.load_state_dict(first.state_dict())
    for step in (1, 2):
        _, expected = first(**batch(step))
        _, losses = second(**batch(step))
        torch.testing.assert_close(losses, expected, rtol=0, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_evaluation_is_the_students(method: str) -> None:
    distiller = build(method).eval()
    image = batch()["image"]
    torch.testing.assert_close(distiller(image=image), distiller.student(image)[0], rtol=0, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_node_has_the_defaults_it_is_registered_with(method: str) -> None:
    defaults = distiller_dict[method].defaults()
    assert isinstance(defaults, CfgNode)
    assert CFG.get(method, CfgNode()) == defaults
    defaults["CHANGED"] = True
    assert "CHANGED" not in distiller_dict[method].defaults()


def test_vanilla_takes_a_student_alone_and_ignores_the_rest() -> None:
    student = network("resnet8", 0)
    alone, full = distiller_dict["NONE"](student), distiller_dict["NONE"](student, network("resnet14", 1), CFG)
    assert full.teacher is None and alone.get_extra_parameters() == 0


def test_extra_parameters_are_counted() -> None:
    counts = {method: build(method).get_extra_parameters() for method in METHODS}
    assert {method for method, count in counts.items() if count} == {"OFD", "FITNET", "CRD", "VID", "REVIEWKD"}
    assert counts["CRD"] == 2 * (64 * 128 + 128)


@pytest.mark.parametrize(("epoch", "share"), [(1, 0.05), (10, 0.5), (20, 1.0), (100, 1.0)])
@pytest.mark.parametrize("method", ["DKD", "REVIEWKD"])
def test_warmup(method: str, epoch: int, share: float) -> None:
    distiller = build(method)
    full = copy.deepcopy(distiller)(**batch())[1]["loss_kd"]
    loss = distiller(**batch() | {"epoch": epoch})[1]["loss_kd"]
    torch.testing.assert_close(loss, share * full)


@pytest.mark.parametrize("method", ["DKD", "REVIEWKD"])
def test_no_warmup(method: str) -> None:
    key = "DKD.WARMUP" if method == "DKD" else "REVIEWKD.WARMUP_EPOCHS"
    loss = build(method, key, 0)(**batch() | {"epoch": 1})[1]["loss_kd"]
    torch.testing.assert_close(loss, build(method)(**batch())[1]["loss_kd"])


WEIGHTS = {
    "KD": ("LOSS.CE_WEIGHT", "LOSS.KD_WEIGHT"),
    "DKD": ("CE_WEIGHT", "ALPHA"),
    "REVIEWKD": ("CE_WEIGHT", "REVIEWKD_WEIGHT"),
}


@pytest.mark.parametrize("method", STUDENTS)
def test_weights_are_read_from_the_node(method: str) -> None:
    weights = WEIGHTS.get(method, ("LOSS.CE_WEIGHT", "LOSS.FEAT_WEIGHT"))
    keys = [f"{method}.{weight}" for weight in weights] + ["DKD.BETA"] * (method == "DKD")
    off = build(method, *[item for key in keys for item in (key, 0.0)])
    _, losses = off(**batch())
    assert losses["loss_ce"].item() == 0 and losses["loss_kd"].item() == 0
