from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mdistiller_icc.tables.grouping import group
from mdistiller_icc.tables.layout import layout
from mdistiller_icc.tables.rows import Pair
from mdistiller_icc.tables.search import find

PAIR = Pair("resnet56", "resnet20")


def groups_of(output, metric="top1", select="last"):
    return group(find([output.root]).runs, metric, select)


def only(output, **kwargs):
    groups, left_out = groups_of(output, **kwargs)
    assert len(groups) == 1 and not left_out
    return groups[0]


def rows(one) -> dict:
    return {(row.method, row.settings, row.kind, row.recipe): row.cells for row in one.rows}


def test_a_cell_has_the_mean_over_its_seeds(output):
    for seed, top1 in ((2, 72.0), (0, 70.0), (1, 71.0)):
        output.run(seed=seed, top1=top1)
    cell = rows(only(output))["KD", "", "vanilla", ""][PAIR]
    assert cell.values == (70.0, 71.0, 72.0)
    assert (cell.summary.n, cell.summary.mean, cell.summary.std) == (3, 71.0, 1.0)


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": {"epochs": 30}},
        {"protocol": {"precision": "bf16"}},
        {"protocol": {"holdout": 0.1}},
        {"dataset": "digits"},
        {"num_train": 25000},
    ],
)
def test_protocols_and_data_sets_never_share_a_group(output, change):
    output.run(seed=0, top1=70.0)
    output.run(seed=1, top1=80.0, **change)
    groups, _ = groups_of(output)
    assert sorted(cell.values for one in groups for row in one.rows for cell in row.cells.values()) == [
        (70.0,),
        (80.0,),
    ]
    if "dataset" not in change:
        assert groups[0].apart != groups[1].apart


def test_other_settings_in_one_column_make_rows_of_their_own(output):
    for seed in range(2):
        for temperature in (2.0, 4.0):
            output.run(seed=seed, top1=70 + temperature, settings={"TEMPERATURE": temperature, "LOSS": {"W": 1.0}})
    one = only(output)
    assert [key[1] for key in rows(one)] == ["TEMPERATURE 2.0", "TEMPERATURE 4.0"]
    assert [row.cells[PAIR].values for row in one.rows] == [(72.0, 72.0), (74.0, 74.0)]


def test_settings_that_go_with_the_pair_stay_in_one_row_that_says_so(output):
    output.run(method="CKD", settings={"WEIGHT": 10.0})
    output.run(method="CKD", settings={"WEIGHT": 50.0}, pair=("wrn_40_2", "wrn_40_1"))
    (row,) = only(output).rows
    assert (row.settings, row.uneven, len(row.cells)) == ("", ("WEIGHT",), 2)


def test_a_repeated_seed_counts_once_and_the_earlier_run_is_told(output):
    first = output.run(top1=70.0, finished="2026-01-01T00:00:00")
    output.run(top1=71.0, finished="2026-01-02T00:00:00")
    groups, left_out = groups_of(output)
    assert groups[0].rows[0].cells[PAIR].values == (71.0,)
    assert [run.folder for run in left_out] == [str(first)]
    assert "run_00002, which counts instead" in left_out[0].reason


def test_gain_pairs_runs_of_the_same_seed(output):
    for seed, (plain, icc) in enumerate([(70.0, 71.0), (71.0, 73.0), (60.0, None), (None, 99.0)]):
        for kind, top1 in (("vanilla", plain), ("icc", icc)):
            if top1 is not None:
                output.run(seed=seed, kind=kind, top1=top1)
    (gain,) = only(output).gains
    assert (gain.baseline, gain.by_column[PAIR].n, gain.by_column[PAIR].mean) == ("vanilla", 2, 1.5)


def test_no_gain_without_a_plain_run_of_the_same_settings_and_seed(output):
    output.run(kind="icc", settings={"T": 2.0})
    output.run(kind="vanilla", settings={"T": 4.0})
    output.run(method="DKD", kind="icc", seed=0)
    output.run(method="DKD", kind="vanilla", seed=1)
    output.run(method="SP", kind="icc")
    output.run(method="SP", kind="file")
    assert only(output).gains == []


def test_gain_over_the_pretrained_teacher_where_there_is_no_plain_one(output):
    output.run(kind="pretrained", top1=70.0, teacher={"seed": None})
    output.run(kind="icc", top1=71.0)
    (gain,) = only(output).gains
    assert (gain.baseline, gain.by_column[PAIR].mean) == ("pretrained", 1.0)


@pytest.mark.parametrize("epochs", [5, 240])
def test_a_gain_says_in_what_else_the_teachers_training_differed(output, epochs):
    for kind, method, protocol in (("icc", "ICC", {}), ("vanilla", "NONE", {"epochs": epochs})):
        name = f"sha256:{kind}"
        output.run(method=method, role="teacher", protocol=protocol, digest=name)
        output.run(kind=kind, teacher={"digest": name})
    groups, _ = groups_of(output)
    said = [gain.unlike.get(PAIR) for one in groups for gain in one.gains]
    expected = "the ICC teacher's training had 240 epochs, the plain one's 5 epochs" if epochs == 5 else None
    assert said == [expected]
    notes = [note for section in layout(groups, "top1", "last") for sheet in section.sheets for note in sheet.notes]
    assert (f"resnet56 → resnet20: {expected}, so the gain is not ICC's alone." in notes) == (epochs == 5)


def ablation(output, linked):
    for margin in (0.1, 0.3):
        for seed in range(2):
            name = f"sha256:{margin}{seed}"
            if linked:
                made = {"MARGIN": margin, "WEIGHT": 0.02}
                output.run(method="ICC", role="teacher", seed=seed, settings=made, digest=name, top1=72.0)
            output.run(kind="icc", seed=seed, top1=70 + margin, teacher={"digest": name})
    for seed in range(2):
        output.run(kind="vanilla", seed=seed, top1=69.0)


def test_students_of_teachers_made_differently_are_told_apart_by_the_teachers_settings(output):
    ablation(output, linked=True)
    one = only(output)
    assert [(row.kind, row.recipe) for row in one.rows] == [
        ("vanilla", ""),
        ("icc", "MARGIN 0.1"),
        ("icc", "MARGIN 0.3"),
    ]
    assert [gain.by_column[PAIR].mean for gain in one.gains] == pytest.approx([1.1, 1.3])
    assert [row.settings for row in one.networks] == ["MARGIN 0.1", "MARGIN 0.3"]


def test_unknown_teachers_of_one_seed_are_told_apart_by_their_checkpoints(output):
    ablation(output, linked=False)
    assert [row.recipe for row in only(output).rows if row.kind == "icc"] == ["0.10", "0.11", "0.30", "0.31"]


def test_a_retrained_teacher_of_the_same_make_is_no_other_row(output):
    for name in ("sha256:a", "sha256:b"):
        output.run(method="ICC", role="teacher", digest=name, settings={"MARGIN": 0.3}, finished=name)
        output.run(kind="icc", teacher={"digest": name}, top1=70.0, finished=name)
    groups, left_out = groups_of(output)
    assert [(row.recipe, row.cells[PAIR].summary.n) for row in groups[0].rows] == [("", 1)]
    assert len(left_out) == 2


def test_students_alone_and_networks_have_rows_of_their_own(output):
    for seed in range(2):
        output.run(kind="vanilla", seed=seed, top1=70.0)
        output.run(method="NONE", seed=seed, top1=69.0)
        output.run(method="NONE", role="teacher", seed=seed, top1=72.0)
        output.run(method="ICC", role="teacher", seed=seed, top1=72.5, settings={"WEIGHT": 0.02})
        output.run(method="NONE", seed=seed, pair=("", "vgg8"), top1=68.0)
    one = only(output)
    assert [cell.summary.mean for row in one.alone for cell in row.cells.values()] == [69.0]
    assert [(row.kind, dict.fromkeys(row.cells)) for row in one.networks] == [
        ("vanilla", {"resnet56": None, "vgg8": None}),
        ("icc", {"resnet56": None}),
    ]
    assert one.network_gains[0].by_column["resnet56"].mean == 0.5
    assert one.teachers["vanilla", ""][PAIR].mean == pytest.approx(72.05)


def test_a_student_that_is_a_teacher_elsewhere_is_alone_only_in_its_runs_as_a_student(output):
    output.run(top1=70.0)
    output.run(method="NONE", role="teacher", seed=5, pair=("resnet20", ""), top1=80.0)
    one = only(output)
    assert [cell.values for row in one.alone for cell in row.cells.values()] == [(80.0,)]
    output.run(method="NONE", seed=0, top1=69.0)
    one = only(output)
    assert [cell.values for row in one.alone for cell in row.cells.values()] == [(69.0,)]
    assert [cell.values for row in one.networks for cell in row.cells.values()] == [(80.0,)]


def test_rows_and_columns_follow_the_literature_and_numbers_count_as_numbers(output):
    for method in ("ZKD", "ICCKD", "DKD", "KD", "AKD"):
        for pair in (("resnet110", "resnet8"), ("resnet20", "resnet8"), ("vgg13", "vgg8"), ("resnet56", "resnet20")):
            output.run(method=method, pair=pair)
    one = only(output)
    assert [row.method for row in one.rows] == ["KD", "DKD", "ICCKD", "AKD", "ZKD"]
    assert [pair.teacher for pair in one.pairs] == ["resnet56", "vgg13", "resnet20", "resnet110"]


@pytest.mark.parametrize(("select", "value"), [("last", 70.0), ("mean10", 69.9), ("best", 70.3)])
def test_selection(output, select, value):
    output.run(top1=70.0)
    assert rows(only(output, select=select))["KD", "", "vanilla", ""][PAIR].values == (value,)


def test_a_run_without_the_selected_accuracy_is_left_out(output):
    output.run()
    groups, left_out = groups_of(output, select="heldout")
    assert groups == [] and left_out[0].reason == "no top1 accuracy is recorded for 'heldout'"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_every_run_is_in_a_cell_or_left_out_and_no_cell_is_mixed(new_output, seed):
    draw, output = random.Random(seed), new_output()
    for _ in range(draw.randint(1, 25)):
        output.run(
            method=draw.choice(["KD", "DKD", "NONE", "ICC"]),
            seed=draw.randint(0, 2),
            role=draw.choice(["teacher", "student"]),
            kind=draw.choice(["icc", "vanilla", "pretrained", "file"]),
            pair=draw.choice([("resnet56", "resnet20"), ("resnet20", "resnet8")]),
            settings=draw.choice([{}, {"W": 1}, {"W": 2}]),
            protocol=draw.choice([{}, {"epochs": 30}]),
            teacher={"digest": draw.choice(["sha256:a", "sha256:b", "sha256:c"])},
            digest=draw.choice(["sha256:a", None]),
        )
    groups, left_out = groups_of(output)
    cells = [
        (one, row, cell)
        for one in groups
        for row in [*one.rows, *one.alone, *one.networks]
        for cell in row.cells.values()
    ]
    shown = {run.folder for _, _, cell in cells for run in cell.runs}
    told = {run.folder for run in left_out}
    assert len(shown | told) == output.count
    for one, row, cell in cells:
        assert {run.protocol for run in cell.runs} == {one.protocol}
        assert len({run.settings for run in cell.runs}) == 1
        assert {run.teacher.kind for run in cell.runs if run.teacher} <= {row.kind}
        assert len({(run.seed, run.teacher and run.teacher.seed) for run in cell.runs}) == len(cell.runs)
