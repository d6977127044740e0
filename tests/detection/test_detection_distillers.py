"""What detectors learn: torchvision's losses, the package's on proposals and pyramids, and ICC's on proposals."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from mdistiller_icc.detection import models
from mdistiller_icc.detection.adapter import see, tell
from mdistiller_icc.detection.coco import Coco
from mdistiller_icc.detection.distillers import TAUGHT, PyramidReview, distiller, two_of_one_object
from mdistiller_icc.detection.draws import draw
from mdistiller_icc.detection.loaders import TrainLoader
from mdistiller_icc.distillers.base import build
from mdistiller_icc.errors import UserError


@pytest.fixture(scope="module")
def networks():
    """A small untrained student and teacher, new copies each time: ``networks()``."""
    from mdistiller_icc.detection.settings import configure
    from tests.detection.conftest import SMALL

    torch.manual_seed(0)
    cfg = configure(None, SMALL)
    held = models.build("mobilenet_v2_fpn_mask", cfg, 4), models.build("mobilenet_v2_fpn", cfg, 4)
    return lambda: copy.deepcopy(held)


def made(networks, cfg):
    student, teacher = networks()
    return build(distiller(cfg.DISTILLER.TYPE), student, teacher, cfg, 0).train()


def train(distilled, batch, epoch=1):
    images, targets = batch()
    return distilled(image=images, target=targets, epoch=epoch)


def test_the_losses_of_the_labels_are_torchvisions(networks, batch):
    student, _ = networks()
    student.train()
    images, targets = batch()
    seen = see(student, *batch())
    draw(student, [target["number"] for target in targets])
    theirs = student(images, targets)
    assert seen.losses.keys() == theirs.keys() and len(theirs) == 5
    for name, loss in theirs.items():
        assert torch.equal(loss, seen.losses[name]), name
    rows = sum(len(proposals) for proposals in seen.proposals)
    assert seen.logits.shape == (rows, 5) and seen.features.shape == (rows, 64) and rows == len(seen.labels)
    assert [level.shape[1] for level in seen.levels] == [32] * 5


def test_a_proposal_has_the_label_and_the_object_that_it_lies_on(networks, batch):
    from torchvision.ops import box_iou

    student, _ = networks()
    images, targets = batch()
    seen = see(student.train(), *batch())
    sizes = seen.images.image_sizes
    at = 0
    for image, target, size, proposals in zip(images, targets, sizes, seen.proposals, strict=True):
        scale = size[1] / image.shape[2]
        overlap = box_iou(proposals, target["boxes"] * scale)
        for row, (best, which) in enumerate(zip(*overlap.max(1), strict=True)):
            found = bool(best >= 0.5)
            assert seen.labels[at + row] == (target["labels"][which] if found else 0)
            assert seen.objects[at + row] == (target["objects"][which] if found else -1)
        at += len(proposals)


def test_what_is_drawn_comes_from_the_images_numbers_alone(networks, batch):
    student, _ = networks()
    torch.manual_seed(1)
    one = see(student.train(), *batch())
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = see(student, *batch())
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.proposals, again.proposals, strict=True))
    images, targets = batch()
    for target in targets:
        target["number"] += 1
    other = see(student, images, targets)
    assert not all(torch.equal(a, b) for a, b in zip(one.proposals, other.proposals, strict=True))


def dkd(student, teacher, labels, alpha, beta):
    """DKD at T = 1, row by row."""
    total = 0.0
    for s, t, label in zip(student.double(), teacher.double(), labels.tolist(), strict=True):
        p, q = s.softmax(0), t.softmax(0)
        target = q[label] * (q[label] / p[label]).log() + (1 - q[label]) * ((1 - q[label]) / (1 - p[label])).log()
        rest = [i for i in range(len(s)) if i != label]
        others = sum(q[i] / q[rest].sum() * ((q[i] / q[rest].sum()) / (p[i] / p[rest].sum())).log() for i in rest)
        total += float(alpha * target + beta * others)
    return total / len(labels)


def ckd(student, teacher):
    """CKD at τ = 1, row by row."""
    s = [row / row.norm() for row in student.double()]
    total = 0.0
    for i, row in enumerate(teacher.double()):
        cosines = [float(row / row.norm() @ other) for other in s]
        total -= cosines[i] - math.log(sum(map(math.exp, cosines)))
    return total / len(s)


def kd(student, teacher):
    p, q = student.detach().double().softmax(1), teacher.double().softmax(1)
    return float((q * (q / p).log()).sum(1).mean())


def review(part, student, teacher):
    """ReviewKD level by level, from the coarsest."""
    total, carried = 0.0, None
    for fusion, level, goal in zip(part.abfs, student[::-1], teacher[::-1], strict=True):
        x = fusion.conv1(level)
        if carried is not None:
            up = F.interpolate(carried, x.shape[2:], mode="nearest")
            a, b = fusion.att_conv(torch.cat([x, up], 1)).split(1, dim=1)
            x = x * a + up * b
        carried, out = x, fusion.conv2(x)
        losses, weights, weight = [(out - goal).square().mean()], [1.0], 1.0
        for size in (4, 2, 1):
            if size < out.shape[2]:
                weight /= 2
                pooled = (F.adaptive_avg_pool2d(map_, size) for map_ in (out, goal))
                losses.append((next(pooled) - next(pooled)).square().mean())
                weights.append(weight)
        total += float(sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights))
    return total


@pytest.mark.parametrize("method", ["KD", "DKD", "CKD", "REVIEWKD", "REVIEWKD+DKD", "REVIEWKD+CKD"])
def test_losses_are_those_of_plain_loops(networks, batch, configured, method):
    cfg = configured("DISTILLER.TYPE", method, "REVIEWKD.REVIEWKD_WEIGHT", "1.2")
    distilled = made(networks, cfg)
    seen = see(distilled.student, *batch())
    told = tell(distilled.teacher, seen)
    expected = 0.0
    for part in method.split("+"):
        if part == "REVIEWKD":
            expected += 1.2 * review(distilled.parts[part], seen.levels, told.levels)
        elif part == "DKD":
            expected += dkd(seen.logits, told.logits, seen.labels, 1.0, 0.25)
        elif part == "CKD":
            expected += 0.1 * ckd(seen.logits, told.logits)
        else:
            expected += kd(seen.logits, told.logits)
    _logits, losses = train(distilled, batch)
    assert losses["loss_kd"].item() == pytest.approx(expected, rel=1e-4, abs=1e-7)
    plain = see(distilled.student, *batch()).losses
    assert {name: loss.item() for name, loss in losses.items() if name != "loss_kd"} == pytest.approx(
        {name: loss.item() for name, loss in plain.items()}
    )


@pytest.mark.parametrize("method", ["DKD", "REVIEWKD+CKD"])
def test_the_teacher_is_frozen_and_everything_else_learns(networks, batch, configured, method):
    distilled = made(networks, configured("DISTILLER.TYPE", method))
    before = copy.deepcopy(distilled.teacher.state_dict())
    _, losses = train(distilled, batch)
    losses["loss_kd"].backward()
    assert not distilled.teacher.training and all(p.grad is None for p in distilled.teacher.parameters())
    assert all(torch.equal(value, before[key]) for key, value in distilled.teacher.state_dict().items())
    assert distilled.student.backbone.body["0"][0].weight.grad.abs().sum() > 0
    own = [p for name, p in distilled.named_parameters() if name.startswith("parts.")]
    assert bool(own) == ("REVIEWKD" in method) and all(p.grad is not None for p in own)
    assert not any("says" in key for key in distilled.state_dict())


def test_a_teacher_like_the_student_has_nothing_to_add(networks, batch, configured):
    _, network = networks()
    for method in ("KD", "DKD"):
        student = copy.deepcopy(network)
        distilled = build(distiller(method), student, network, configured("DISTILLER.TYPE", method), 0).train()
        student.eval()  # batch norms as the teacher's
        student.transform.train(), student.rpn.train(), student.roi_heads.train()
        assert train(distilled, batch)[1]["loss_kd"].item() == pytest.approx(0, abs=1e-6)


def test_methods_that_detectors_know(configured):
    assert {"KD", "DKD", "CKD", "DIST", "NKD", "REVIEWKD"} <= TAUGHT.keys()
    assert TAUGHT["REVIEWKD"] is PyramidReview
    for name, message in (
        ("CRD", "CRD wants more of a network than a detector shows"),
        ("DKD+DKD", "DKD is there 2 times"),
        ("REVIEWKD+DKDD", r"DKDD is no method \(did you mean 'DKD'\?\)"),
    ):
        with pytest.raises(UserError, match=message):
            distiller(name)


def test_reviewkd_trains_on_one_image_where_its_coarsest_map_has_several_positions(networks, batch, configured):
    cfg = configured("DISTILLER.TYPE", "REVIEWKD", "SOLVER.BATCH_SIZE", "1")
    distiller("REVIEWKD").check(cfg)
    images, targets = batch()
    _, losses = made(networks, cfg)(image=images[:1], target=targets[:1], epoch=30)
    losses["loss_kd"].backward()
    assert losses["loss_kd"].isfinite()
    with pytest.raises(UserError, match="SOLVER.BATCH_SIZE must be at least 2 for REVIEWKD"):
        distiller("REVIEWKD").check(configured(
            "DISTILLER.TYPE", "REVIEWKD", "SOLVER.BATCH_SIZE", "1", "DETECTION.MIN_SIZE", "[64]"
        ))  # fmt: skip
    small = made(networks, cfg)
    small.student.transform.min_size = (64,)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        small(image=[images[0][:, :96, :96]], target=targets[:1], epoch=30)


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(TAUGHT))
def test_every_method_takes_a_step(networks, batch, configured, method):
    distilled = made(networks, configured("DISTILLER.TYPE", method))
    loss = train(distilled, batch, epoch=30)[1]["loss_kd"]
    loss.backward()
    assert math.isfinite(loss.item()) and distilled.student.backbone.fpn.inner_blocks[0][0].weight.grad.isfinite().all()


def pairs(objects):
    """`two_of_one_object` with loops."""
    found = []
    for number in sorted({n for n in objects if n >= 0}):
        rows = [row for row, other in enumerate(objects) if other == number]
        if len(rows) > 1:
            found.append((rows[0], rows[-1]))
    return found


def test_two_proposals_of_one_object():
    numbers = torch.Generator().manual_seed(0)
    for count in (1, 2, 9, 40):
        objects = torch.randint(-1, 6, (count,), generator=numbers)
        first, last = two_of_one_object(objects)
        assert list(zip(first.tolist(), last.tolist(), strict=True)) == pairs(objects.tolist())
    assert [len(rows) for rows in two_of_one_object(torch.tensor([-1, -1, 3]))] == [0, 0]


def test_icc_on_proposals_is_that_of_plain_loops(networks, pasted, configured):
    """Every object passes the gate here; a queue holds one, so every second object of a class is an anchor."""
    cfg = configured("DISTILLER.TYPE", "ICC", "ICC.MARGIN", "-1", "ICC.QUEUE.SIZE", "1", "ICC.WEIGHT", "0.5")
    data = Coco(pasted / "annotations" / "train.json", pasted / "train", masks=True)
    trained = made(networks, cfg)
    matcher = trained.student.roi_heads.proposal_matcher
    matcher.high_threshold = matcher.low_threshold = 0.2  # an untrained network's proposals seldom fit better
    queues: dict[int, list[torch.Tensor]] = {}
    anchors = 0
    for images, targets in TrainLoader(data, 4, 0, seed=3, workers=0):
        seen = see(trained.student, list(images), copy.deepcopy(targets))
        f, losses = F.normalize(seen.features.detach().double(), dim=1), []
        for row, twin in pairs(seen.objects.tolist()):
            queue = queues.setdefault(int(seen.labels[row]), [])
            if queue:
                losses.append(float((f[row] @ queue.pop() - f[row] @ f[twin]).exp().log1p()))
            else:
                queue.append(f[row])
        anchors += len(losses)
        expected = 0.5 * sum(losses) / max(len(losses), 1)
        assert trained(image=images, target=targets, epoch=1)[1]["loss_kd"].item() == pytest.approx(expected, rel=1e-4)
    assert anchors >= 3


def test_icc_waits_for_its_warm_up_and_for_confident_proposals(networks, batch, configured):
    cfg = configured("DISTILLER.TYPE", "ICC", "ICC.WARMUP", "2", "ICC.MARGIN", "0.99")
    trained = made(networks, cfg)
    assert "loss_kd" not in train(trained, batch, epoch=2)[1]
    assert train(trained, batch, epoch=3)[1]["loss_kd"].item() == 0  # an untrained network is sure of nothing
    assert trained.diagnostics()["icc/passed"] == 0
    off = made(networks, configured("DISTILLER.TYPE", "ICC", "ICC.WEIGHT", "0"))
    assert "loss_kd" not in train(off, batch)[1]


@pytest.mark.parametrize("key, value", [("POSITIVE", "view"), ("FEATURE", "logits")])
def test_icc_settings_that_detectors_do_not_know(configured, key, value):
    with pytest.raises(UserError, match=f"ICC.{key} {value}: detectors know"):
        distiller("ICC").check(configured(f"ICC.{key}", value))
