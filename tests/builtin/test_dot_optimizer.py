"""The DOT optimiser against plain loops, plain SGD, and its own resumed self."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mdistiller_icc.builtin.dot import DOT

LR, TASK, KD, DECAY = 0.1, 0.8, 0.95, 0.01


def parameters(count: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.full((2, 3), 1.0 + n, dtype=dtype, requires_grad=True) for n in range(count)]


def give(params: list[Tensor], gradients: list[float | None]) -> None:
    for p, g in zip(params, gradients, strict=True):
        p.grad = None if g is None else torch.full_like(p, g)


def by_hand(start: float, steps: list[tuple[float | None, float | None]]) -> float:
    """One number after steps of (task gradient, distillation gradient)."""
    x, task, kd = start, None, None
    for g, k in steps:
        mean = (TASK + KD) / 2
        moved = 0.0
        if g is not None:
            decayed = g + DECAY * x
            task = decayed if task is None else (TASK if k is not None else mean) * task + decayed
            moved += task
        if k is not None:
            if kd is None:
                kd = k
            else:
                kd = KD * kd + k if g is not None else mean * kd + k + DECAY * x
            moved += kd
        x -= LR * moved
    return x


gradient = st.none() | st.floats(-2, 2)


@settings(deadline=None)
@given(st.lists(st.lists(st.tuples(gradient, gradient), min_size=3, max_size=3), min_size=1, max_size=5))
def test_equals_the_loop(steps: list[list[tuple[float | None, float | None]]]) -> None:
    params = parameters(3)
    optimizer = DOT(params, lr=LR, momentum=TASK, momentum_kd=KD, weight_decay=DECAY)
    for step in steps:
        give(params, [k for _, k in step])
        optimizer.step_kd()
        give(params, [g for g, _ in step])
        optimizer.step()
    for n, p in enumerate(params):
        expected = by_hand(1.0 + n, [step[n] for step in steps])
        torch.testing.assert_close(p.detach(), torch.full_like(p, expected), rtol=1e-12, atol=1e-12)


def test_one_loss_and_one_momentum_is_sgd() -> None:
    ours, theirs = parameters(2), parameters(2)
    dot = DOT(ours, lr=LR, momentum=0.9, momentum_kd=0.9, weight_decay=DECAY)
    sgd = torch.optim.SGD(theirs, lr=LR, momentum=0.9, weight_decay=DECAY)
    for step in range(4):
        give(ours, [math.sin(step), 1.0])
        give(theirs, [math.sin(step), 1.0])
        dot.step()
        sgd.step()
    torch.testing.assert_close(ours, theirs)


def test_groups_have_settings_of_their_own() -> None:
    together = parameters(2)
    groups = [{"params": [together[0]], "lr": 0.3, "momentum": 0.1}, {"params": [together[1]], "weight_decay": 0.5}]
    apart = parameters(2)
    optimizers = [
        DOT(groups, lr=LR, momentum=TASK, momentum_kd=KD),
        DOT([apart[0]], lr=0.3, momentum=0.1, momentum_kd=KD),
        DOT([apart[1]], lr=LR, momentum=TASK, momentum_kd=KD, weight_decay=0.5),
    ]
    for step in range(3):
        for params in (together, apart):
            give(params, [1.0, math.cos(step)])
        for optimizer in optimizers:
            optimizer.step_kd()
        for params in (together, apart):
            give(params, [math.sin(step), -1.0])
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(together, apart)


def test_resumes_from_its_state() -> None:
    params = parameters(2, torch.float32)
    optimizer = DOT(params, lr=LR, momentum=TASK, momentum_kd=KD, weight_decay=DECAY)

    def step(optimizer: DOT, params: list[Tensor], size: float) -> None:
        give(params, [size, 1.0])
        optimizer.step_kd()
        give(params, [-size, None])
        optimizer.step()

    step(optimizer, params, 1.0)
    state = copy.deepcopy(optimizer.state_dict())
    again = [p.detach().clone().requires_grad_() for p in params]
    resumed = DOT(again, lr=7.0)
    resumed.load_state_dict(state)
    for size in (0.5, 2.0):
        step(optimizer, params, size)
        step(resumed, again, size)
    assert all(torch.equal(a, b) for a, b in zip(params, again, strict=True))


def test_distillation_gradients_are_taken_once_and_cleared() -> None:
    (p,) = params = parameters(1)
    optimizer = DOT(params, lr=LR, momentum=TASK, momentum_kd=KD)
    give(params, [1.0])
    optimizer.step_kd()
    assert p.grad is None
    optimizer.step()
    once = p.detach().clone()
    optimizer.step()
    assert torch.equal(p, once)


def test_the_learning_rate_of_the_moment_counts() -> None:
    (p,) = params = parameters(1)
    optimizer = DOT(params, lr=LR)
    optimizer.param_groups[0]["lr"] = 0.5
    give(params, [1.0])
    optimizer.step()
    assert p[0, 0].item() == 0.5


def test_closure_is_run_with_gradients() -> None:
    (p,) = params = parameters(1)
    optimizer = DOT(params, lr=LR)

    def closure() -> Tensor:
        loss = p.sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 6 and p[0, 0].item() == pytest.approx(0.9)


@pytest.mark.parametrize("name", ["lr", "momentum", "momentum_kd", "weight_decay"])
def test_negative_settings_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        DOT(parameters(1), **{"lr": 0.1, name: -1.0})
