"""The same seed on both hosts: the same first weights to the last bit, the same training to rounding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

METHODS = ("KD", "DKD", "AT", "SP")


@pytest.fixture(scope="module")
def told(python, real_checkout, tmp_path_factory):
    script = Path(__file__).parent / "trained_on_both.py"
    done = python(script, cwd=tmp_path_factory.mktemp("both"), path=(real_checkout,))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("method", METHODS)
def test_trains_alike(told, method):
    assert told[f"{method} float64"]["same start"] and told[f"{method} float32"]["same start"]
    assert told[f"{method} float64"]["any step"] < 1e-9
    assert told[f"{method} float32"]["first step"] < 1e-4
