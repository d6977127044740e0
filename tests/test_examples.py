"""The examples, as a reader runs them: in an empty folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("name", [
    "own_loop",
    pytest.param("own_network_and_method", marks=pytest.mark.slow),
    pytest.param("torchvision_teacher", marks=pytest.mark.slow),
])  # fmt: skip
def test_an_example_runs_and_learns(name, command):
    ran = command(f"examples/{name}.py")
    assert ran.returncode == 0, ran.stderr
    last = ran.stdout.splitlines()[-1]
    assert max(float(figure) for figure in re.findall(r"([\d.]+) %", last)) > 50, ran.stdout  # chance is 10 %


def test_they_are_short_and_none_is_left_out():
    assert {file.stem for file in EXAMPLES.glob("*.py")} == {
        "own_loop",
        "own_network_and_method",
        "torchvision_teacher",
    }
    assert all(len(file.read_text().splitlines()) <= 60 for file in EXAMPLES.glob("*.py"))
