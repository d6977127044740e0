from __future__ import annotations

import re

import pytest

from mdistiller_icc.tables import render
from mdistiller_icc.tables.cells import Cell
from mdistiller_icc.tables.grouping import group
from mdistiller_icc.tables.published import EPOCHS, TIERS, facts, lookup, without_pair
from mdistiller_icc.tables.search import find


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


def cells(output) -> list[Cell]:
    return group(find([output.root]).records, "top1", "last")[0]


def shown(output) -> tuple[set[float], str]:
    """The published values that stand beside the runs, and the table."""
    values = {cell.published.value for cell in cells(output) if cell.published}
    return values, " ".join(render([output.root]).split())


def test_published_values_stand_beside_runs_on_the_same_data_and_protocol(output):
    output.run(method="KD")
    values, table = shown(output)
    assert 70.66 in values and "published" in table and "none stands beside" not in table


@pytest.mark.parametrize(
    "change",
    [
        {"num_train": 45_000},
        {"num_train": 2_500},
        {"num_test": 5_000},
        {"num_classes": 10},
        {"num_classes": None, "num_train": None, "num_test": None},
        {"protocol": {"epochs": 2}},
        {"protocol": {"batch_size": 256}},
        {"protocol": {"lr": 0.5}},
        {"protocol": {"optimizer": "AdamW"}},
        {"protocol": {"schedule": "cosine", "lr_decay_stages": None, "lr_decay_rate": None}},
        {"protocol": {"lr_decay_stages": [100, 200]}},
        {"protocol": {"weight_decay": 0.0001}},
        {"protocol": {"augmentation": "crop+flip of images of tiny_imagenet"}},
        {"protocol": {"views": 2, "strong_view": "randaugment-10"}},
        {"protocol": {"fraction": 0.5}},
        {"protocol": {"holdout": 0.1}},
    ],
)
def test_published_values_do_not_stand_beside_other_data_or_another_protocol(output, change):
    output.run(method="KD", **change)
    values, table = shown(output)
    assert values == set() and "70.66" not in table
    assert re.search("Published values are of 240 epochs, batch 64, SGD.* 100 classes, so none stands", table)


@pytest.mark.parametrize("change", [{"precision": "bf16"}, {"lr": 0.01}, {"compile": True}, {"fraction": 1}])
def test_what_the_literature_varies_too_is_let_through(output, change):
    output.run(method="KD", protocol=change)
    assert 70.66 in shown(output)[0]


def test_another_benchmarks_images(output):
    images = {"num_classes": 1000, "num_train": 1_281_167, "num_test": 50_000}
    protocol = {"epochs": 100, "batch_size": 512, "lr": 0.2, "weight_decay": 0.0001, "lr_decay_stages": [30, 60, 90]}
    protocol["augmentation"] = "resized-crop+flip"
    pair = ("ResNet34", "ResNet18")
    output.run(dataset="imagenet", pair=pair, protocol=protocol, **images)
    output.run(dataset="imagenet", pair=pair, protocol=protocol, **(images | {"num_classes": 3, "num_train": 60}))
    assert 71.03 in shown(output)[0]
    assert [bool(cell.published) for cell in cells(output) if cell.entry == "distilled"] == [True, False]


def test_a_value_of_another_protocol_than_its_benchmarks_fits_no_cell():
    assert any(fact.method == "MLKD" for fact in facts())
    assert lookup("cifar100", "resnet56", "resnet20", "MLKD", "top1") is None


def test_a_study_that_nothing_is_published_on_is_told_nothing(output):
    output.run(dataset="digits")
    assert "ublished" not in shown(output)[1]
