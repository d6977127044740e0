"""A run that is stopped before any change of a file goes on, or begins again, to the same bits; see ``kills.py``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")


def kills(folder, *arguments):
    line = [sys.executable, str(Path(__file__).with_name("kills.py")), str(folder), *map(str, arguments)]
    environment = os.environ | {"MDISTILLER_ICC_HOST": "builtin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{found['way']}: stopped {found['stopped']} times, {found['with_a_checkpoint']} of them with a checkpoint")
    assert found["with_a_checkpoint"] < found["stopped"], "none was stopped before its first checkpoint"
    return found["wrong"]


@pytest.mark.parametrize("way, first", [("KILL", 4), ("TERM", 9), ("FULL", 14)])
def test_stopped_at_some_moments(tmp_path, way, first):
    assert kills(tmp_path, way, first, 17) == []


@pytest.mark.slow
@pytest.mark.parametrize("way", ["KILL", "TERM", "FULL"])
def test_stopped_at_every_moment(tmp_path, way):
    assert kills(tmp_path, way) == []
