from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mdistiller_icc import tables
from mdistiller_icc.tables import FORMATS


@pytest.fixture
def collect(command):
    return lambda *arguments, **kwargs: command("tools/collect.py", *arguments, **kwargs)


def told(done, status=2) -> str:
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


def test_markdown_goes_to_the_terminal(output, collect):
    output.run(top1=70.0)
    done = collect(output.root)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("# cifar100\n") and "| KD" in done.stdout


def test_best_is_the_best_test_epoch(output, collect):
    output.run(top1=70.0)
    assert "70.30" in collect(output.root, "--best").stdout
    assert collect(output.root, "--best").stdout == collect(output.root, "--select", "best").stdout


@pytest.mark.parametrize(("suffix", "start"), [("html", "<!DOCTYPE"), ("tex", "%"), ("csv", "entry,"), ("md", "# ")])
def test_out_writes_the_format_of_its_ending(output, collect, tmp_path, suffix, start):
    output.run()
    done = collect(output.root, "--out", f"table.{suffix}")
    assert done.stdout == f"wrote table.{suffix}\n"
    assert (tmp_path / f"table.{suffix}").read_text().startswith(start)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["output", f"table.{suffix}"]


def test_format_wins_over_the_ending(output, collect, tmp_path):
    output.run()
    collect(output.root, "--out", "table.txt", "--format", "json")
    assert json.loads((tmp_path / "table.txt").read_text())["runs"] == 1


def test_mistakes_are_one_line_with_status_2(output, collect, tmp_path):
    (tmp_path / "empty").mkdir()
    assert told(collect("empty")) == "error: empty: no run records (record.json) in it or below it"
    assert told(collect("nothing")) == "error: nothing: no such folder"
    half = output.run(name="half")
    (half / "record.json").write_text("{")
    assert "study/half: record.json is no JSON (half-written?)" in told(collect("output"))
    assert len(told(collect("output")).splitlines()) == 1
    output.run()
    (tmp_path / "kept.md").write_text("kept")
    assert "no finished run" in told(collect("output", "--select", "heldout", "--out", "kept.md"))
    assert "cannot be written" in told(collect("output", "--out", "none/table.md"))
    assert "cannot be written" in told(collect("output", "--out", "empty"))
    assert (tmp_path / "kept.md").read_text() == "kept"


@pytest.mark.parametrize("form", FORMATS)
def test_a_table_is_made_again_and_nothing_else_replaced(output, collect, tmp_path, form):
    output.run()
    notes, table = tmp_path / "notes", tmp_path / "table"
    notes.write_text("# my notes\n\nof a table")
    assert "--out notes: is there, and not what this" in told(collect("output", "--format", form, "--out", "notes"))
    assert notes.read_text() == "# my notes\n\nof a table"
    table.write_text("")
    made = []
    for name in ("one", "two"):
        output.run(name=name, seed=len(made))
        assert collect("output", "--format", form, "--out", "table").returncode == 0
        made.append(table.read_text())
    assert made[0] != made[1]


def test_a_record_is_never_overwritten(output, collect, tmp_path):
    folder = output.run()
    before = (folder / "record.json").read_bytes(), (folder / "metrics.jsonl").read_bytes()
    (tmp_path / "link.json").symlink_to(folder / "record.json")
    for out in (folder / "record.json", folder / "metrics.jsonl", "link.json", tmp_path / "record.json"):
        assert "would take the place of a run's file" in told(collect("output", "--out", out))
    assert before == ((folder / "record.json").read_bytes(), (folder / "metrics.jsonl").read_bytes())
    assert not (tmp_path / "record.json").exists()
    assert collect("output", "--out", folder / "table.md").returncode == 0


def test_text_that_is_no_text_and_cells_that_are_formulas(output, collect, tmp_path):
    output.run(pair=("=cmd()", "resnet20"), method="@SUM(1)", settings={"A": -0.5})
    output.run(teacher={"architecture": "\ud800x"})
    for form in FORMATS:
        done = collect("output", "--out", f"table.{form}", "--format", form)
        assert done.returncode == 0, done.stderr
        (tmp_path / f"table.{form}").read_text(encoding="utf-8")
        assert collect("output", "--format", form).returncode == 0
    with open(tmp_path / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"'=cmd()", "'@SUM(1)"} <= {cell for row in rows for cell in row.values()}
    assert all(cell[:1] not in ("=", "+", "@") for row in rows for cell in row.values())
    assert {float(row["mean"]) for row in rows if row["mean"]}


def test_a_reader_that_stops_early_is_no_error(output):
    for epochs in range(1, 60):
        output.run(protocol={"epochs": epochs})
    script = Path(__file__).parents[2] / "tools" / "collect.py"
    done = subprocess.run(
        f"set -o pipefail; {sys.executable} {script} {output.root} | head -1",
        shell=True, executable="/bin/bash", capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == ""


def test_a_terminal_without_unicode_is_no_error(output, collect):
    output.run()
    done = collect(output.root, env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and r"resnet56 \u2192 resnet20" in done.stdout


@pytest.mark.parametrize(("seeds", "loaded"), [(1, ""), (2, "numpy scipy")])
def test_torch_is_never_imported_and_scipy_only_for_an_interval(output, seeds, loaded):
    for seed in range(seeds):
        output.run(kind="vanilla", seed=seed)
        output.run(kind="icc", seed=seed)
    check = (
        "import sys; from mdistiller_icc.tables import render\n"
        f"for form in {list(FORMATS)}: render([{str(output.root)!r}], form)\n"
        "print(*sorted({'torch', 'numpy', 'scipy', 'yacs', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (loaded, "")


def test_a_format_is_one_file(output, tmp_path):
    shipped = Path(tables.__file__).parents[1]
    copy = tmp_path / "copy" / "mdistiller_icc"
    copy.mkdir(parents=True)
    for name in (
        "__init__.py",
        "command_line.py",
        "errors.py",
        "paths.py",
        "run_lock.py",
        "version.py",
        "whole_file.py",
    ):
        shutil.copy(shipped / name, copy)
    for folder in ("tables", "commands"):
        shutil.copytree(shipped / folder, copy / folder)
    (copy / "tables" / "formats" / "count.py").write_text(
        'SUFFIX = ".n"\n\n\ndef write(report):\n    return f"{report.runs} runs\\n"\n'
    )
    output.run()
    line = [sys.executable, str(shipped.parent / "tools" / "collect.py"), str(output.root), "--out", "table.n"]
    subprocess.run(line, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(copy.parent)}, check=True)
    assert (tmp_path / "table.n").read_text() == "1 runs\n"
