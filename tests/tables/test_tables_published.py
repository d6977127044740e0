from __future__ import annotations

import re

import pytest

from mdistiller_icc.tables import render
from mdistiller_icc.tables.cells import Cell
from mdistiller_icc.tables.grouping import group
from mdistiller_icc.tables.published import (
    BESIDE,
    ELSEWHERE,
    EPOCHS,
    TIERS,
    benchmarks,
    facts,
    published,
    published_alone,
    without_pair,
)
from mdistiller_icc.tables.search import find
from tests.tables.conftest import Output


def test_every_fact_has_a_source_and_a_known_tier_and_epoch():
    assert len(facts()) == 346 + 338
    for fact in facts():
        assert fact.source.name and fact.source.tier in TIERS and fact.source.epoch in EPOCHS
        assert str(fact.source).startswith(fact.source.name)


def test_every_protocol_is_one_of_a_benchmark_or_named_as_run_by_nobody_here():
    for fact in facts():
        assert (fact.benchmark is None) == (fact.source.protocol in ELSEWHERE), fact


def test_no_source_has_two_values_of_one_cell():
    cells = [(f.dataset, f.teacher, f.student, f.method, f.metric, f.source) for f in facts() if f.teacher]
    assert len(cells) == len(set(cells))


def one(cell, select, protocol=None):
    """The value beside a run of a cell, by the words of its protocol; the data set's first without any."""
    known = benchmarks()[cell[0]]
    of = known[protocol] if protocol else next(iter(known.values()))
    run = tuple((of.protocol | {"lr": of.learning_rates[0]}).items())
    return next((fact.value for fact in published(*cell) if fact.fits(of.images, run, select)), None)


KD_LS = ("cifar100", "resnet32x4", "resnet8x4", "KD+LS", "top1")
MLKD = ("cifar100", "resnet32x4", "ShuffleV2", "MLKD+LS", "top1")
CTKD_LS = ("cifar100", "resnet32x4", "wrn_16_2", "CTKD+LS", "top1")


@pytest.mark.parametrize(
    ("cell", "select", "protocol", "value"),
    [
        (("cifar100", "resnet56", "resnet20", "KD", "top1"), "last", None, 70.66),
        (("cifar100", "resnet56", "resnet20", "KD", "top1"), "mean10", None, 70.66),
        (("cifar100", "resnet56", "resnet20", "KD", "top1"), "best", None, None),
        (("cifar100", "resnet32x4", "resnet8x4", "DKD", "top1"), "best", None, 76.32),
        (("cifar100", "resnet32x4", "resnet8x4", "DKD", "top1"), "last", None, None),
        (("imagenet", "ResNet34", "ResNet18", "PCKD", "top5"), "last", None, 90.69),
        (("cifar100", "wrn_40_2", "wrn_16_2", "teacher", "top1"), "last", None, 75.61),
        (("cifar100", "wrn_40_2", "wrn_16_2", "WTTM", "top1"), "last", None, 76.37),
        (("cifar100", "wrn_40_2", "wrn_16_2", "WTTM", "top1"), "best", None, 76.37),
        (("cifar100", "wrn_40_2", "wrn_16_2", "WTTM", "top1"), "heldout", None, None),
        (KD_LS, "best", None, 76.62),  # the mean that the README prints, not the single log's 76.66
        (KD_LS, "last", None, 76.28),
        (KD_LS, "last", "480 epochs", None),
        (MLKD, "best", None, None),
        (MLKD, "best", "480 epochs, strong augmentation", None),
        (MLKD, "best", "960 epochs, strong augmentation", 78.76),
        (MLKD, "last", "960 epochs, strong augmentation", 77.89),
        (CTKD_LS, "best", None, 75.16),
        (CTKD_LS, "best", "480 epochs", 75.53),
        (("cifar100", "resnet56", "resnet20", "KD++", "top1"), "last", None, None),  # another learning rate, Nesterov
        (("cifar100", "resnet56", "resnet20", "ICCKD", "top1"), "last", None, None),
        (("cifar100", "resnet20", "resnet56", "KD", "top1"), "last", None, None),
        (("cifar100", "", "", "SP", "top1"), "last", None, None),
    ],
)
def test_known_cells(cell, select, protocol, value):
    assert one(cell, select, protocol) == value


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A run of every published method and pair, under every protocol of a benchmark."""
    output = Output(tmp_path_factory.mktemp("everything"))
    for dataset, known in benchmarks().items():
        named = {(f.teacher, f.student, f.method) for f in facts() if f.dataset == dataset and f.teacher}
        for benchmark in known.values():
            classes, train, test = benchmark.images
            protocol = benchmark.protocol | {"lr": benchmark.learning_rates[0]}
            for teacher, student, method in sorted(named):
                if method not in ("teacher", "student"):
                    output.run(
                        method=method, pair=(teacher, student), dataset=dataset, protocol=protocol,
                        num_classes=classes, num_train=train, num_test=test,
                    )  # fmt: skip
    return find([output.root]).records


@pytest.mark.parametrize("select", ["last", "mean10", "best"])
def test_every_published_value_stands_beside_its_own_protocol_alone(everything, select):
    distilled = [cell for cell in group(everything, "top1", select)[0] if cell.entry == "distilled"]
    shown = set()
    for cell in distilled:
        if (fact := cell.published) is None:
            continue
        said, run = fact.source.protocol, dict(cell.protocol)
        assert fact.source.epoch in ("", "best" if select == "best" else "last"), fact
        assert (fact.teacher, fact.student, fact.method) == (*cell.column, cell.method)
        assert not re.search("Nesterov|independent", said), fact
        usual = {"cifar100": 240, "tiny_imagenet": 200, "imagenet": 100}[cell.dataset]
        epochs = re.match(r"(\d+) epochs", said)
        assert run["epochs"] == (int(epochs[1]) if epochs else usual), fact
        assert run["views"] == (2 if "strong augmentation" in said else 1), fact
        shown.add(fact)
    of = {fact for fact in facts() if fact.teacher and fact.method not in ("teacher", "student")}
    wanted = {fact for fact in of if fact.metric == "top1" and fact.benchmark and fact.source.epoch in BESIDE[select]}
    for fact in wanted - shown:  # another one of the same protocol stands in its place
        rivals = [f for f in published(fact.dataset, fact.teacher, fact.student, fact.method, "top1") if f in shown]
        assert any(rival.benchmark == fact.benchmark for rival in rivals), fact
    assert len(shown) > 150


def test_facts_without_a_pair_are_kept_apart():
    assert {fact.method for fact in without_pair("cifar100")} >= {"SP", "SP+ICC"}
    assert without_pair("digits") == []


def cells(output, select="last") -> list[Cell]:
    return group(find([output.root]).records, "top1", select)[0]


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
        {"protocol": {"start": "sha256:abc"}},
        {"protocol": {"image_size": 64}},
        {"protocol": {"tree": "sha256:abc"}},
    ],
)
def test_published_values_do_not_stand_beside_other_data_or_another_protocol(output, change):
    output.run(method="KD", **change)
    values, table = shown(output)
    assert values == set() and "70.66" not in table
    assert re.search("Published values of KD are of 240 epochs, batch 64, SGD.* 100 classes, so none stands", table)


@pytest.mark.parametrize("change", [
    {"precision": "bf16"}, {"lr": 0.01}, {"compile": True}, {"fraction": 1}, {"upstream": True}, {"image_size": 32},
    {"sync_bn": True}, {"batch_norm_images": 32},
])  # fmt: skip
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
    found = [cell.published for cell in cells(output, "best") if cell.entry == "distilled"]
    assert [fact and fact.value for fact in found] == [71.03, None]


def test_networks_without_a_teacher_stand_beside_what_is_published_for_them(output):
    for method in ("NONE", "ICC"):
        output.run(method=method, role="teacher", kind="vanilla" if method == "NONE" else "icc")
    output.run(method="NONE", role="teacher", pair=("resnet20", None))
    output.run(method="NONE", role="teacher", pair=("resnet8", None))
    values, table = shown(output)
    assert values == {72.34, 69.06}, "as teacher and as student"
    assert table.count("72.34 [A1]") == table.count("not published here") == 1
    assert "resnet8 |" in table and "[A1] RepDistiller README" in table
    assert "ublished" not in render([output.root], published=False)


def test_a_teachers_value_stands_beside_teachers_that_were_trained_so(output):
    """Whatever their students' protocol; where the run that trained one is not at hand, that is taken for it."""

    def teacher(protocol, pair, **images):
        output.run(method="NONE", role="teacher", protocol=protocol, digest=f"sha256:{pair[0]}", pair=pair, **images)

    def of_teachers():
        used = [cell for cell in cells(output) if cell.entry == "teacher used"]
        return {cell.column: cell.published and cell.published.value for cell in used}

    one, other = ("resnet56", "resnet20"), ("vgg13", "vgg8")
    for pair in (one, other):
        output.run(pair=pair, teacher={"digest": f"sha256:{pair[0]}"})
    assert of_teachers() == {one: 72.34, other: 74.64}
    teacher({"epochs": 20, "fraction": 0.1}, one, num_train=5000)
    assert of_teachers() == {one: None, other: 74.64}
    assert "72.34" not in shown(output)[1] and "| Teacher | plain | 72.00 |" in shown(output)[1]
    output.run(pair=other, teacher={"digest": f"sha256:{other[0]}"}, protocol={"epochs": 100})
    teacher({}, other)
    assert [cell.published.value for cell in cells(output) if cell.entry == "teacher used" and cell.published] == [
        74.64, 74.64
    ]  # fmt: skip


def test_a_students_value_does_not_stand_beside_students_of_another_teacher(output):
    """Nor does the table say that it is of another epoch or protocol, for it is not."""
    output.run(method="KD", teacher={"digest": "sha256:0"})
    output.run(method="NONE", role="teacher", digest="sha256:0", protocol={"epochs": 20})
    values, table = shown(output)
    assert 70.66 not in values and "70.66" not in table
    assert re.search("Published values of KD are of teachers of 240 epochs, batch 64, .* so none stands", table)
    assert table.count("Published values of KD") == 1
    output.run(method="KD", seed=1, teacher={"digest": "sha256:1"})
    output.run(method="NONE", role="teacher", digest="sha256:1")
    assert [cell.published.value for cell in cells(output) if cell.method == "KD" and cell.published] == [70.66]


def test_a_network_is_published_once_however_many_pairs_it_is_in():
    assert [fact.value for fact in published_alone("cifar100", "wrn_40_2", "top1")] == [75.61]
    assert published_alone("cifar100", "resnet8", "top1") == published_alone("digits", "resnet20", "top1") == []


def test_a_table_says_where_else_a_method_is_published(output):
    output.run(method="MLKD")
    output.run(method="DKD")
    said = " ".join(render([output.root]).split())
    assert "Published values of DKD are of the best test epoch, as --select best shows them." in said
    assert re.search(r"Published values of MLKD are of 480 epochs, batch 64, .* so none stands beside these", said)


def test_a_study_that_nothing_is_published_on_is_told_nothing(output):
    output.run(dataset="digits")
    assert "ublished" not in shown(output)[1]
