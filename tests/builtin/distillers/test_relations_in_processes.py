"""Two real processes with half a batch each relate and remember what one does with the whole batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

SCRIPT = Path(__file__).with_name("relations_in_processes.py")


@pytest.fixture(scope="module")
def difference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Largest relative difference of losses and averaged gradients over two steps, per method."""
    if not (dist.is_available() and dist.is_gloo_available() and sys.platform == "linux"):
        pytest.skip("needs gloo over the loopback interface")
    paths = [str(SCRIPT.parents[3]), os.environ.get("PYTHONPATH", "")]
    ran = subprocess.run(
        [sys.executable, SCRIPT, tmp_path_factory.mktemp("meeting")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.parametrize("method", ["RKD", "SP", "PKT", "CRD"])
def test_halves_equal_the_whole(difference: dict[str, float], method: str) -> None:
    assert difference[method] < 1e-9
