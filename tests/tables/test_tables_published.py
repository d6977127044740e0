from __future__ import annotations

import pytest

from mdistiller_icc.tables.published import EPOCHS, TIERS, facts, lookup, without_pair


def test_every_fact_has_a_source_and_a_known_tier_and_epoch():
    assert len(facts()) > 300
    for fact in facts():
        assert fact.source.name and fact.source.tier in TIERS and fact.source.epoch in EPOCHS
        assert str(fact.source).startswith(fact.source.name)


def test_no_cell_has_two_published_values():
    cells = [(f.dataset, f.teacher, f.student, f.method, f.metric) for f in facts() if f.teacher]
    assert len(cells) == len(set(cells))


@pytest.mark.parametrize(
    ("cell", "value", "epoch"),
    [
        (("cifar100", "resnet56", "resnet20", "KD", "top1"), 70.66, "last"),
        (("cifar100", "resnet32x4", "resnet8x4", "DKD", "top1"), 76.32, "best"),
        (("imagenet", "ResNet34", "ResNet18", "PCKD", "top5"), 90.69, "last"),
        (("cifar100", "wrn_40_2", "wrn_16_2", "teacher", "top1"), 75.61, "last"),
    ],
)
def test_known_cells(cell, value, epoch):
    assert (lookup(*cell).value, lookup(*cell).source.epoch) == (value, epoch)


@pytest.mark.parametrize(
    "cell",
    [
        ("cifar100", "resnet56", "resnet20", "KD", "top5"),
        ("digits", "resnet56", "resnet20", "KD", "top1"),
        ("cifar100", "resnet20", "resnet56", "KD", "top1"),
        ("cifar100", "", "", "SP", "top1"),
        ("cifar100", "resnet56", "resnet20", "ICCKD", "top1"),
    ],
)
def test_unknown_cells(cell):
    assert lookup(*cell) is None


def test_facts_without_a_pair_are_kept_apart():
    assert {fact.method for fact in without_pair("cifar100")} >= {"SP", "SP+ICC"}
    assert without_pair("digits") == []
