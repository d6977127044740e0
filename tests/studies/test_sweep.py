"""What a sweep says in the end, whatever its runs came to; see also the contrastive losses' test."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mdistiller_icc.engine.divergence import Diverged
from mdistiller_icc.errors import UserError
from mdistiller_icc.run import configure
from mdistiller_icc.studies import sweep

VALUES = ["0", "0.01", "0.02", "0.05"]
LINE = [
    "--values",
    *VALUES,
    "--out",
    "out",
    "DATASET.TYPE",
    "digits",
    "DISTILLER.TYPE",
    "ICC",
    "DISTILLER.STUDENT",
    "resnet8",
]


OTHER = """
import sys
from mdistiller_icc.studies import sweep
sweep.measure = lambda *_: dict.fromkeys(sweep.FIGURES) | {"top1": 50.0, "run": "another", "ratio": 0.7}
sys.exit(sweep.main(sys.argv[1:]))
"""


@pytest.fixture
def swept(tmp_path, monkeypatch, capsys):
    """A sweep whose runs are not made: ``swept(figures)`` with a function from λ to what one is measured to be."""
    monkeypatch.chdir(tmp_path)

    def make(figures, status=0, line=LINE):
        def measure(path, options, seed, device):
            value = options[options.index("ICC.WEIGHT") + 1]
            return dict.fromkeys(sweep.FIGURES) | {"top1": 50.0, "run": value} | figures(value)

        monkeypatch.setattr(sweep, "measure", measure)
        assert sweep.main(line) == status
        rows = json.loads((tmp_path / "out/sweep.json").read_text())["rows"]
        return (tmp_path / "out/sweep.md").read_text(), rows, capsys.readouterr().err

    return make


def test_a_figure_that_does_not_vary_has_no_rank(swept):
    text, rows, _ = swept(lambda value: {"ratio": 0.5, "L_Intra/L_Inter": 1.0})
    assert len(rows) == 4 and text.count("Spearman's rank correlation with ICC.WEIGHT –; a/λ + b") == 2
    assert text.count("R² = –") == 2


def test_figures_that_are_missing_or_no_numbers_have_no_fit(swept):
    text, rows, _ = swept(lambda value: {"ratio": float("nan"), "L_Intra/L_Inter": None})
    assert len(rows) == 4 and "a/λ + b" not in text


def test_a_run_that_diverges_is_left_out_and_told(swept):
    def figures(value):
        if value == "0.05":
            raise Diverged("epoch 1, step 3 of 5: loss_kd is nan")
        return {"ratio": 0.5 + float(value)}

    text, rows, error = swept(figures, status=1)
    assert [row["value"] for row in rows] == VALUES[:3] and "| 0.02 |" in text and "| 0.05 |" not in text
    assert "left out: cross-entropy,ICC.WEIGHT:0.05, seed 0: epoch 1, step 3 of 5: loss_kd is nan" in error


def test_a_second_sweep_goes_on_with_the_first_ones_summary(swept, tmp_path):
    swept(lambda value: {"ratio": 0.5})
    more = ["--values", "0.05", "0.1", "--seeds", "0", "1", *LINE[1 + len(VALUES) :]]
    text, rows, _ = swept(lambda value: {"ratio": 0.7}, line=more)
    assert [(row["value"], row["seed"], row["ratio"]) for row in rows] == [
        ("0", 0, 0.5), ("0.01", 0, 0.5), ("0.02", 0, 0.5), ("0.05", 0, 0.7), ("0.05", 1, 0.7), ("0.1", 0, 0.7),
        ("0.1", 1, 0.7),
    ]  # fmt: skip
    assert all(f"| cross-entropy | {value} | " in text for value in (*VALUES, "0.1"))


def test_teachers_are_icc_teachers_unless_something_else_is_said(swept, tmp_path):
    other = LINE.index("DISTILLER.TYPE")
    plain = [*LINE[:other], *LINE[other + 2 :]]
    taken = []

    def measure(path, options, seed, device):
        taken.append(configure(path, options).DISTILLER.TYPE)
        return dict.fromkeys(sweep.FIGURES) | {"top1": 50.0, "run": "one"}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "measure", measure)
        sweep.main(plain)
        (tmp_path / "kd.yaml").write_text("DISTILLER: {TYPE: KD}")
        for line, name in (([*plain, "DISTILLER.TYPE", "NONE"], "NONE"), (["--cfg", "kd.yaml", *plain], "KD")):
            with pytest.raises(UserError, match=f"--key ICC.WEIGHT: DISTILLER.TYPE {name} does not read it"):
                sweep.main(line)
    assert taken == ["ICC"] * len(VALUES)


def test_two_sweeps_at_once_share_a_summary(swept, tmp_path):
    def figures(value):
        if value == "0":  # while the first one's first run is made, another process begins a sweep and ends it
            line = [sys.executable, "-c", OTHER, *LINE[: 1 + len(VALUES)], "--seeds", "1", *LINE[1 + len(VALUES) :]]
            subprocess.run(line, cwd=tmp_path, check=True, capture_output=True)
        return {"ratio": 0.5}

    _text, rows, _ = swept(figures)
    assert {(row["value"], row["seed"]): row["ratio"] for row in rows} == {
        (value, seed): ratio for value in VALUES for seed, ratio in ((0, 0.5), (1, 0.7))
    }


@pytest.mark.parametrize("other", [
    ["--key", "ICC.MARGIN", *LINE], ["--cfg", "teacher.yaml", *LINE], [*LINE, "SOLVER.EPOCHS", "3"],
])  # fmt: skip
def test_another_sweeps_summary_is_not_overwritten(swept, tmp_path, other):
    swept(lambda value: {"ratio": 0.5})
    (tmp_path / "teacher.yaml").write_text("ICC: {WEIGHT: 0.02}")
    before = (tmp_path / "out/sweep.json").read_text()
    with pytest.raises(UserError, match="out/sweep.json: holds the sweep of another setting, .*name another --out"):
        sweep.main(other)
    assert (tmp_path / "out/sweep.json").read_text() == before
    for text in ("{", "[]", '{"rows": [1]}'):
        (tmp_path / "out/sweep.json").write_text(text)
        with pytest.raises(UserError, match="out/sweep.json: is no summary of a sweep"):
            sweep.main(other)
