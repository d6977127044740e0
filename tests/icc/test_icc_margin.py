"""The margin gate, Definition 3.1."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mdistiller_icc.losses.margin import margin


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(2, 7), st.floats(0.1, 30.0))
def test_equals_the_definition(seed, batch, classes, scale):
    source = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, generator=source, dtype=torch.float64) * scale
    target = torch.randint(classes, (batch,), generator=source)
    for row, label, rho in zip(logits.tolist(), target.tolist(), margin(logits, target).tolist(), strict=True):
        exponentials = [math.exp(o - max(row)) for o in row]
        p = [e / math.fsum(exponentials) for e in exponentials]
        assert rho == pytest.approx(p[label] - max(p[:label] + p[label + 1 :]), abs=1e-12)


def test_a_single_class_has_no_rival():
    assert margin(torch.randn(3, 1), torch.zeros(3, dtype=torch.long)).tolist() == [1.0] * 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_huge_logits(dtype):
    logits = torch.tensor([[6e4, -6e4, 0.0], [-6e4, 6e4, 0.0]], dtype=dtype)
    assert margin(logits, torch.tensor([0, 0])).tolist() == [1.0, -1.0]
