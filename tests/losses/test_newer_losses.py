"""The losses of the methods that came after mdistiller's against plain loops, and their edges."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mdistiller_icc.losses.catkd import catkd_loss
from mdistiller_icc.losses.crld import crld_loss
from mdistiller_icc.losses.ctkd import curriculum, curriculum_temperature
from mdistiller_icc.losses.dist import dist_loss
from mdistiller_icc.losses.dkd import dkd_loss
from mdistiller_icc.losses.dtkd import dtkd_loss
from mdistiller_icc.losses.gdkd import gdkd_loss
from mdistiller_icc.losses.kd import kd_loss
from mdistiller_icc.losses.mlkd import batch_alignment_loss, class_alignment_loss, instance_alignment_loss, selection
from mdistiller_icc.losses.nd import nd_loss
from mdistiller_icc.losses.nkd import nkd_loss, target_loss
from mdistiller_icc.losses.normkd import normkd_loss
from mdistiller_icc.losses.rld import rld_loss
from mdistiller_icc.losses.sdd import cells, sdd_loss
from mdistiller_icc.losses.standardise import standardise
from mdistiller_icc.losses.ttm import ttm_loss
from mdistiller_icc.losses.wkd import class_cost, linear_cka, wkd_loss
from tests.losses.every_loss import BATCH, Case, EveryLoss, channels, divergence, dot, random, softmax, unit

CLASSES = 6
TARGET = torch.tensor([0, 5, 2, 2, 1])


def rows(*tensors: Tensor) -> Any:
    return zip(*(tensor.tolist() for tensor in tensors), strict=True)


def columns(table: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    return list(zip(*table, strict=True))


def without(values: Sequence[float], dropped: int) -> list[float]:
    return [value for number, value in enumerate(values) if number != dropped]


def standardised(row: Sequence[float]) -> list[float]:
    mean, deviation = statistics.fmean(row), statistics.stdev(row)
    return [(x - mean) / deviation for x in row]


def correlation(a: Sequence[float], b: Sequence[float]) -> float:
    return statistics.correlation(a, b)


def dist_by_hand(student: Tensor, teacher: Tensor, temperature: float, beta: float, gamma: float) -> float:
    both = [[softmax(row, temperature) for row in logits.tolist()] for logits in (student, teacher)]
    inter = 1 - statistics.fmean(map(correlation, *both))
    intra = 1 - statistics.fmean(map(correlation, *map(columns, both)))
    return temperature**2 * (beta * inter + gamma * intra)


def instance_by_hand(student: Tensor, teacher: Tensor, temperatures: Any, weight: Tensor) -> float:
    return sum(
        T**2 * w * divergence(softmax(t, T), softmax(s, T)) / BATCH
        for T in temperatures
        for s, t, w in rows(student, teacher, weight)
    )


def relations_by_hand(student: Any, teacher: Any, weight: list[float]) -> float:
    """Σ over pairs of rows of the squared difference of their products, weighted by the first, over their number."""
    count = len(student)
    return sum(
        weight[i] * (dot(teacher[i], teacher[j]) - dot(student[i], student[j])) ** 2 / count
        for i in range(count)
        for j in range(count)
    )


def class_by_hand(student: Tensor, teacher: Tensor, temperatures: Any, weight: Tensor) -> float:
    found = 0.0
    for T in temperatures:
        both = [columns([softmax(row, T) for row in logits.tolist()]) for logits in (student, teacher)]
        found += relations_by_hand(*both, weight.tolist())
    return found


def batch_by_hand(student: Tensor, teacher: Tensor, temperatures: Any, weight: Tensor) -> float:
    found = 0.0
    for T in temperatures:
        both = [[softmax(row, T) for row in logits.tolist()] for logits in (student, teacher)]
        found += relations_by_hand(*both, weight.tolist())
    return found


def ttm_by_hand(student: Tensor, teacher: Tensor, gamma: float, weighted: bool = False) -> float:
    found = 0.0
    for s, t in rows(student, teacher):
        power = [p**gamma for p in softmax(t, 1)]
        total = sum(power)
        found += (total if weighted else 1) * divergence([p / total for p in power], softmax(s, 1))
    return found / BATCH


def nkd_by_hand(student: Tensor, teacher: Tensor, target: Tensor, gamma: float, temperature: float) -> float:
    found = 0.0
    for s, t, y in rows(student, teacher, target):
        found -= softmax(t, 1)[y] * math.log(softmax(s, 1)[y])
        p, q = (softmax(without(logits, y), temperature) for logits in (t, s))
        found -= gamma * temperature**2 * sum(a * math.log(b) for a, b in zip(p, q, strict=True))
    return found / BATCH


def rld_by_hand(
    student: Tensor, teacher: Tensor, target: Tensor, alpha: float, beta: float, temperature: float, sample: float
) -> float:
    found = 0.0
    for s, t, y in rows(student, teacher, target):
        sure_student, sure_teacher = softmax(s, sample)[y], max(softmax(t, sample))
        split = divergence([sure_teacher, 1 - sure_teacher], [sure_student, 1 - sure_student])
        below = [c for c in range(len(t)) if t[c] < t[y]]
        p, q = (softmax([logits[c] for c in below], temperature) for logits in (t, s))
        found += alpha * sample**2 * split + beta * temperature**2 * divergence(p, q)
    return found / BATCH


def sdd_by_hand(student: Tensor, teacher: Tensor, target: Tensor, loss: Any) -> float:
    found = 0.0
    for b in range(BATCH):
        y = int(target[b])
        right = [int(teacher[b, :, n].argmax()) == y for n in range(teacher.shape[2])]
        for n in range(teacher.shape[2]):
            one = student[b, :, n][None], teacher[b, :, n][None], target[b : b + 1], torch.ones(1).double()
            found += (2 if right[n] != right[0] else 1) * loss(*one).item()
    return found / (BATCH * teacher.shape[2])


def crld_by_hand(
    student: list[Tensor],
    teacher: list[Tensor],
    temperature: float,
    within: float,
    cross: float,
    within_threshold: float,
    cross_threshold: float,
) -> float:
    found = 0.0
    for sw, ss, tw, ts in rows(*student, *teacher):

        def kl(a: Any, b: Any) -> float:
            return temperature**2 * divergence(softmax(a, temperature), softmax(b, temperature))

        if max(softmax(tw, 1)) >= within_threshold:
            found += within * (kl(tw, sw) + kl(ts, ss))
        if max(softmax(ts, 1)) >= cross_threshold:
            found += cross * (kl(tw, ss) + kl(ts, sw))
    return found / BATCH


def crld(student: list[Tensor], teacher: list[Tensor], *settings: float) -> Tensor:
    return crld_loss(*student, *teacher, *settings)


def dtkd_by_hand(student: Tensor, teacher: Tensor, temperature: float) -> float:
    found = 0.0
    for s, t in rows(student, teacher):
        tau_s, tau_t = (2 * temperature * m / (max(s) + max(t)) for m in (max(s), max(t)))
        found += tau_s * tau_t * divergence(softmax(t, tau_t), softmax(s, tau_s))
    return found / BATCH


def gdkd_by_hand(
    student: Tensor, teacher: Tensor, k: int, split: float, first: float, rest: float, temperature: float
) -> float:
    found = 0.0
    for s, t in rows(student, teacher):
        order = sorted(range(len(t)), key=lambda c: -t[c])
        p, q = ([softmax(logits, temperature)[c] for c in order] for logits in (t, s))
        found += split * divergence([sum(p[:k]), sum(p[k:])], [sum(q[:k]), sum(q[k:])])
        for weight, part in ((first, slice(k)), (rest, slice(k, None))):
            a, b = ([x / sum(r[part]) for x in r[part]] for r in (p, q))
            found += weight * divergence(a, b)
    return found * temperature**2 / BATCH


def normkd_by_hand(student: Tensor, teacher: Tensor, norm: float) -> float:
    found = 0.0
    for s, t in rows(student, teacher):
        tau_s, tau_t = norm * statistics.stdev(s), norm * statistics.stdev(t)
        found += tau_t**2 * divergence(softmax(t, tau_t), softmax(s, tau_s))
    return found / BATCH


def catkd_by_hand(student: Tensor, teacher: Tensor, resolution: int, normalise: bool = False) -> float:
    errors = []
    for image_s, image_t in rows(student, teacher):
        for a, b in zip(channels(image_s, resolution), channels(image_t, resolution), strict=True):
            a, b = (unit(a), unit(b)) if normalise else (a, b)
            errors += [(x - y) ** 2 for x, y in zip(a, b, strict=True)]
    return sum(errors) / len(errors)


def wkd_by_hand(student: Tensor, teacher: Tensor, target: Tensor, cost: Tensor, temperature: float) -> float:
    """As it is published: among the C − 1 other classes of each image, with a kernel of its own."""
    found = 0.0
    for s, t, y in rows(student, teacher, target):
        a, b = (softmax(without(logits, y), temperature) for logits in (s, t))
        c = [without(row, y) for row in without(cost.tolist(), y)]
        n = range(len(a))
        kernel = [[math.exp(-c[i][j] / 0.05) for j in n] for i in n]
        u, v = [1 / len(a) for _ in n], [0.0 for _ in n]
        for _ in range(10):
            v = [b[j] / (sum(kernel[i][j] * u[i] for i in n) + 1e-8) for j in n]
            u = [a[i] / (sum(kernel[i][j] * v[j] for j in n) + 1e-8) for i in n]
        found += sum(u[i] * kernel[i][j] * v[j] * c[i][j] for i in n for j in n)
    return found / BATCH


def nd_by_hand(student: Tensor, teacher: Tensor, center: Tensor) -> float:
    along = [dot(s, unit(c)) / max(math.hypot(*s), math.hypot(*t)) for s, t, c in rows(student, teacher, center)]
    return 1 - statistics.fmean(along)


def standardised_kd(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return kd_loss(standardise(student), standardise(teacher), temperature)


def standardised_kd_by_hand(student: Tensor, teacher: Tensor, temperature: float) -> float:
    pairs = [(standardised(s), standardised(t)) for s, t in rows(student, teacher)]
    each = (divergence(softmax(t, temperature), softmax(s, temperature)) for s, t in pairs)
    return temperature**2 * statistics.fmean(each)


def cell_kd(student: Tensor, teacher: Tensor, _target: Tensor, weight: Tensor) -> Tensor:
    return kd_loss(student, teacher, 4.0, weight)


def cell_dkd(student: Tensor, teacher: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    return dkd_loss(student, teacher, target, 1.0, 8.0, 4.0, weight)


def cell_nkd(student: Tensor, teacher: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    return nkd_loss(student, teacher, target, 8.0, 4.0, weight)


LOGITS = random(BATCH, CLASSES, scale=2), random(BATCH, CLASSES, seed=1, scale=2)
VIEWS = [LOGITS[0], random(BATCH, CLASSES, seed=2, scale=2)], [LOGITS[1], random(BATCH, CLASSES, seed=3, scale=2)]
CELLS = random(BATCH, CLASSES, 5), random(BATCH, CLASSES, 5, seed=1)
WEIGHT = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0], dtype=torch.float64)
OF_CLASSES = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
TEMPERATURES = (4.0, 3.0, 2.0)
COST = class_cost(torch.corrcoef(random(CLASSES, 4, seed=5)), 1.0)
FEATURES = random(BATCH, 4), random(BATCH, 4, seed=1), random(BATCH, 4, seed=2)
MAPS = random(BATCH, 3, 4, 4), random(BATCH, 3, 8, 8, seed=1)

CASES = {
    "kd+ls": Case(standardised_kd, standardised_kd_by_hand, (*LOGITS, 2.0)),
    "dist": Case(dist_loss, dist_by_hand, (*LOGITS, 4.0, 2.0, 3.0)),
    "mlkd, images": Case(instance_alignment_loss, instance_by_hand, (*LOGITS, TEMPERATURES, WEIGHT)),
    "mlkd, classes": Case(class_alignment_loss, class_by_hand, (*LOGITS, TEMPERATURES, OF_CLASSES)),
    "mlkd, batch": Case(batch_alignment_loss, batch_by_hand, (*LOGITS, TEMPERATURES, WEIGHT)),
    "ttm": Case(ttm_loss, ttm_by_hand, (*LOGITS, 0.1)),
    "wttm": Case(ttm_loss, ttm_by_hand, (*LOGITS, 0.2, True)),
    "nkd": Case(nkd_loss, nkd_by_hand, (*LOGITS, TARGET, 1.5, 3.0)),
    "rld": Case(rld_loss, rld_by_hand, (*LOGITS, LOGITS[1].argsort(1)[:, 3], 1.5, 8.0, 4.0, 2.0)),
    "sdd, kd": Case(sdd_loss, sdd_by_hand, (*CELLS, CELLS[1][:, :, 0].argmax(1), cell_kd)),
    "sdd, dkd": Case(sdd_loss, sdd_by_hand, (*CELLS, TARGET, cell_dkd)),
    "sdd, nkd": Case(sdd_loss, sdd_by_hand, (*CELLS, TARGET, cell_nkd)),
    "crld": Case(crld, crld_by_hand, (*VIEWS, 4.0, 2.0, 0.5, 0.46, 0.6)),
    "dtkd": Case(dtkd_loss, dtkd_by_hand, (3 + LOGITS[0], 5 + LOGITS[1], 4.0)),
    "gdkd": Case(gdkd_loss, gdkd_by_hand, (*LOGITS, 2, 1.0, 2.0, 8.0, 4.0)),
    "normkd": Case(normkd_loss, normkd_by_hand, (*LOGITS, 2.0)),
    "catkd": Case(catkd_loss, catkd_by_hand, (*MAPS, 2)),
    "catkd, normalised": Case(catkd_loss, catkd_by_hand, (*MAPS, 4, True)),
    "wkd": Case(wkd_loss, wkd_by_hand, (*LOGITS, TARGET, COST, 4.0)),
    "nd": Case(nd_loss, nd_by_hand, FEATURES),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
class TestNewerLosses(EveryLoss):
    @pytest.mark.parametrize("scale", [1e4, -1e4])
    def test_extreme_logits_are_finite(self, case: Case, scale: float) -> None:
        def extreme(value: Any) -> Any:
            if isinstance(value, list):
                return [extreme(item) for item in value]
            return (scale * value.sign()).float()

        student, teacher, *rest = case.inputs
        rest = [value.float() if isinstance(value, Tensor) and value.is_floating_point() else value for value in rest]
        ours = extreme(student)
        parts = ours if isinstance(ours, list) else [ours]
        for other in (extreme(teacher), ours):
            for part in parts:
                part.grad = None
                part.requires_grad_()
            loss = case.loss(ours, other, *rest)
            loss.backward()
            assert loss.isfinite() and all(part.grad.isfinite().all() for part in parts)


def test_standardised_rows_have_mean_0_and_deviation_1_and_equal_logits_become_zeros() -> None:
    rows = standardise(torch.cat([5 + 3 * torch.randn(4, 7), torch.full((1, 7), 1e4)]))
    torch.testing.assert_close(rows.mean(1), torch.zeros(5), atol=1e-6, rtol=0)
    torch.testing.assert_close(rows.std(1), torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0]))


@given(st.floats(0.1, 50), st.floats(-50, 50))
def test_only_the_shape_of_standardised_logits_counts(scale: float, shift: float) -> None:
    student, teacher = LOGITS
    expected = standardised_kd(student, teacher, 2.0)
    torch.testing.assert_close(standardised_kd(scale * student + shift, teacher, 2.0), expected, rtol=1e-4, atol=1e-6)


def test_dist_does_not_see_the_scale_of_what_correlates() -> None:
    probability = torch.softmax(LOGITS[1], 1)
    assert dist_loss(probability.log(), probability.log(), 1.0, 2.0, 2.0).item() == pytest.approx(0, abs=1e-6)
    one = dist_loss(LOGITS[0][:1], LOGITS[1][:1], 1.0, 0.0, 1.0)
    assert one.item() == pytest.approx(1), "one image's columns do not vary"


@pytest.mark.parametrize("batch", [5, 6])
def test_mlkd_selects_what_the_teacher_is_less_sure_of(batch: int) -> None:
    teacher = random(batch, CLASSES, seed=4)
    probability = [softmax(row, 1) for row in teacher.tolist()]
    images, classes = [max(row) for row in probability], [sum(column) for column in columns(probability)]
    expected = [[float(x <= statistics.median(held)) for x in held] for held in (images, classes)]
    found = selection(teacher, per_sample=True)
    assert [mask.tolist() for mask in found] == expected
    shares = selection(teacher)
    assert [share.item() for share in shares] == [statistics.fmean(mask) for mask in expected]


def test_mlkds_released_weight_is_the_share_of_every_image() -> None:
    share = selection(LOGITS[1])[0]
    found = instance_alignment_loss(*LOGITS, TEMPERATURES, share)
    torch.testing.assert_close(found, share * instance_alignment_loss(*LOGITS, TEMPERATURES))


def test_ttms_teacher_is_softened_alone() -> None:
    softened = kd_loss(LOGITS[0], LOGITS[1] / 5, 1.0)
    torch.testing.assert_close(ttm_loss(*LOGITS, 0.2), softened)


def test_an_image_whose_label_the_teacher_ranks_last_teaches_rld_no_order() -> None:
    student = LOGITS[0].clone().requires_grad_()
    loss = rld_loss(student, LOGITS[1], LOGITS[1].argmin(1), 0.0, 8.0, 4.0, 1.0)
    loss.backward()
    assert loss.item() == 0 and torch.count_nonzero(student.grad) == 0


def test_rlds_order_leaves_out_what_the_teacher_ranks_above_the_label() -> None:
    teacher, target = torch.tensor([[5.0, 3.0, 3.0, 1.0, 0.0]]), torch.tensor([1])
    first, second = torch.tensor([[9.0, 1.0, 7.0, 2.0, 0.5]]), torch.tensor([[0.0, 4.0, -3.0, 2.0, 0.5]])
    losses = [rld_loss(student, teacher, target, 0.0, 1.0, 4.0, 1.0) for student in (first, second)]
    torch.testing.assert_close(*losses)


def test_two_classes_leave_nothing_to_rank() -> None:
    student, teacher, target = random(4, 2), random(4, 2, seed=1), torch.tensor([0, 1, 1, 0])
    cost = class_cost(torch.eye(2).double(), 1.0)
    alone = target_loss(student, teacher, target)
    torch.testing.assert_close(nkd_loss(student, teacher, target, 8.0, 4.0), alone)
    moved = wkd_loss(student, teacher, target, cost, 4.0)
    assert moved.item() == pytest.approx(0, abs=1e-6)


def test_sdds_cells_are_averages_and_the_first_is_the_whole_image() -> None:
    feature = random(2, 3, 8, 8)
    found = cells(feature, (1, 2, 4))
    assert found.shape == (2, 3, 21)
    torch.testing.assert_close(found[:, :, 0], feature.mean((2, 3)))
    torch.testing.assert_close(found[:, :, 2], feature[:, :, :4, 4:].mean((2, 3)))
    torch.testing.assert_close(found[:, :, -1], feature[:, :, 6:, 6:].mean((2, 3)))
    odd = feature[:, :, :7, :7]  # whose quarters are averages of sixteenths that overlap, as published
    rows, weights = odd.new_tensor([[1, 1, 0, 0, 0, 0, 0], [0, 1, 1, 1, 0, 0, 0]]), odd.new_tensor([2, 3])
    half = (rows / weights[:, None]).mean(0)
    for scales in ((1, 2), (1, 2, 4)):
        torch.testing.assert_close(cells(odd, scales)[:, :, 1], torch.einsum("bdhw,h,w->bd", odd, half, half))


def test_sdd_of_the_whole_image_alone_is_the_loss_itself() -> None:
    student, teacher = LOGITS
    found = sdd_loss(student[:, :, None], teacher[:, :, None], TARGET, cell_dkd)
    torch.testing.assert_close(found, cell_dkd(student, teacher, TARGET))


def test_sdd_counts_complementary_cells_twice() -> None:
    teacher = torch.tensor([[[9.0, 0.0, 9.0], [0.0, 9.0, 0.0]]])  # right, wrong, right on class 0
    seen = []
    sdd_loss(teacher, teacher, torch.tensor([0]), lambda s, _t, _y, w: seen.append(w) or s.mean())
    assert seen[0].tolist() == [1, 2, 1]


def test_crld_learns_nothing_where_the_teacher_is_unsure() -> None:
    (weak, strong), (sure, unsure) = VIEWS[0], (1e3 * LOGITS[1], torch.zeros(BATCH, CLASSES).double())
    assert crld_loss(weak, strong, unsure, unsure, 4.0, 2.0, 0.5, 0.9, 0.2).item() == 0
    within = crld_loss(weak, strong, sure, unsure, 4.0, 1.0, 7.0, 0.9, 0.2)
    torch.testing.assert_close(within, kd_loss(weak, sure, 4.0) + kd_loss(strong, unsure, 4.0))


def test_dtkds_temperatures_differ_by_the_largest_logits_and_have_the_mean_that_is_asked_for() -> None:
    teacher = 5 + LOGITS[1]
    torch.testing.assert_close(dtkd_loss(teacher, teacher, 4.0), torch.tensor(0.0).double())
    torch.testing.assert_close(dtkd_loss(3 * teacher, teacher, 4.0), torch.tensor(0.0).double(), atol=1e-9, rtol=0)


def test_gdkd_of_the_first_class_is_dkd_where_the_teacher_is_right() -> None:
    target = LOGITS[1].argmax(1)
    found = gdkd_loss(*LOGITS, 1, 1.5, 3.0, 8.0, 4.0)
    torch.testing.assert_close(found, dkd_loss(*LOGITS, target, 1.5, 8.0, 4.0))
    with pytest.raises(ValueError, match="the first 6 of 6 classes leave none"):
        gdkd_loss(*LOGITS, 6, 1.0, 1.0, 1.0, 4.0)


def test_normkd_is_standardised_kd_weighted_by_the_teachers_deviation() -> None:
    teacher = 3 * standardise(LOGITS[1])
    torch.testing.assert_close(
        normkd_loss(LOGITS[0], teacher, 2.0), 9 * standardised_kd(LOGITS[0], teacher, 2.0), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("positions, dim", [(5, 4), (4, 6)])
def test_cka_against_a_loop(positions: int, dim: int) -> None:
    classes = 3
    features = random(classes, positions, dim, seed=7)
    means = [[statistics.fmean(column) for column in columns(one)] for one in features.tolist()]
    centred = [
        [[x - m for x, m in zip(row, mean, strict=True)] for row in one]
        for one, mean in zip(features.tolist(), means, strict=True)
    ]

    def shared(i: int, j: int) -> float:
        return sum(dot(a, b) ** 2 for a in columns(centred[i]) for b in columns(centred[j]))

    expected = [[shared(i, j) / math.sqrt(shared(i, i) * shared(j, j)) for j in range(3)] for i in range(3)]
    torch.testing.assert_close(linear_cka(features), torch.tensor(expected, dtype=torch.float64))
    turned = torch.linalg.qr(random(dim, dim, seed=8))[0]
    alike = linear_cka(torch.stack([features[0], 3 * features[0] @ turned + 1, features[1]]))
    torch.testing.assert_close(alike[0, 1], torch.ones((), dtype=torch.float64))
    assert torch.isfinite(linear_cka(torch.ones(2, 3, 4))).all()


def test_wkd_moves_little_between_classes_that_are_alike() -> None:
    assert COST.diagonal().tolist() == pytest.approx([1e-8] * CLASSES)
    far, near = class_cost(torch.eye(CLASSES).double(), 1.0), class_cost(0.1 * torch.eye(CLASSES).double() + 0.9, 1.0)
    assert wkd_loss(*LOGITS, TARGET, near, 4.0) < 0.5 * wkd_loss(*LOGITS, TARGET, far, 4.0)


def test_nd_of_features_of_zero_gets_a_bounded_gradient() -> None:
    student = torch.zeros(3, 4, requires_grad=True)
    nd_loss(student, torch.zeros(3, 4), torch.randn(3, 4)).backward()
    assert 0 < student.grad.abs().max() < 10


def test_nd_asks_for_the_centers_direction_at_the_teachers_length() -> None:
    center = FEATURES[2]
    teacher = 3 * F.normalize(FEATURES[1], dim=1)
    assert nd_loss(5 * center, teacher, center).item() == pytest.approx(0)
    short = nd_loss(1.5 * F.normalize(center, dim=1), teacher, center)
    assert short.item() == pytest.approx(0.5)
    assert nd_loss(torch.zeros(2, 4), torch.zeros(2, 4), torch.zeros(2, 4)).item() == 1


@pytest.mark.parametrize("epoch", [1, 5, 10, 240])
def test_ctkds_temperature_learns_against_the_student(epoch: int) -> None:
    factor = curriculum(epoch, 10)
    assert factor == pytest.approx(-(1 - math.cos(math.pi * min(epoch, 10) / 10)) / 2)
    theta = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    temperature = curriculum_temperature(theta, factor, 1.0, 20.0)
    assert temperature.item() == pytest.approx(1 + 20 / (1 + math.exp(-0.7)))
    kd_loss(*LOGITS, temperature).backward()
    reversed_gradient, theta.grad = theta.grad.clone(), None

    def loss(theta: Tensor) -> Tensor:
        return kd_loss(*LOGITS, 1 + 20 * theta.sigmoid())

    assert torch.autograd.gradcheck(loss, theta)
    loss(theta).backward()
    assert reversed_gradient.item() == pytest.approx(factor * theta.grad.item())
