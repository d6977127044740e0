from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mdistiller_icc.tables import render
from mdistiller_icc.tables.cells import Cell, columns, lines
from mdistiller_icc.tables.grouping import group
from mdistiller_icc.tables.layout import sections
from mdistiller_icc.tables.search import find

PAIR = ("resnet56", "resnet20")


def cells_of(output, metric="top1", select="last"):
    return group(find([output.root]).records, metric, select)


def only(output, **kwargs) -> list[Cell]:
    cells, left_out = cells_of(output, **kwargs)
    assert len({(cell.dataset, cell.images, cell.protocol) for cell in cells}) == 1 and not left_out
    return cells


def of(cells: list[Cell], entry: str = "distilled") -> list[Cell]:
    return [cell for cell in cells if cell.entry == entry]


def gains(cells: list[Cell], entry: str = "distilled") -> list:
    return [cell.gain for cell in of(cells, entry) if cell.gain and cell.gain.difference]


def test_a_cell_has_the_mean_over_its_seeds(output):
    for seed, top1 in ((2, 72.0), (0, 70.0), (1, 71.0)):
        output.run(seed=seed, top1=top1)
    (cell,) = of(only(output))
    assert (cell.method, cell.settings, cell.kind, cell.recipe, cell.column) == ("KD", "", "vanilla", "", PAIR)
    assert cell.values == (70.0, 71.0, 72.0)
    assert (cell.summary.n, cell.summary.mean, cell.summary.std) == (3, 71.0, 1.0)


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": {"epochs": 30}},
        {"protocol": {"precision": "bf16"}},
        {"protocol": {"holdout": 0.1}},
        {"protocol": {"views": 2, "strong_view": "randaugment-10"}},
        {"dataset": "digits"},
        {"num_train": 25000},
    ],
)
def test_protocols_and_data_sets_never_share_a_group(output, change):
    output.run(seed=0, top1=70.0)
    output.run(seed=1, top1=80.0, **change)
    cells, _ = cells_of(output)
    assert sorted(cell.values for cell in of(cells)) == [(70.0,), (80.0,)]
    one, other = sections(cells)
    assert one.heading != other.heading


def test_runs_of_one_view_and_those_of_before_it_was_recorded_share_a_cell(output):
    output.run(seed=0, top1=70.0)
    output.run(seed=1, top1=80.0, protocol={"views": 1})
    (cell,) = of(only(output))
    assert cell.values == (70.0, 80.0)


def test_other_settings_in_one_column_make_rows_of_their_own(output):
    for seed in range(2):
        for temperature in (2.0, 4.0):
            output.run(seed=seed, top1=70 + temperature, settings={"TEMPERATURE": temperature, "LOSS": {"W": 1.0}})
    cells = of(only(output))
    assert [(cell.settings, cell.column) for cell in cells] == [("TEMPERATURE 2.0", PAIR), ("TEMPERATURE 4.0", PAIR)]
    assert [cell.values for cell in cells] == [(72.0, 72.0), (74.0, 74.0)]


def test_settings_that_go_with_the_pair_stay_in_one_row_that_says_so(output):
    output.run(method="CKD", settings={"WEIGHT": 10.0})
    output.run(method="CKD", settings={"WEIGHT": 50.0}, pair=("wrn_40_2", "wrn_40_1"))
    cells = only(output)
    (line,) = lines(of(cells))
    assert [cell.settings for cell in line] == ["", ""]
    assert "CKD: the settings WEIGHT differ by pair." in sections(cells)[0].sheets[0].notes


def test_a_repeated_seed_counts_once_and_the_earlier_run_is_told(output):
    first = output.run(top1=70.0, finished="2026-01-01T00:00:00")
    output.run(top1=71.0, finished="2026-01-02T00:00:00")
    cells, left_out = cells_of(output)
    assert [cell.values for cell in of(cells)] == [(71.0,)]
    assert [run.folder for run in left_out] == [str(first)]
    assert "run_00002, which counts instead" in left_out[0].reason


def test_gain_pairs_runs_of_the_same_seed(output):
    for seed, (plain, icc) in enumerate([(70.0, 71.0), (71.0, 73.0), (60.0, None), (None, 99.0)]):
        for kind, top1 in (("vanilla", plain), ("icc", icc)):
            if top1 is not None:
                output.run(seed=seed, kind=kind, top1=top1)
    (gain,) = gains(only(output))
    assert (gain.over, gain.difference.n, gain.difference.mean) == ("vanilla", 2, 1.5)


def test_no_gain_without_a_plain_run_of_the_same_settings_and_seed(output):
    output.run(kind="icc", settings={"T": 2.0})
    output.run(kind="vanilla", settings={"T": 4.0})
    output.run(method="DKD", kind="icc", seed=0)
    output.run(method="DKD", kind="vanilla", seed=1)
    output.run(method="SP", kind="icc")
    output.run(method="SP", kind="file")
    assert gains(only(output)) == []


def test_gain_over_the_pretrained_teacher_where_there_is_no_plain_one(output):
    output.run(kind="pretrained", top1=70.0, teacher={"seed": None})
    output.run(kind="icc", top1=71.0)
    (gain,) = gains(only(output))
    assert (gain.over, gain.difference.mean) == ("pretrained", 1.0)


@pytest.mark.parametrize("epochs", [5, 240])
def test_a_gain_says_in_what_else_the_teachers_training_differed(output, epochs):
    for kind, method, protocol in (("icc", "ICC", {}), ("vanilla", "NONE", {"epochs": epochs})):
        name = f"sha256:{kind}"
        output.run(method=method, role="teacher", protocol=protocol, digest=name)
        output.run(kind=kind, teacher={"digest": name})
    cells, _ = cells_of(output)
    expected = "the ICC teacher's training had 240 epochs, the plain one's 5 epochs" if epochs == 5 else ""
    assert [gain.note for gain in gains(cells)] == [expected]
    notes = [note for section in sections(cells) for sheet in section.sheets for note in sheet.notes]
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
    cells = only(output)
    assert [(cell.kind, cell.recipe) for cell in of(cells)] == [
        ("vanilla", ""),
        ("icc", "MARGIN 0.1"),
        ("icc", "MARGIN 0.3"),
    ]
    assert [gain.difference.mean for gain in gains(cells)] == pytest.approx([1.1, 1.3])
    assert [cell.settings for cell in of(cells, "network")] == ["MARGIN 0.1", "MARGIN 0.3"]


def test_unknown_teachers_of_one_seed_are_told_apart_by_their_checkpoints(output):
    ablation(output, linked=False)
    assert [cell.recipe for cell in of(only(output)) if cell.kind == "icc"] == ["0.10", "0.11", "0.30", "0.31"]


def test_a_retrained_teacher_of_the_same_make_is_no_other_row(output):
    for name in ("sha256:a", "sha256:b"):
        output.run(method="ICC", role="teacher", digest=name, settings={"MARGIN": 0.3}, finished=name)
        output.run(kind="icc", teacher={"digest": name}, top1=70.0, finished=name)
    cells, left_out = cells_of(output)
    assert [(cell.recipe, cell.summary.n) for cell in of(cells)] == [("", 1)]
    assert len(left_out) == 2


def test_students_alone_and_networks_have_rows_of_their_own(output):
    for seed in range(2):
        output.run(kind="vanilla", seed=seed, top1=70.0)
        output.run(method="NONE", seed=seed, top1=69.0)
        output.run(method="NONE", role="teacher", seed=seed, top1=72.0)
        output.run(method="ICC", role="teacher", seed=seed, top1=72.5, settings={"WEIGHT": 0.02})
        output.run(method="NONE", seed=seed, pair=("", "vgg8"), top1=68.0)
    cells = only(output)
    assert [(cell.column, cell.summary.mean) for cell in of(cells, "student alone")] == [(PAIR, 69.0)]
    table = lines(of(cells, "network"))
    assert [(line[0].kind, {cell.column for cell in line}) for line in table] == [
        ("vanilla", {("resnet56",), ("vgg8",)}),
        ("icc", {("resnet56",)}),
    ]
    assert [gain.difference.mean for gain in gains(cells, "network")] == [0.5]
    (teacher,) = of(cells, "teacher used")
    assert (teacher.kind, teacher.recipe, teacher.column) == ("vanilla", "", PAIR)
    assert teacher.summary.mean == pytest.approx(72.05)


def test_a_student_that_is_a_teacher_elsewhere_is_alone_only_in_its_runs_as_a_student(output):
    output.run(top1=70.0)
    output.run(method="NONE", role="teacher", seed=5, pair=("resnet20", ""), top1=80.0)
    cells = only(output)
    assert [cell.values for cell in of(cells, "student alone")] == [(80.0,)]
    output.run(method="NONE", seed=0, top1=69.0)
    cells = only(output)
    assert [cell.values for cell in of(cells, "student alone")] == [(69.0,)]
    assert [cell.values for cell in of(cells, "network")] == [(80.0,)]


def test_rows_and_columns_follow_the_literature_and_numbers_count_as_numbers(output):
    for method in ("ZKD", "ICCKD", "DKD", "KD", "AKD"):
        for pair in (("resnet110", "resnet8"), ("resnet20", "resnet8"), ("vgg13", "vgg8"), ("resnet56", "resnet20")):
            output.run(method=method, pair=pair)
    cells = of(only(output))
    assert [line[0].method for line in lines(cells)] == ["KD", "DKD", "ICCKD", "AKD", "ZKD"]
    assert [teacher for teacher, _ in columns(cells)] == ["resnet56", "vgg13", "resnet20", "resnet110"]


@pytest.mark.parametrize(("select", "value"), [("last", 70.0), ("mean10", 69.9), ("best", 70.3)])
def test_selection(output, select, value):
    output.run(top1=70.0)
    (cell,) = of(only(output, select=select))
    assert (cell.method, cell.settings, cell.kind, cell.values) == ("KD", "", "vanilla", (value,))


def test_a_run_without_the_selected_accuracy_is_left_out(output):
    output.run()
    cells, left_out = cells_of(output, select="heldout")
    assert cells == [] and left_out[0].reason == "no top1 accuracy is recorded for 'heldout'"


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
    cells, left_out = cells_of(output)
    shown = {record.folder for cell in cells for record in cell.records}
    told = {run.folder for run in left_out}
    assert len(shown | told) == output.count
    for cell in cells:
        assert {record.protocol for record in cell.records} <= {cell.protocol}
        assert bool(cell.records) == (cell.entry != "teacher used")
        assert len({record.settings for record in cell.records}) <= 1
        assert {record.teacher.kind for record in cell.records if record.teacher} <= {cell.kind}
        assert len({(r.seed, r.teacher and r.teacher.seed) for r in cell.records}) == len(cell.records)
    places = [(cell.dataset, cell.protocol, cell.entry, cell.line, cell.column) for cell in cells]
    assert len(places) == len(set(places))


def test_the_mean_of_the_methods_is_taken_seed_by_seed(output):
    """Methods that share their teachers go up and down together, which the interval of their mean has to show."""
    luck = [0.9, -0.5, 0.2]  # of the ICC teachers, in all their students
    for method, own in (("KD", [0.1, -0.1, 0.3]), ("DKD", [-0.1, 0.1, -0.3])):
        for seed in range(3):
            output.run(method=method, seed=seed, top1=70.0)
            output.run(method=method, kind="icc", seed=seed, top1=70.0 + luck[seed] + own[seed])
    for seed in range(2):  # fewer seeds, so no part of the mean
        output.run(method="SP", seed=seed, top1=70.0)
        output.run(method="SP", kind="icc", seed=seed, top1=75.0)
    said = " ".join(render([output.root], published=False).split())
    assert "| Mean of the methods | ICC − plain | +0.20 [−1.54, +1.94] |" in said  # 0.2 ± 4.303 · 0.7 / √3
    assert "- Mean of the methods: of KD, DKD, which have the most seeds." in said


@pytest.mark.parametrize("methods", [["KD"], ["KD", "DKD"]])
def test_there_is_no_mean_of_one_method_or_of_one_seed(output, methods):
    for method in methods:
        for kind in ("vanilla", "icc"):
            for seed in range(2 if len(methods) == 1 else 1):
                output.run(method=method, kind=kind, seed=seed, top1=70.0 + seed)
    assert "Mean of the methods" not in render([output.root])


def test_every_column_has_its_gain_over_the_plain_teacher_it_has_or_says_why_not(output):
    second, third, fourth = ("vgg13", "vgg8"), ("resnet110", "resnet32"), ("resnet110", "resnet20")
    for seed in range(2):
        output.run(seed=seed, top1=70.0)
        output.run(seed=seed, top1=60.0, kind="pretrained", teacher={"seed": None, "digest": "sha256:p"}, pair=second)
        for pair, top1 in ((PAIR, 71.0), (second, 62.0), (third, 65.0), (fourth, 65.0)):
            output.run(seed=seed, top1=top1, kind="icc", pair=pair)
    output.run(seed=5, top1=69.0, pair=fourth)
    cells = only(output)
    assert [(gain.over, gain.difference.mean) for gain in gains(cells)] == [("vanilla", 1.0), ("pretrained", 2.0)]
    said = " ".join(render([output.root], published=False).split())
    for row in (
        "| KD | ICC − plain | +1.00 [+1.00, +1.00] |",
        "| KD | ICC − pretrained | |",
        "| +2.00 [+2.00, +2.00] |",
        "KD, resnet110 → resnet32: no plain teacher's run of this pair.",
        "KD, resnet110 → resnet20: no seed has both a plain and an ICC teacher's run.",
    ):
        assert row in said
