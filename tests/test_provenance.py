"""What a record says of the command and the commit that a run was made with, in real processes and repositories."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUN = ["DATASET.TYPE", "digits", "DATASET.FRACTION", "0.05", "DISTILLER.STUDENT", "resnet8", "SOLVER.EPOCHS", "1"]
ASK = "from mdistiller_icc.provenance import command_line, commit; print(command_line(), commit())"


def git(folder, *words):
    own = ["-c", "user.name=x", "-c", "user.email=x@x", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *own, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def python(paths, *words, **kwargs):
    environment = os.environ | {"PYTHONPATH": str(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_command_is_in_the_record_without_the_folder_of_its_program(command, tmp_path):
    done = command("tools/train.py", *RUN, "EXPERIMENT.NAME", "a b", "LOG.PREFIX", "here")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "here/distill/a b/record.json").read_text())
    assert record["command"] == f"python train.py {' '.join(RUN)} EXPERIMENT.NAME 'a b' LOG.PREFIX here"
    assert str(ROOT) not in json.dumps({**record, "host": None})


def test_a_studys_runs_know_the_studys_command(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "{dataset: digits, epochs: {full: 1, short: 1}, settings: {DATASET: {FRACTION: 0.05}}, teachers: {vanilla: },"
        " methods: {}, pairs: [{teacher: resnet8, student: null}]}"
    )
    python(ROOT, "-m", "mdistiller_icc", "reproduce", "./mine.yaml", "--jobs", "1", cwd=tmp_path)
    (record,) = [json.loads(file.read_text()) for file in tmp_path.glob("output/*/*/record.json")]
    assert record["command"] == "python -m mdistiller_icc reproduce ./mine.yaml --jobs 1"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_that_of_the_packages_own_checkout(tmp_path):
    inside = tmp_path / "venv" / "mdistiller_icc"
    shutil.copytree(ROOT / "mdistiller_icc", inside, ignore=shutil.ignore_patterns("__pycache__"))
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "somebody's own repository, with an environment in it")
    assert python(inside.parent, "-c", ASK, cwd=tmp_path) == "None None"

    git(inside.parent, "init", "--quiet")
    git(inside.parent, "add", ".")
    git(inside.parent, "commit", "--quiet", "-m", "the package")
    head = git(inside.parent, "rev-parse", "HEAD")
    assert len(head) == 40 and python(inside.parent, "-c", ASK, cwd=tmp_path) == f"None {head}"
    (inside / "version.py").write_text('__version__ = "0"\n')
    assert python(inside.parent, "-c", ASK, cwd=tmp_path) == f"None {head}-dirty"
