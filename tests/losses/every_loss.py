"""What every loss has to keep to, and what the plain loops that they are compared with are made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

BATCH = 5


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def dot(a: Any, b: Any) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def unit(a: Any) -> list[float]:
    norm = math.sqrt(dot(a, a))
    return [x / norm for x in a]


def direction(a: list[float], b: list[float]) -> list[float]:
    """From a to b, of length 1; from a point to itself, 0."""
    return unit([y - x for x, y in zip(a, b, strict=True)]) if a != b else [0.0] * len(a)


def softmax(logits: Any, temperature: float) -> list[float]:
    powers = [math.exp(x / temperature) for x in logits]
    return [power / sum(powers) for power in powers]


def divergence(p: Any, q: Any) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def huber(a: float, b: float) -> float:
    return 0.5 * (a - b) ** 2 if abs(a - b) < 1 else abs(a - b) - 0.5


def pooled(feature: Any, size: int) -> Any:
    """A channel as nested lists, averaged to size × size; its side is a multiple of that."""
    step = len(feature) // size
    cells = range(step)
    return [
        [sum(feature[r * step + i][c * step + j] for i in cells for j in cells) / step**2 for c in range(size)]
        for r in range(size)
    ]


def channels(image: Any, size: int) -> list[list[float]]:
    """The channels of an image, pooled and flattened."""
    return [[x for row in pooled(channel, size) for x in row] for channel in image]


class Case(NamedTuple):
    loss: Callable[..., Tensor]
    by_hand: Callable[..., float]
    inputs: tuple[Any, ...]
    teacher: int = 1
    """Which of the inputs is the teacher's; the student's is the first."""


def mapped(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Apply to the floating-point tensors in an argument."""
    if isinstance(value, list):
        return [mapped(function, item) for item in value]
    return function(value) if isinstance(value, Tensor) and value.is_floating_point() else value


def leaves(value: Any) -> list[Tensor]:
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, list) else [value]


class EveryLoss:
    """What every loss has to keep to; a subclass is parametrised with its cases."""

    def test_equals_the_loop(self, case: Case) -> None:
        # 1e-6: the loops have no guards against division by zero, whose constants are about 1e-7
        assert case.loss(*case.inputs).item() == pytest.approx(case.by_hand(*case.inputs), rel=1e-6)

    def test_gradient(self, case: Case) -> None:
        student = [leaf.clone().requires_grad_() for leaf in leaves(case.inputs[0])]

        def loss(*parts: Tensor) -> Tensor:
            return case.loss(list(parts) if isinstance(case.inputs[0], list) else parts[0], *case.inputs[1:])

        assert torch.autograd.gradcheck(loss, student, check_undefined_grad=False)

    def test_the_teacher_gets_no_gradient(self, case: Case) -> None:
        inputs = list(case.inputs)
        for position in (0, case.teacher):
            inputs[position] = mapped(lambda t: t.clone().requires_grad_(), inputs[position])
        case.loss(*inputs).backward()
        assert all(leaf.grad is None for leaf in leaves(inputs[case.teacher]))
        assert all(leaf.grad.isfinite().all() and leaf.grad.abs().sum() > 0 for leaf in leaves(inputs[0]))

    @pytest.mark.parametrize("images", [2, BATCH])
    def test_outputs_of_zero_get_a_bounded_gradient(self, case: Case, images: int) -> None:
        """As a student's are whose classifier begins at zero; its first step must leave it whole."""
        student = mapped(lambda t: t.index_fill(0, torch.arange(images), 0.0).requires_grad_(), case.inputs[0])
        loss = case.loss(student, *case.inputs[1:])
        loss.backward()
        assert loss.isfinite() and all(leaf.grad.abs().max() < 1e3 for leaf in leaves(student))

    def test_outputs_that_are_not_finite_are_seen(self, case: Case) -> None:
        """By whoever looks at the loss; nothing is raised here."""
        student = mapped(lambda t: t.index_fill(0, torch.tensor([1]), math.nan).requires_grad_(), case.inputs[0])
        loss = case.loss(student, *case.inputs[1:])
        loss.backward()
        assert loss.isnan()

    def test_order_of_images_does_not_matter(self, case: Case) -> None:
        order = torch.tensor([3, 0, 4, 1, 2])

        def shuffled(value: Any) -> Any:
            if isinstance(value, list):
                return [shuffled(item) for item in value]
            return value[order] if isinstance(value, Tensor) and value.shape[:1] == (BATCH,) else value

        torch.testing.assert_close(case.loss(*map(shuffled, case.inputs)), case.loss(*case.inputs))

    def test_half_precision_computes_in_float32_even_under_autocast(self, case: Case) -> None:
        half = [mapped(Tensor.bfloat16, value) for value in case.inputs]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = case.loss(*half)
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, case.loss(*(mapped(Tensor.float, value) for value in half)))
        torch.testing.assert_close(loss.double(), case.loss(*case.inputs).double(), rtol=0.05, atol=0)
