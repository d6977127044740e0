"""``--import``: the page that shows it, run word for word, and what is said of files that cannot be imported."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mdistiller_icc.errors import UserError
from mdistiller_icc.own_code import import_all
from mdistiller_icc.plugin import register

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/your_own_distiller.md").read_text()


def block(language):
    return re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[1]


def run(folder, *words):
    environment = os.environ | {"MDISTILLER_ICC_HOST": "builtin", "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "mdistiller_icc", *words]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def written(tmp_path):
    """A folder with the page's two files."""
    (tmp_path / "my_methods.py").write_text(block("python"))
    (tmp_path / "mine.yaml").write_text(block("yaml"))
    return tmp_path


def test_the_page_does_what_it_says(written):
    for line in block("bash").splitlines():
        command, *words = shlex.split(line)
        assert command == "mdistiller-icc"
        run(written, *words)
    assert (written / "teachers/digits/small_icc.pth").is_file() and (written / "small.pth").is_file()
    record = json.loads((written / "output/distill/mimic/record.json").read_text())
    assert record["method"] == "MIMIC" and record["method_config"]["WEIGHT"] == 0.5
    assert record["teacher"]["architecture"] == "small" and record["teacher"]["kind"] == "icc"
    made = {file.parent.name for file in (written / "output/mine").glob("*/record.json")}
    assert made == {"small_icc,seed=0", "KD,small_icc,resnet8,seed=0", "MIMIC,small_icc,resnet8,seed=0"}


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_a_tables_imports_reach_rays_workers(written):
    run(written, "reproduce", str(Path("..", written.name, "mine.yaml")), "--engine", "ray")
    records = [json.loads(file.read_text()) for file in (written / "output/mine").glob("*/record.json")]
    assert sorted(record["method"] for record in records if record["status"] == "finished") == ["ICC", "KD", "MIMIC"]


@pytest.mark.slow
def test_a_sweep_and_an_analysis_know_it_too(written):
    small = ["DATASET.TYPE", "digits", "DISTILLER.STUDENT", "small", "SOLVER.EPOCHS", "1", "DATASET.FRACTION", "0.2"]
    run(written, "sweep", "--import", "my_methods", "--cfg", "icc/res110", "--values", "0", "--out", "swept", *small)
    (latest,) = written.glob("swept/*/*/student_latest")
    told = run(written, "analyze", str(latest), "--import", "my_methods", *small)
    assert "| student_latest " in told


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    return tmp_path


@pytest.mark.parametrize(
    "name, text, told",
    [
        ("my_mehtods.py", None, "no such file (did you mean 'my_methods.py'?)"),
        ("nowhere/mine.py", None, "nowhere/mine.py: no such file"),
        ("mistaken.py", "a = 1\nb = (\n", "line 2: '(' was never closed"),
        ("raises.py", "def f():\n    return 1 / 0\nf()\n", "raises.py: line 2: ZeroDivisionError: division by zero"),
        ("needs.py", "import not_installed_anywhere\n", "line 1: ModuleNotFoundError: No module named 'not_installed"),
        ("yaml.py", "", "'yaml' is no name for a module, or another's; rename the file"),
        ("two.dots.py", "", "'two.dots' is no name for a module"),
        ("parses.py", "import argparse\nargparse.ArgumentParser().parse_args(['a'])\n", "it ends the program when"),
        ("leaves.py", "raise SystemExit\n", "leaves.py: it ends the program when it is imported"),
        ("not.there", None, "not.there: no such module here or installed"),
    ],
)
def test_what_cannot_be_imported_is_told_in_one_line(here, name, text, told):
    (here / "my_methods.py").write_text("")
    if text is not None:
        (here / name).write_text(text)
    with pytest.raises(UserError, match=re.escape(told)) as raised:
        import_all([name])
    assert str(raised.value).startswith("--import ") and "\n" not in str(raised.value)


def test_a_file_is_imported_once_and_finds_its_neighbours(here):
    (here / "neighbour_of_mine.py").write_text("value = 3\n")
    (here / "imported_once.py").write_text("import neighbour_of_mine\nprint(neighbour_of_mine.value)\n")
    import_all(["imported_once.py", "./imported_once.py", "imported_once"])
    assert sys.modules["imported_once"].neighbour_of_mine.value == 3


OWN_KD = """
from mdistiller_icc import register
from mdistiller_icc.distillers.base import Distiller

host = register().host
host.distiller_dict["KD"] = type("KD", (Distiller,), {})
host.distiller_dict["OWN_KD_OF_A_TEST"] = host.distiller_dict["KD"]
host.cifar_model_dict["resnet8"] = host.cifar_model_dict["resnet8"][0], None
"""


def test_what_it_replaces_of_the_hosts_is_told(here, capsys):
    host = register(verbose=False).host
    before = host.distiller_dict.copy(), host.cifar_model_dict.copy()
    (here / "own_kd.py").write_text(OWN_KD)
    try:
        import_all(["own_kd.py", "own_kd.py"])
    finally:
        for registry, entries in zip((host.distiller_dict, host.cifar_model_dict), before, strict=True):
            registry.clear()
            registry.update(entries)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("--import")]
    assert told == [
        "--import own_kd.py: replaces KD of the host's distiller_dict",
        "--import own_kd.py: replaces resnet8 of the host's cifar_model_dict",
    ]
