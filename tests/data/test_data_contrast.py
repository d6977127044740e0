from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mdistiller_icc.data.contrast import ContrastiveSampler
from mdistiller_icc.errors import UserError

UNBALANCED = [0] * 30 + [1] * 5 + [2] + [4] * 14


def sampler(labels: list[int], negatives: int, mode: str = "exact", seed: int = 0) -> ContrastiveSampler:
    drawn = ContrastiveSampler(torch.tensor(labels), negatives, mode)
    drawn.set_seed(seed)
    return drawn


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 6), min_size=2, max_size=60).filter(lambda labels: len(set(labels)) > 1),
    st.integers(1, 80),
    st.integers(0, 2**63),
)
def test_negatives_are_of_other_classes_and_repeat_as_little_as_possible(labels, negatives, seed):
    index = torch.arange(len(labels))
    sample = sampler(labels, negatives, seed=seed)(index)
    assert sample.shape == (len(labels), negatives + 1) and sample.dtype == torch.int64
    assert torch.equal(sample[:, 0], index)
    for anchor, row in enumerate(sample[:, 1:].tolist()):
        others = [other for other, label in enumerate(labels) if label != labels[anchor]]
        times = [row.count(other) for other in others]
        assert sum(times) == negatives, "an image of the anchor's own class, or none at all"
        assert max(times) - min(times) <= 1


@pytest.mark.parametrize("anchor", [0, 30, 35, 49])
def test_negatives_are_uniform_over_the_other_classes(anchor):
    sample = sampler(UNBALANCED, 7)(torch.full((3000,), anchor))
    others = torch.tensor(UNBALANCED) != UNBALANCED[anchor]
    cells = int(others.sum())
    for negatives in (sample[:, 1:], sample[:, 1], sample[:, -1]):
        counts = torch.bincount(negatives.flatten(), minlength=len(UNBALANCED))
        assert counts[~others].sum() == 0
        expected = negatives.numel() / cells
        chi_square = float(((counts[others] - expected) ** 2 / expected).sum())
        assert chi_square < cells - 1 + 6 * (2 * (cells - 1)) ** 0.5


def test_anchors_of_one_batch_get_different_negatives():
    sample = sampler([0] * 500 + [1] * 500, 5)(torch.zeros(100, dtype=torch.int64))
    assert len({tuple(sorted(row)) for row in sample[:, 1:].tolist()}) > 95


def test_relaxed_positives_are_uniform_over_the_own_class():
    draw = sampler(UNBALANCED, 1, "relax")
    positives = torch.cat([draw(torch.full((100,), 31))[:, 0] for _ in range(30)])
    counts = torch.bincount(positives, minlength=len(UNBALANCED))
    assert counts[30:35].sum() == 3000
    assert float(((counts[30:35] - 600.0) ** 2 / 600.0).sum()) < 4 + 6 * 8**0.5


def test_the_only_image_of_a_class_is_its_own_positive():
    assert sampler(UNBALANCED, 3, "relax")(torch.tensor([35]))[0, 0] == 35


def test_an_epochs_numbers_depend_on_its_seed_alone():
    index = torch.arange(50)
    draw = sampler(UNBALANCED, 9, seed=5)
    first, second = draw(index), draw(index)
    draw.set_seed(5)
    assert torch.equal(draw(index), first) and not torch.equal(first, second)
    draw.set_seed(6)
    assert not torch.equal(draw(index), first)


def test_large_products_do_not_overflow():
    labels = torch.arange(200_000) % 2
    draw = ContrastiveSampler(labels, 60_000)
    draw.set_seed(0)
    negatives = draw(torch.tensor([0, 1]))[:, 1:]
    assert (labels[negatives] == torch.tensor([[1], [0]])).all()
    assert all(len(row.unique()) == 60_000 for row in negatives)


@pytest.mark.parametrize(
    ("labels", "negatives", "mode", "words"),
    [
        ([3, 3, 3], 4, "exact", "two classes"),
    ],
)
def test_what_cannot_be_sampled_is_refused_in_one_line(labels, negatives, mode, words):
    with pytest.raises(UserError, match=words) as error:
        sampler(labels, negatives, mode)
    assert "\n" not in str(error.value)
