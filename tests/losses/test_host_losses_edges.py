"""Where mdistiller's losses break down, ours must not: extremes, empty features, memory."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mdistiller_icc.losses.at import at_loss
from mdistiller_icc.losses.crd import crd_loss, log_normaliser, log_totals
from mdistiller_icc.losses.dkd import dkd_loss
from mdistiller_icc.losses.kd import kd_loss
from mdistiller_icc.losses.kdsvd import kdsvd_loss
from mdistiller_icc.losses.nst import nst_loss
from mdistiller_icc.losses.ofd import negative_margin, ofd_loss
from mdistiller_icc.losses.pkt import pkt_loss
from mdistiller_icc.losses.resolution import same_resolution
from mdistiller_icc.losses.rkd import rkd_loss
from mdistiller_icc.losses.sp import sp_loss


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor made while it is on, views of the known ones aside."""

    elements = 0

    def __init__(self, *known: Tensor) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage().data_ptr() for tensor in known}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in self.known:
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return result


def finite(loss: Tensor, *inputs: Tensor) -> bool:
    loss.backward()
    return bool(loss.isfinite()) and all(bool(t.grad.isfinite().all()) for t in inputs)


@settings(deadline=None)
@given(st.floats(1, 1e6), st.integers(2, 7), st.integers(0, 99))
def test_logit_losses_are_finite_at_any_scale(scale: float, classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    student = (scale * torch.randn(4, classes, generator=generator)).requires_grad_()
    teacher = scale * torch.randn(4, classes, generator=generator)
    target = torch.randint(classes, (4,), generator=generator)
    assert finite(dkd_loss(student, teacher, target, 1.0, 8.0, 4.0), student)
    assert finite(kd_loss(student, teacher, 4.0), student)


def test_dkd_ranks_nothing_among_one_other_class() -> None:
    student, teacher = torch.randn(4, 2), torch.randn(4, 2)
    assert dkd_loss(student, teacher, torch.tensor([0, 1, 1, 0]), 0.0, 8.0, 4.0).item() == 0


def test_dkd_keeps_the_target_out_of_the_rest_however_large_its_logit() -> None:
    student, teacher, target = torch.randn(4, 5), torch.randn(4, 5), torch.tensor([0, 1, 2, 3])
    shift = 1e5 * F.one_hot(target, 5)
    plain = dkd_loss(student, teacher, target, 0.0, 1.0, 4.0)
    torch.testing.assert_close(dkd_loss(student + shift, teacher + shift, target, 0.0, 1.0, 4.0), plain)


def test_rkd_of_one_image_is_nothing() -> None:
    student = torch.randn(1, 6, requires_grad=True)
    loss = rkd_loss(student, torch.randn(1, 3), 25.0, 50.0)
    assert loss.item() == 0 and finite(loss, student)


def test_rkd_of_images_that_coincide_is_finite() -> None:
    student = torch.randn(2, 6).repeat(3, 1).requires_grad_()
    assert finite(rkd_loss(student, torch.randn(2, 3).repeat(3, 1), 25.0, 50.0), student)


def test_rkd_squared_compares_squared_distances() -> None:
    student, teacher = torch.randn(4, 6).double(), torch.randn(4, 3).double()
    relative = []
    for rows in (student, teacher):
        distance = torch.cdist(rows, rows).square()
        relative.append(distance / (distance.sum() / 12))
    expected = F.smooth_l1_loss(*relative)
    torch.testing.assert_close(rkd_loss(student, teacher, 1.0, 0.0, squared=True), expected)


@pytest.mark.parametrize("loss", [pkt_loss, sp_loss])
def test_features_of_zero_are_finite(loss) -> None:
    student = torch.zeros(4, 6, requires_grad=True)
    assert finite(loss(student, torch.zeros(4, 3)), student)


def test_silent_stages_are_finite() -> None:
    student = [torch.zeros(2, 3, 4, 4, requires_grad=True) for _ in range(2)]
    teacher = [torch.rand(2, 5, 4, 4) for _ in range(2)]
    for loss in (at_loss(student, teacher, 2.0), nst_loss(student, teacher), kdsvd_loss(student, teacher, 1)):
        assert finite(loss, *student)


def test_singular_values_that_coincide_leave_the_gradient_finite() -> None:
    student = [torch.eye(6).repeat(2, 3, 1, 1).requires_grad_() for _ in range(2)]
    teacher = [torch.rand(2, 5, 6, 6) for _ in range(2)]
    assert finite(kdsvd_loss(student, teacher, 1), *student)


@pytest.mark.parametrize(("channels", "side"), [(512, 4), (48, 14)])
def test_nst_builds_no_more_than_a_matrix_per_image(channels: int, side: int) -> None:
    student, teacher = (torch.rand(2, channels, side, side) for _ in range(2))
    with Largest(student, teacher) as largest:
        nst_loss([student], [teacher])
    assert largest.elements <= max(student.numel(), 2 * min(channels, side**2) ** 2)


@pytest.mark.parametrize("rows", [2000, 40_000])
def test_crd_builds_the_smaller_of_scores_and_rows(rows: int) -> None:
    feature = F.normalize(torch.randn(64, 32)).requires_grad_()
    memory, candidates = torch.randn(rows, 32), torch.randint(rows, (64, 1001))
    with Largest(memory) as largest:
        crd_loss(feature, memory, candidates, 0.07, torch.tensor(0.0)).backward()
    assert 64 * 1001 <= largest.elements <= min(64 * rows, 64 * 1001 * 32)


@pytest.mark.parametrize("rows", [20, 200], ids=["whole memory", "candidates' rows"])
def test_crds_gradient_is_of_the_memory_it_was_computed_from(rows: int) -> None:
    feature = F.normalize(torch.randn(4, 8)).requires_grad_()
    memory, candidates = torch.randn(rows, 8), torch.randint(rows, (4, 11))
    (expected,) = torch.autograd.grad(crd_loss(feature, memory, candidates, 0.1, torch.tensor(1.0)), feature)
    loss = crd_loss(feature, memory, candidates, 0.1, torch.tensor(1.0))
    memory.zero_()
    (gradient,) = torch.autograd.grad(loss, feature)
    torch.testing.assert_close(gradient, expected)


def test_crd_is_finite_far_from_the_truth() -> None:
    feature = 100 * F.normalize(torch.randn(4, 8)).requires_grad_()
    feature.retain_grad()
    assert finite(crd_loss(feature, torch.randn(20, 8), torch.randint(20, (4, 11)), 0.07, torch.tensor(0.0)), feature)


def test_crds_normaliser_makes_scores_average_one_in_n() -> None:
    feature, memory = F.normalize(torch.randn(4, 8)), F.normalize(torch.randn(20, 8))
    candidates = torch.randint(20, (4, 11))
    log_z = log_normaliser(log_totals(feature, memory, candidates, 0.1), 11, 20)
    probability = torch.exp((feature @ memory.T).gather(1, candidates) / 0.1 - log_z)
    assert probability.mean().item() == pytest.approx(1 / 20, rel=1e-4)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-1.3, 0.4), (0.9, 0.7)])
def test_ofds_margin_is_the_mean_of_what_is_negative(mean: float, std: float) -> None:
    steps = torch.linspace(mean - 12 * std, 0, 200_001, dtype=torch.float64)
    density = torch.exp(-(((steps - mean) / std) ** 2) / 2)
    expected = torch.trapezoid(steps * density, steps) / torch.trapezoid(density, steps)
    found = negative_margin(torch.tensor([-std], dtype=torch.float64), torch.tensor([mean], dtype=torch.float64))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_ofds_margin_of_channels_that_are_hardly_ever_negative_or_constant() -> None:
    found = negative_margin(torch.tensor([0.5, 0.0, 0.0, 0.0]), torch.tensor([10.0, 1.0, -1.0, 0.0]))
    assert found.tolist() == [-1.5, 0.0, -1.0, 0.0]


def test_ofd_asks_nothing_where_both_are_silent() -> None:
    student = torch.full((2, 1, 2, 2), -3.0, requires_grad=True)
    loss = ofd_loss([student], [torch.full((2, 1, 2, 2), -1.0)], [torch.tensor([-0.5])])
    loss.backward()
    assert loss.item() == 0 and torch.count_nonzero(student.grad) == 0


def test_maps_meet_at_the_smaller_height_and_width() -> None:
    first, second = same_resolution(torch.rand(1, 2, 8, 4), torch.rand(1, 3, 4, 6))
    assert first.shape == (1, 2, 4, 4) and second.shape == (1, 3, 4, 4)


def test_crd_without_negatives_is_the_cost_of_missing_the_truth() -> None:
    feature, memory = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    loss = crd_loss(feature, memory, torch.tensor([[0]]), 1.0, torch.tensor(0.0))
    assert loss.item() == pytest.approx(math.log((math.e + 1e-7) / math.e), abs=1e-6)
