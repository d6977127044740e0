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
    single, double = told[f"{method} float32"], told[f"{method} float64"]
    assert single["same start"] and double["same start"]
    assert double["apart"] < 1e-9 and single["apart"] < 1e-4
