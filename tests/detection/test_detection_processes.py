"""Two gloo processes with half of each batch train what one process trains with the whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.detection.conftest import make
from tests.ranks.conftest import torchrun  # noqa: F401 (a fixture)
from tests.ranks.test_equal_to_one_process import metrics, numbers

METHODS = ("NONE", "REVIEWKD+DKD", "CKD")
ZERO = 1e-6
"""What a tensor's numbers are compared with at least: an untrained network's means of channels may be nothing."""


def difference(one: Path, other: Path) -> float:
    """The largest difference of what two checkpoints hold, against the largest number of each tensor."""
    states = [torch.load(folder / "latest", weights_only=False) for folder in (one, other)]
    pairs = [[*numbers([state["model"], state["optimizer"]["state"]])] for state in states]
    assert states[0]["model"].keys() == states[1]["model"].keys() and len(pairs[0]) > 500
    return max(
        ((a - b).abs().max() / b.abs().max().clamp(min=ZERO)).item() for a, b in zip(*pairs, strict=True) if a.numel()
    )


@pytest.mark.slow
def test_two_processes_equal_one(torchrun, tmp_path):  # noqa: F811
    make(tmp_path, "train", 12, seed=0, square=True)
    make(tmp_path, "val", 5, seed=1, square=True)
    for count in (1, 2):
        (tmp_path / str(count)).mkdir()
        ran = torchrun(
            count, tmp_path / str(count), "tests/detection/two_processes.py", tmp_path / str(count), tmp_path, *METHODS
        )
        _, told = ran.communicate(timeout=1800)
        assert ran.returncode == 0, told
    for method in METHODS:
        one, two = (tmp_path / str(count) / "distill" / method for count in (1, 2))
        assert difference(two, one) < 1e-8, method
        for told, expected in zip(metrics(two), metrics(one), strict=True):
            assert told == pytest.approx(expected, rel=1e-6, nan_ok=True)  # they are added up in single precision
