"""The losses of mdistiller's methods against plain loops, and what every loss has to keep to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.at import at_loss
from mdistiller_icc.losses.crd import crd_loss
from mdistiller_icc.losses.dkd import dkd_loss
from mdistiller_icc.losses.fitnet import hint_loss
from mdistiller_icc.losses.kd import kd_loss
from mdistiller_icc.losses.kdsvd import kdsvd_loss
from mdistiller_icc.losses.nst import nst_loss
from mdistiller_icc.losses.ofd import ofd_loss
from mdistiller_icc.losses.pkt import pkt_loss
from mdistiller_icc.losses.reviewkd import hcl_loss
from mdistiller_icc.losses.rkd import rkd_loss
from mdistiller_icc.losses.sp import sp_loss
from mdistiller_icc.losses.vid import vid_loss
from tests.losses.every_loss import (
    BATCH,
    Case,
    EveryLoss,
    channels,
    direction,
    divergence,
    dot,
    huber,
    pooled,
    random,
    softmax,
    unit,
)


def kd_by_hand(student: Tensor, teacher: Tensor, temperature: float) -> float:
    rows = zip(student.tolist(), teacher.tolist(), strict=True)
    total = sum(divergence(softmax(t, temperature), softmax(s, temperature)) for s, t in rows)
    return total * temperature**2 / BATCH


def dkd_by_hand(
    student: Tensor, teacher: Tensor, target: Tensor, alpha: float, beta: float, temperature: float
) -> float:
    total = 0.0
    for s, t, y in zip(student.tolist(), teacher.tolist(), target.tolist(), strict=True):
        p, q = softmax(t, temperature), softmax(s, temperature)
        rest = [[x / (1 - r[y]) for c, x in enumerate(r) if c != y] for r in (p, q)]
        total += alpha * divergence([p[y], 1 - p[y]], [q[y], 1 - q[y]]) + beta * divergence(*rest)
    return total * temperature**2 / BATCH


def rkd_by_hand(student: Tensor, teacher: Tensor, by_distance: float, by_angle: float) -> float:
    relations = []
    for rows in (student.tolist(), teacher.tolist()):
        distance = [[math.dist(a, b) for b in rows] for a in rows]
        mean = sum(map(sum, distance)) / (BATCH * (BATCH - 1))
        towards = [[direction(a, b) for b in rows] for a in rows]
        angle = [dot(from_i[j], from_i[k]) for from_i in towards for j in range(BATCH) for k in range(BATCH)]
        relations.append(([d / mean for row in distance for d in row], angle))
    (d_student, a_student), (d_teacher, a_teacher) = relations
    distances = sum(map(huber, d_student, d_teacher)) / BATCH**2
    angles = sum(map(huber, a_student, a_teacher)) / BATCH**3
    return by_distance * distances + by_angle * angles


def pkt_by_hand(student: Tensor, teacher: Tensor) -> float:
    found = []
    for rows in (student.tolist(), teacher.tolist()):
        kernel = [[(dot(unit(a), unit(b)) + 1) / 2 for b in rows] for a in rows]
        found.append([[k / sum(row) for k in row] for row in kernel])
    q, p = found
    return sum(divergence(a, b) for a, b in zip(p, q, strict=True)) / BATCH**2


def sp_by_hand(student: Tensor, teacher: Tensor) -> float:
    both = student.flatten(1).tolist(), teacher.tolist()
    grams = [[unit([dot(a, b) for b in rows]) for a in rows] for rows in both]
    return sum((x - y) ** 2 for a, b in zip(*grams, strict=True) for x, y in zip(a, b, strict=True)) / BATCH**2


def crd_by_hand(feature: Tensor, memory: Tensor, candidates: Tensor, temperature: float, log_z: Tensor) -> float:
    noise = (candidates.shape[1] - 1) / len(memory)
    total = 0.0
    for row, picked in zip(feature.tolist(), candidates.tolist(), strict=True):
        for k, number in enumerate(picked):
            p = math.exp(dot(row, memory[number].tolist()) / temperature - log_z.item())
            total -= math.log((noise if k else p) / (p + noise + 1e-7))
    return total / BATCH


def at_by_hand(student: list[Tensor], teacher: list[Tensor], p: float) -> float:
    total = 0.0
    for ours, theirs in zip(student, teacher, strict=True):
        size = min(ours.shape[2], theirs.shape[2])
        for pair in zip(ours.tolist(), theirs.tolist(), strict=True):
            maps = [unit([sum(abs(x) ** p for x in at) for at in zip(*channels(im, size), strict=True)]) for im in pair]
            total += sum((x - y) ** 2 for x, y in zip(*maps, strict=True)) / (BATCH * size**2)
    return total


def nst_by_hand(student: list[Tensor], teacher: list[Tensor]) -> float:
    def kernel(a: Any, b: Any) -> float:
        return sum(dot(x, y) ** 2 for x in a for y in b) / (len(a) * len(b))

    total = 0.0
    for ours, theirs in zip(student, teacher, strict=True):
        size = min(ours.shape[2], theirs.shape[2])
        for pair in zip(ours.tolist(), theirs.tolist(), strict=True):
            s, t = ([unit(channel) for channel in channels(image, size)] for image in pair)
            total += (kernel(t, t) + kernel(s, s) - 2 * kernel(s, t)) / BATCH
    return total


def kdsvd_by_hand(student: list[Tensor], teacher: list[Tensor], k: int) -> float:
    total = 0.0
    for image in range(BATCH):
        before: list[tuple[Any, Any]] = []
        for ours, theirs in zip(student, teacher, strict=True):
            width = min(ours.shape[3], theirs.shape[3])
            s, t = (np.array([pooled(c, width) for c in f[image].tolist()]).reshape(-1, width) for f in (ours, theirs))
            v_s, (_, values, v_t) = np.linalg.svd(s, full_matrices=False)[2], np.linalg.svd(t, full_matrices=False)
            share = values[:k] / np.linalg.norm(values[:k])
            matched = []
            for vector in v_t[:k]:
                cosine = [float(v @ vector) for v in v_s[: k + 3]]
                best = max(range(len(cosine)), key=lambda j: abs(cosine[j]))
                matched.append(v_s[best] * math.copysign(1, cosine[best]))
            before.append((np.array(matched) * share[:, None], v_t[:k] * share[:, None]))
        for (s0, t0), (s1, t1) in zip(before, before[1:], strict=False):
            for d in range(k):
                for w1 in range(s1.shape[1]):
                    for w0 in range(s0.shape[1]):
                        ours = math.exp(-((s1[d, w1] - s0[d, w0]) ** 2) / 8)
                        total += (ours - math.exp(-((t1[d, w1] - t0[d, w0]) ** 2) / 8)) ** 2
    return total / BATCH


def ofd_by_hand(student: list[Tensor], teacher: list[Tensor], margins: list[Tensor]) -> float:
    total = 0.0
    for stage, (ours, theirs, least) in enumerate(zip(student, teacher, margins, strict=True)):
        part, size = 0.0, ours.shape[2]
        for image_s, image_t in zip(ours.tolist(), theirs.tolist(), strict=True):
            for a, b, m in zip(channels(image_s, size), channels(image_t, size), least.tolist(), strict=True):
                for s, t in zip(a, b, strict=True):
                    if t > 0:
                        part += (s - t) ** 2
                    elif t > m:
                        part += (s - t) ** 2 if s > t else 0
                    else:
                        part += (s - m) ** 2 if s > m else 0
        total += part / BATCH / 2 ** (len(student) - stage - 1)
    return total


def vid_by_hand(mean: Tensor, log_scale: Tensor, teacher: Tensor, eps: float) -> float:
    total = 0.0
    for ours, theirs in zip(mean.tolist(), teacher.tolist(), strict=True):
        for a, b, scale in zip(channels(ours, 4), channels(theirs, 4), log_scale.tolist(), strict=True):
            variance = math.log(1 + math.exp(scale)) + eps
            total += sum(0.5 * ((x - y) ** 2 / variance + math.log(variance)) for x, y in zip(a, b, strict=True))
    return total / mean.numel()


def hint_by_hand(student: Tensor, teacher: Tensor) -> float:
    pairs = zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True)
    return sum((x - y) ** 2 for x, y in pairs) / student.numel()


def hcl_by_hand(student: list[Tensor], teacher: list[Tensor]) -> float:
    total = 0.0
    for ours, theirs in zip(student, teacher, strict=True):
        side, weight, level, weights = ours.shape[2], 1.0, 0.0, 0.0
        for size in [side, *(size for size in (4, 2, 1) if size < side)]:
            errors = []
            for image_s, image_t in zip(ours.tolist(), theirs.tolist(), strict=True):
                for a, b in zip(channels(image_s, size), channels(image_t, size), strict=True):
                    errors += [(x - y) ** 2 for x, y in zip(a, b, strict=True)]
            level += weight * sum(errors) / len(errors)
            weights += weight
            weight /= 2
        total += level / weights
    return total


LOGITS = random(BATCH, 6, scale=2), random(BATCH, 6, seed=1, scale=2)
FEATURES = random(BATCH, 6), random(BATCH, 3, seed=1)
MAPS = (
    [random(BATCH, 3, 4, 4), random(BATCH, 7, 2, 2, seed=2)],
    [random(BATCH, 2, 8, 8, seed=1), random(BATCH, 6, 2, 2, seed=3)],
)
ALIKE = (
    [random(BATCH, 2, 8, 8), random(BATCH, 3, 4, 4, seed=2), random(BATCH, 4, 1, 1, seed=4)],
    [random(BATCH, 2, 8, 8, seed=1), random(BATCH, 3, 4, 4, seed=3), random(BATCH, 4, 1, 1, seed=5)],
)
CANDIDATES = torch.randint(11, (BATCH, 7), generator=torch.Generator().manual_seed(0))

SMALL = ([random(BATCH, 3, 8, 8), MAPS[0][0]], [random(BATCH, 2, 8, 8, seed=1), MAPS[1][0]])
LARGER = [random(BATCH, 2, 8, 8, seed=6), random(BATCH, 3, 8, 8, seed=7), ALIKE[1][2]]
MARGINS = [-torch.tensor([0.5, 0.1]), -torch.tensor([1.0, 0.3, 2.0]), -torch.tensor([0.2, 0.4, 0.6, 0.8])]
TWO_CLASSES = random(BATCH, 2), random(BATCH, 2, seed=1), torch.tensor([0, 1, 1, 0, 1])

CASES = {
    "kd": Case(kd_loss, kd_by_hand, (*LOGITS, 3.0)),
    "dkd": Case(dkd_loss, dkd_by_hand, (*LOGITS, torch.tensor([0, 5, 2, 2, 1]), 1.5, 4.0, 2.0)),
    "dkd, two classes": Case(dkd_loss, dkd_by_hand, (*TWO_CLASSES, 1.0, 8.0, 4.0)),
    "rkd": Case(rkd_loss, rkd_by_hand, (*FEATURES, 25.0, 50.0)),
    "pkt": Case(pkt_loss, pkt_by_hand, FEATURES),
    "sp": Case(sp_loss, sp_by_hand, (random(BATCH, 2, 3, 3), FEATURES[1])),
    "crd, whole memory": Case(
        crd_loss, crd_by_hand, (FEATURES[0], random(11, 6, seed=1), CANDIDATES, 0.4, torch.tensor(1.7))
    ),
    "crd, candidates' rows": Case(
        crd_loss, crd_by_hand, (FEATURES[0], random(90, 6, seed=1), 8 * CANDIDATES, 0.4, torch.tensor(1.7))
    ),
    "at": Case(at_loss, at_by_hand, (*MAPS, 2.0)),
    "at, p = 3": Case(at_loss, at_by_hand, (*MAPS, 3.0)),
    "nst": Case(nst_loss, nst_by_hand, MAPS),
    "kdsvd": Case(kdsvd_loss, kdsvd_by_hand, (*SMALL, 1)),
    "kdsvd, k = 2": Case(kdsvd_loss, kdsvd_by_hand, (*MAPS, 2)),
    "ofd": Case(ofd_loss, ofd_by_hand, (ALIKE[0], LARGER, MARGINS)),
    "vid": Case(vid_loss, vid_by_hand, (ALIKE[0][1], random(3, seed=8), ALIKE[1][1], 1e-5), teacher=2),
    "fitnet": Case(hint_loss, hint_by_hand, (ALIKE[0][0], ALIKE[1][0])),
    "reviewkd": Case(hcl_loss, hcl_by_hand, ALIKE),
}

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@every_case
class TestHostLosses(EveryLoss):
    pass


@every_case
def test_a_student_equal_to_its_teacher_has_nothing_to_learn(case: Case) -> None:
    student, teacher, *rest = case.inputs
    if case.loss in (crd_loss, vid_loss):
        pytest.skip("its least value depends on the memory, or on the variance")
    if case.loss is ofd_loss:
        teacher = [F.adaptive_avg_pool2d(t, s.shape[2:]) for s, t in zip(student, teacher, strict=True)]
    assert case.loss(teacher, teacher, *rest).item() == pytest.approx(0, abs=1e-9)
