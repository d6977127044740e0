"""The class queues against plain Python lists, one sample at a time."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mdistiller_icc.icc.queue import ClassQueues


class Reference:
    """What the class queues do, sample by sample."""

    def __init__(self, classes, size, policy):
        self.size, self.policy = size, policy
        self.queues = [deque(maxlen=size) for _ in range(classes)]

    def meet(self, features, target, index, passed):
        """For every sample: None, or the (index, feature) entries it is an anchor against, oldest first."""
        met = []
        for feature, label, number, arrives in zip(features, target, index, passed, strict=True):
            queue = self.queues[label]
            if not arrives:
                met.append(None)
            elif self.policy == "slide":
                met.append(list(queue) or None)
                queue.append((number, feature))
            elif len(queue) == self.size:
                met.append(list(queue))
                queue.clear()
            else:
                met.append(None)
                queue.append((number, feature))
        return met


@st.composite
def journeys(draw):
    classes, size, dim = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(1, 3))
    batches = draw(st.lists(st.integers(0, 14), min_size=1, max_size=6))
    return classes, size, dim, batches, draw(st.sampled_from(["clear", "slide"])), draw(st.integers(0, 10**6))


@settings(deadline=None, max_examples=150)
@given(journeys())
def test_equals_plain_lists(journey):
    classes, size, dim, batches, policy, seed = journey
    source = torch.Generator().manual_seed(seed)
    queues, reference = ClassQueues(classes, size, dim, policy), Reference(classes, size, policy)
    for batch in batches:
        features = torch.randn(batch, dim, generator=source)
        target = torch.randint(classes, (batch,), generator=source)
        index = torch.randint(6, (batch,), generator=source)  # few images, so that some repeat
        passed = torch.rand(batch, generator=source) < 0.8
        met = queues.meet(features, target, index, passed)
        expected = reference.meet(features.tolist(), target.tolist(), index.tolist(), passed.tolist())
        for entries, negatives, valid, image in zip(expected, met.negatives, met.valid, index.tolist(), strict=True):
            assert negatives[valid].tolist() == [feature for number, feature in entries or [] if number != image]
        for label, queue in enumerate(reference.queues):
            assert queues.count[label] == len(queue)
            empty = size - len(queue)
            assert queues.index[label].tolist() == [number for number, _ in queue] + [-1] * empty
            assert queues.features[label].tolist() == [feature for _, feature in queue] + [[0.0] * dim] * empty


def fill(queues, count, label=0, first=0):
    features = torch.eye(8)[:count] * torch.arange(1.0, count + 1)[:, None]
    index = torch.arange(first, first + count)
    return queues.meet(features, torch.full((count,), label), index, torch.ones(count, dtype=torch.bool))


def test_clear_empties_the_queue_that_was_used_and_no_other():
    queues = ClassQueues(2, 3, 8, "clear")
    fill(queues, 3, label=0)
    fill(queues, 2, label=1)
    met = fill(queues, 1, label=0, first=10)
    assert met.valid.all()
    assert queues.count.tolist() == [0, 2]
    assert queues.features[0].abs().sum() == 0 and queues.index[0].tolist() == [-1, -1, -1]


def test_slide_is_first_in_first_out():
    queues = ClassQueues(1, 3, 8, "slide")
    fill(queues, 5)
    assert queues.index.tolist() == [[2, 3, 4]]


def test_one_anchor_in_every_n_plus_one_arrivals():
    queues = ClassQueues(1, 8, 8, "clear")
    anchors = sum(fill(queues, 3, first=100 * i).valid.any(1).sum().item() for i in range(90))
    assert anchors == 90 * 3 // 9


def test_an_image_is_never_its_own_negative():
    queues = ClassQueues(1, 2, 8, "slide")
    fill(queues, 2)
    met = queues.meet(torch.ones(1, 8), torch.tensor([0]), torch.tensor([1]), torch.tensor([True]))
    assert met.valid.tolist() == [[True, False]]


@pytest.mark.parametrize("policy", ["clear", "slide"])
def test_other_classes_never_matter(policy):
    source = torch.Generator().manual_seed(0)
    features, others = torch.randn(2, 24, 4, generator=source)
    target, passed = torch.arange(24) % 3, torch.ones(24, dtype=torch.bool)
    changed = torch.where((target == 1)[:, None], features, others)
    met = [ClassQueues(3, 3, 4, policy).meet(f, target, torch.arange(24), passed) for f in (features, changed)]
    rows = [m.valid & (target == 1)[:, None] for m in met]
    assert torch.equal(rows[0], rows[1]) and rows[0].any()
    assert torch.equal(met[0].negatives[rows[0]], met[1].negatives[rows[1]])


def test_entries_carry_no_gradient():
    queues = ClassQueues(1, 2, 3, "slide")
    features = torch.randn(3, 3, requires_grad=True)
    met = queues.meet(features, torch.zeros(3, dtype=torch.long), torch.arange(3), torch.ones(3, dtype=torch.bool))
    assert not met.negatives.requires_grad and not queues.features.requires_grad


def test_state_is_saved_and_restored():
    queues, restored = ClassQueues(2, 3, 8), ClassQueues(2, 3, 8)
    fill(queues, 2, label=1)
    restored.load_state_dict(queues.state_dict())
    again, other = fill(queues, 2, label=1, first=5), fill(restored, 2, label=1, first=5)
    assert all(torch.equal(a, b) for a, b in zip(again, other, strict=True))


def test_unknown_policy():
    with pytest.raises(ValueError, match="policy"):
        ClassQueues(1, 1, 1, "fifo")
