"""Every measurement of tools/benchmark.py runs and says what it should; how fast anything is, no test asks."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.slow

MEASUREMENTS = {
    "overhead": ["--student", "resnet8", "--rounds", "2"],
    "loader": ["--rounds", "1"],
    "crd": ["--rounds", "1"],
    "losses": ["--student", "resnet8", "--teacher", "resnet8", "--rounds", "1"],
    "start": ["--rounds", "1"],
    "memory": ["--seconds", "0.1", "--threads", "1"],
    "profile": ["--threads", "1"],
}


@pytest.mark.parametrize("what", MEASUREMENTS)
def test_a_measurement(command, tmp_path, what):
    done = command("tools/benchmark.py", what, *MEASUREMENTS[what], "--json", "told.json")
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["what"] == what and told["machine"]["threads"] >= 1
    text = json.dumps(told["result"])
    assert any(figure in text for figure in ('"median"', '"peak_gib"', '"milliseconds"'))


def test_overhead_from_a_checkpoint_that_is_none(command):
    done = command("tools/benchmark.py", "overhead", "--student", "resnet8", "--checkpoint", "nowhere.pth")
    assert done.returncode == 2 and "nowhere.pth" in done.stderr and "Traceback" not in done.stderr


def test_a_pair_that_is_not_one(command):
    done = command("tools/benchmark.py", "engine", "--pair", "dkdd")
    assert done.returncode == 2 and "did you mean 'dkd'" in done.stderr and "Traceback" not in done.stderr
