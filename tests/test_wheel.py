"""The wheel, built from the source distribution and used from an empty folder by its command alone."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKED = ("mdistiller_icc", "configs", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
SMALL = ["DATASET.TYPE", "digits", "DISTILLER.STUDENT", "resnet8"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(importlib.util.find_spec(module) for module in ("setuptools", "ensurepip")),
        reason="needs setuptools to build a wheel and pip to install it",
    ),
]


def make(folder: Path, kind: str) -> Path:
    """Build a ``wheel`` or an ``sdist`` of the source tree in a folder."""
    program = f"from setuptools import build_meta; print(build_meta.build_{kind}('dist'))"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "dist" / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Run a program of an environment that has the wheel and, of everything else, what this one has."""
    source, unpacked, env = (tmp_path_factory.mktemp(name) for name in ("source", "unpacked", "env"))
    for name in PACKED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    with tarfile.open(make(source, "sdist")) as archive:
        archive.extractall(unpacked, filter="data")
    wheel = make(next(unpacked.iterdir()), "wheel")

    venv.create(env, with_pip=True, symlinks=True)
    site = next(env.glob("lib/python*/site-packages"))
    (site / "the_rest.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"MDISTILLER_ICC_HOST": "builtin", "PATH": f"{env / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def run(program: str, *words: str, folder: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
        line = [str(env / "bin" / program), *words]
        done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == status, f"{line}\n{done.stderr}"
        return done

    run("python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel), folder=env)
    where = run("python", "-c", "import mdistiller_icc; print(mdistiller_icc.__file__)", folder=env).stdout
    assert where.startswith(str(site))
    return run


def test_teacher_student_table_eval_export_from_an_empty_folder(installed, tmp_path):
    def command(*words, **kwargs):
        return installed("mdistiller-icc", *words, folder=tmp_path, **kwargs)

    student = ["train", "DISTILLER.TYPE", "KD", "DISTILLER.TEACHER", "resnet8_icc", *SMALL, "SOLVER.EPOCHS", "2"]
    lacking = command(*student, status=2).stderr
    told = "mdistiller-icc teacher --cfg icc/res110 DISTILLER.STUDENT resnet8 DATASET.TYPE digits"
    assert lacking == f"error: teachers/digits/resnet8_icc.pth: no such teacher; train it: {told}\n"
    command(*told.split()[1:], "SOLVER.EPOCHS", "6")
    command(*student)
    table = command("collect", "output", "--format", "md").stdout
    assert "| KD" in table and "resnet8" in table
    judged = json.loads(command("eval", "teachers/digits/resnet8_icc.pth", "--json").stdout)
    record = json.loads(next(tmp_path.glob("output/cifar100_teachers/*/record.json")).read_text())
    assert judged["top1"] == record["top1"]["last"] and judged["kind"] == "icc"
    (latest,) = tmp_path.glob("output/distill/*/latest")
    assert "largest difference of a logit on 64 test images of digits: 0 " in (
        command("export", str(latest), "--out", "student.pth").stdout
    )


@pytest.mark.parametrize("name", ["own_loop", "own_network_and_method", "torchvision_teacher"])
def test_the_examples_need_nothing_else(installed, tmp_path, name):
    shutil.copy(ROOT / f"examples/{name}.py", tmp_path)
    assert " %" in installed("python", f"{name}.py", folder=tmp_path).stdout


def test_neither_do_the_lines_for_a_notebook(installed, tmp_path):
    lines = re.search(r"```python\n(.*?)```", (ROOT / "docs/api.md").read_text(), re.DOTALL)[1]
    assert "train_teacher(" in lines and "distill(" in lines
    (tmp_path / "notebook.py").write_text(lines.replace("epochs=20", "epochs=6"))
    teacher, student = map(float, installed("python", "notebook.py", folder=tmp_path).stdout.split()[-2:])
    assert teacher > 50 and student > 0


def test_its_configurations_and_tables_are_in_it(installed, tmp_path):
    told = installed("mdistiller-icc", "train", "--cfg", "configs/cifar100/dkd_icc.yaml", folder=tmp_path, status=2)
    assert "the configuration that comes with the package is --cfg cifar100/dkd_icc" in told.stderr
    plan = installed("mdistiller-icc", "reproduce", "quickstart", "--plan", folder=tmp_path).stdout
    assert "48 runs: 0 finished" in plan
    assert not list(tmp_path.iterdir())
