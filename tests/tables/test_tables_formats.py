from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mdistiller_icc.errors import UserError
from mdistiller_icc.tables import FORMATS, render, text
from mdistiller_icc.tables.formats import latex, md
from tests.tables.conftest import NASTY

TABLE = """\
| Method        | Teacher | resnet56 → resnet20 |          published |         vgg13 → vgg8 |          published |
| ------------- | ------- | ------------------: | -----------------: | -------------------: | -----------------: |
| Teacher       | plain   |        72.10 ± 0.10 |         72.34 [A1] |         72.10 ± 0.10 |         74.64 [A1] |
| Teacher       | ICC     |        72.10 ± 0.10 | not published here |         72.10 ± 0.10 | not published here |
| Student alone | –       |        70.00 ± 1.00 |         69.06 [A1] |                      |         70.36 [A1] |
| KD            | plain   |        70.10 ± 0.10 |         70.66 [A1] |         72.10 ± 0.10 |         72.98 [A1] |
| KD            | ICC     |        70.51 ± 0.11 | not published here |         72.51 ± 0.11 | not published here |
| DKD           | plain   |      *71.10 ± 0.10* | not published here |       *73.10 ± 0.10* | not published here |
| DKD           | ICC     |    **71.51 ± 0.11** | not published here | **73.46 ± 0.08** (2) | not published here |
"""


def test_markdown_says_everything_a_reader_needs(study):
    said = render([study.root])
    assert f"\n\n{TABLE}\n" in said
    assert "# cifar100\n\nProtocol: 240 epochs, batch 64, SGD, lr 0.05" in said
    assert "mean ± standard deviation over seeds (n = 3, elsewhere as in brackets)" in said
    assert "| KD                  | ICC − plain | +0.41 [+0.39, +0.43] |" in said
    assert "| Mean of the methods | ICC − plain | +0.41 [+0.39, +0.43] |                          |" in said
    assert "[A1] RepDistiller README (CRD paper); last epoch; 240 epochs; tier A: authors' own code" in said
    assert "Published values of DKD are of the best test epoch, as --select best shows them." in said
    best = render([study.root], select="best")
    assert "71.97 [A2]" in best and "70.66" not in best
    assert "[A2] mdistiller README; best test epoch; 240 epochs; tier A" in best
    assert "SP+ICC 77.45 [B]" in said
    assert "## Teachers" in said and "| ICC − plain |" in said
    assert "## Left out (1)" in said and "later: failed at epoch 3 of 240" in said
    assert "\x1b" not in said


def test_some_methods_and_pairs_alone(study):
    said = render([study.root], methods=["DKD"], pairs=["vgg13:vgg8"], published=False)
    assert "| DKD     | ICC     | **73.46 ± 0.08** (2) |" in said
    assert "KD  " not in said.replace("DKD", "") and "resnet20" not in said and "published" not in said
    with pytest.raises(UserError, match="--methods: no run of 'DK' .did you mean 'DKD'"):
        render([study.root], methods=["DK"])
    with pytest.raises(UserError, match="--pairs: no run of 'resnet56:resnet8' .did you mean 'resnet56:resnet20'"):
        render([study.root], pairs=["resnet56:resnet8"])
    study.run(method="SP", pair=("resnet110", "resnet32"))
    with pytest.raises(UserError, match="--methods, --pairs: no run of KD, DKD is of resnet110:resnet32$"):
        render([study.root], methods=["KD", "DKD"], pairs=["resnet110:resnet32"])


@pytest.mark.parametrize("ending", ["md", "csv"])
def test_runs_of_version_0_1_0_make_the_tables_that_it_made(monkeypatch, ending):
    monkeypatch.chdir(Path(__file__).parent / "data")
    made, before = render(["0.1.0"], ending), Path(f"0.1.0.{ending}").read_text(encoding="utf-8")
    if ending == "csv":  # columns were added behind its own
        columns = before.partition("\n")[0].count(",") + 1
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(row[:columns] for row in csv.reader(io.StringIO(made)))
        made = buffer.getvalue()
    assert made == before


def test_a_student_alone_counts_once_beside_however_many_teachers(output):
    for teacher in ("resnet56", "resnet110"):
        for seed in range(2):
            output.run(seed=seed, pair=(teacher, "resnet20"))
    for seed in range(3):
        output.run(method="NONE", seed=seed, pair=("", "resnet20"))
    assert "over seeds (n = 2, elsewhere as in brackets)" in render([output.root])


def test_wide_markdown_is_split_between_pairs(study):
    lines = [line for line in render([study.root], width=90).splitlines() if str(study.root) not in line]
    assert max(map(len, lines)) <= 90
    heads = [line for line in lines if line.startswith("| Method ") and "published" in line]
    assert [re.findall(r"\w+ → \w+|published", head) for head in heads] == [
        ["resnet56 → resnet20", "published"],
        ["vgg13 → vgg8", "published"],
    ]


def test_one_seed_has_no_spread_and_no_interval(output):
    output.run(kind="vanilla", top1=70.0, dataset="digits")
    output.run(kind="icc", top1=70.5, dataset="digits")
    said = render([output.root])
    assert "one run per cell, so no spread (n = 1)" in said
    assert "With a single seed (n < 2) there is no interval." in said
    assert "± " not in said and "published" not in said
    assert re.search(r"\| KD +\| ICC − plain \| +\+0.50 \|", said)


def notes(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("- ")]


def test_what_has_no_gain_is_named_below_the_gains_with_the_reason(output):
    for seed in range(2):
        output.run(method="KD", kind="vanilla", seed=seed, top1=70.0)
        output.run(method="KD", kind="icc", seed=seed, top1=70.5 + seed)
        output.run(method="SP", kind="vanilla", seed=seed)
        output.run(method="SP", kind="icc", seed=seed + 2)
        output.run(method="DKD", kind="icc", seed=seed)
    for pair in (("vgg13", "vgg8"), ("wrn_40_2", "wrn_16_2")):
        output.run(method="KD", kind="vanilla", seed=0, pair=pair)
        output.run(method="KD", kind="icc", seed=1, pair=pair)
    output.run(method="KD", kind="icc", seed=1, pair=("resnet110", "resnet32"))
    gains = render([output.root]).split("## Gain of the ICC teacher")[1]
    assert [note for note in notes(gains) if "teacher's run" in note] == [
        "- KD, wrn_40_2 → wrn_16_2, vgg13 → vgg8: no seed has both a plain and an ICC teacher's run.",
        "- KD, resnet110 → resnet32: no plain teacher's run of this pair.",
        "- SP: no seed has both a plain and an ICC teacher's run.",
        "- DKD: no plain teacher's run has the same settings.",
    ]
    assert "| SP" not in gains and "| DKD" not in gains


def test_where_several_plain_rows_could_be_compared_none_is_chosen_and_that_is_told(output):
    for epochs in (100, 200):
        output.run(method="NONE", role="teacher", digest=f"sha256:{epochs}", protocol={"epochs": epochs})
        output.run(kind="vanilla", teacher={"digest": f"sha256:{epochs}"})
    for margin in (0.1, 0.3):
        output.run(method="ICC", role="teacher", digest=f"sha256:{margin}", settings={"MARGIN": margin}, pair=("x", ""))
        output.run(kind="icc", teacher={"digest": f"sha256:{margin}"})
    said = notes(render([output.root]))
    assert "- KD with ICC (MARGIN 0.1): several plain rows could be compared with it." in said
    assert "- KD with ICC (MARGIN 0.3): several plain rows could be compared with it." in said


def test_without_any_gain_the_reasons_stand_below_the_students(output):
    output.run(method="SP", kind="vanilla", seed=0)
    output.run(method="SP", kind="icc", seed=1)
    said = render([output.root])
    assert "- SP: no seed has both a plain and an ICC teacher's run." in notes(said) and "Gain of" not in said


def test_where_there_is_nothing_to_compare_with_nothing_is_said(output):
    output.run(method="SP", kind="icc")
    output.run(method="ICC", role="teacher")
    assert "teacher's run" not in render([output.root])


def test_a_teacher_without_a_plain_one_of_its_seed_is_named(output):
    output.run(method="NONE", role="teacher", seed=0)
    output.run(method="ICC", role="teacher", seed=1)
    assert "- ICC: no seed has both a plain and an ICC teacher's run." in notes(render([output.root]))


def test_an_interval_that_is_longer_than_its_axis_ends_in_an_arrowhead(output):
    for method in range(9):
        for seed in range(2):
            output.run(method=f"M{method}", seed=seed, top1=70.0)
            output.run(method=f"M{method}", kind="icc", seed=seed, top1=70.0 + seed * (9.0 if method == 8 else 0.1))
    drawn = re.findall("<svg class=.interval.*?</svg>", render([output.root], "html"))
    assert [picture.count("<path") for picture in drawn] == 8 * [0] + [1, 0], "the mean's is the last"


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (1, "1 interval of 95 % is shown; 1 in 20 such intervals is expected to miss by chance alone."),
        (12, "13 intervals of 95 % are shown; of so many, about 0.65 are expected to miss by chance alone."),
        (30, "31 intervals of 95 % are shown; of so many, about 1.6 are expected to miss by chance alone."),
    ],
)
def test_intervals_carry_a_word_on_how_many_were_looked_at(output, methods, said):
    """Those of the methods, and that of their mean."""
    for method in range(methods):
        for kind in ("vanilla", "icc"):
            for seed in range(2):
                output.run(method=f"M{method}", kind=kind, seed=seed, top1=70.0 + seed * (kind == "icc"))
    output.run(method="SINGLE", kind="vanilla")
    output.run(method="SINGLE", kind="icc")  # a gain without an interval
    assert f"- {said}" in notes(render([output.root]))


def test_the_best_epoch_is_said_to_flatter(output):
    output.run()
    assert "lets the test set choose" in render([output.root], select="best")
    assert "lets the test set choose" not in render([output.root])


def test_several_hosts_and_uneven_settings_are_told(output):
    output.run(method="CKD", seed=0, settings={"WEIGHT": 10.0})
    output.run(method="CKD", seed=1, settings={"WEIGHT": 10.0}, host={"name": "mdistiller", "version": "a08d46f"})
    output.run(method="CKD", settings={"WEIGHT": 50.0}, pair=("vgg13", "vgg8"))
    said = render([output.root])
    assert "several hosts: builtin 0.1.0, mdistiller a08d46f" in said
    assert "CKD: the settings WEIGHT differ by pair." in said


def test_ties_as_printed_are_all_best(output):
    for method, top1 in (("KD", 70.001), ("DKD", 70.004), ("SP", 69.0), ("AT", 68.0)):
        output.run(method=method, top1=top1, dataset="digits")
    said = render([output.root])
    assert said.count("**70.00**") == 2 and said.count("*69.00*") == 1 and "| 68.00" in said.replace("  ", "")


@pytest.mark.parametrize(("value", "said"), [(0.424, "+0.42"), (-0.426, "−0.43"), (-0.001, "0.00"), (0.0, "0.00")])
def test_signed_numbers(value, said):
    assert text.signed(value) == said


def test_csv_has_a_row_for_every_cell_and_for_what_was_left_out(study):
    rows = list(csv.DictReader(io.StringIO(render([study.root], "csv"))))
    entries = [row["entry"] for row in rows]
    assert [entries.count(kind) for kind in ("distilled", "teacher used", "student alone", "network", "left out")] == [
        *(8, 4, 1, 2, 1)
    ]
    (cell,) = [row for row in rows if (row["method"], row["teacher_kind"], row["student"]) == ("KD", "icc", "resnet20")]
    assert (cell["n"], cell["seeds"], cell["values"], cell["published"]) == ("3", "0 1 2", "70.4 70.51 70.62", "")
    assert (float(cell["mean"]), float(cell["gain"]), cell["gain_n"], cell["gain_over"]) == (
        70.51,
        0.41,
        "3",
        "vanilla",
    )
    (plain,) = [
        row for row in rows if (row["method"], row["teacher_kind"], row["student"]) == ("KD", "vanilla", "vgg8")
    ]
    assert (plain["published"], plain["tier"], plain["published_epoch"]) == ("72.98", "A", "last")
    assert plain["source"] == "RepDistiller README (CRD paper)"


def test_csv_and_json_say_of_which_images_a_cell_is_and_why_it_has_no_gain(output):
    for images, seed in ((1000, 0), (2000, 1)):
        output.run(num_train=images)
        output.run(num_train=images, kind="icc", seed=seed)
    rows = list(csv.DictReader(io.StringIO(render([output.root], "csv"))))
    for cells in (rows, json.loads(render([output.root], "json"))["entries"]):
        assert {(cell["num_classes"], cell["num_train"], cell["num_test"]) for cell in cells} in (
            {("100", "1000", "10000"), ("100", "2000", "10000")}, {(100, 1000, 10000), (100, 2000, 10000)}
        )  # fmt: skip
        none, one = (cell for cell in cells if cell["entry"] == "distilled" and cell["teacher_kind"] == "icc")
        if str(none["num_train"]) == "1000":
            none, one = one, none
        assert none["gain_note"] == "no seed has both a plain and an ICC teacher's run" and one["gain_note"] == ""


def test_json_holds_the_same_cells_with_their_settings(study):
    made = json.loads(render([study.root], "json"))
    assert (made["runs"], len(made["entries"]), len(made["left_out"])) == (32, 15, 1)
    cell = next(entry for entry in made["entries"] if entry["entry"] == "distilled")
    assert cell["protocol_settings"]["lr_decay_stages"] == [150, 180, 210]
    assert cell["method_settings"] == {"TEMPERATURE": 4.0}
    assert len(cell["folders"]) == cell["n"] == 3


def test_empty_and_ragged_tables_in_every_format(output):
    output.run(method="NONE", dataset=NASTY, pair=("", NASTY), top5=None)
    for form in FORMATS:
        assert render([output.root], form).endswith("\n")
    output.run(method=NASTY, dataset=NASTY, pair=(NASTY, NASTY), settings={NASTY: NASTY})
    output.run(method=NASTY, dataset=NASTY, pair=(NASTY, "b"), settings={NASTY: 1})
    for form in FORMATS:
        assert render([output.root], form).endswith("\n")


def test_markdown_cells_stay_cells():
    assert md._escape("wrn_40_2 a|b\n*c*") == r"wrn_40_2 a\|b \*c\*"


def test_latex_escapes_what_it_cannot_set():
    assert latex.escape("wrn_40_2 → 5 % ± 中") == r"wrn\_40\_2 $\rightarrow$ 5 \% $\pm$ {[}U+4E2D{]}"


def test_latex_parts_wide_tables_evenly_and_shrinks_nothing(output):
    for student in ("resnet8", "resnet20", "resnet32", "resnet8x4", "vgg8", "wrn_16_2", "wrn_40_1", "ShuffleV1"):
        for seed in range(2):
            output.run(pair=("resnet110", student), seed=seed)
    tables = render([output.root], "latex")
    columns = [len(letters) for letters in re.findall(r"begin\{tabular\}\{ll(r+)\}", tables)]
    assert len(columns) > 1 and max(columns) - min(columns) <= 2  # a pair is one column, or two with a published one
    assert re.findall(r"\\label\{(.+?)\}", tables) == [f"tab:cifar100:students:{i + 1}" for i in range(len(columns))]
    assert "resizebox" not in tables and tables.count(r"\footnotesize\setlength") == len(columns)


def test_latex_sets_a_long_recipe_on_several_lines(output):
    for positive in ("view", "memory"):
        settings = {"POSITIVE": f"a positive that is made of a {positive}"}
        output.run(method="ICC", role="teacher", settings=settings, digest=f"sha256:{positive}")
        output.run(kind="icc", teacher={"digest": f"sha256:{positive}"})
    tables = render([output.root], "latex")
    rows = [line for line in tables.splitlines() if line.endswith(r" \\")]
    assert [r"\parbox[t]{" in row for row in rows] == ["POSITIVE" in row for row in rows]
    assert sum("POSITIVE" in row for row in rows) >= 4


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
def test_latex_compiles_alone_and_inside_a_paper(study, tmp_path):
    study.run(method=NASTY, pair=(NASTY, NASTY), protocol={"augmentation": NASTY})
    for pair in (
        ("wrn_40_2", "wrn_16_2"),
        ("resnet110", "resnet32"),
        ("resnet32x4", "resnet8x4"),
        ("a", "b"),
        ("c", "d"),
    ):
        study.run(pair=pair)
    tables = render([study.root], "latex")
    assert "(1 of 2)" in tables and r"n.\,p.: not published here." in tables
    (tmp_path / "tables.tex").write_text(tables)
    paper = r"\documentclass[twocolumn]{article}\usepackage{booktabs,graphicx}\begin{document}"
    (tmp_path / "paper.tex").write_text(paper + r"A\def\tablesonly{}\input{tables}B\end{document}")
    for name in ("tables", "paper"):
        line = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"]
        made = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, errors="replace")
        assert made.returncode == 0, made.stdout[-2000:]
        assert "Missing character" not in made.stdout


@pytest.mark.parametrize("wrong", [{"format": "htm"}, {"select": "bset"}, {"metric": "top3"}])
def test_a_wrong_word_gets_the_nearest_right_one(output, wrong):
    output.run()
    with pytest.raises(UserError, match="did you mean"):
        render([output.root], **wrong)
