"""Two real processes with half a batch each relate and remember what one does with the whole batch."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def difference(ranks) -> dict[str, float]:
    """Largest relative difference of losses and averaged gradients over two steps, per method."""
    return ranks(Path(__file__).with_name("relations_in_processes.py"))


@pytest.mark.parametrize("method", ["RKD", "SP", "PKT", "CRD"])
def test_halves_equal_the_whole(difference: dict[str, float], method: str) -> None:
    assert difference[method] < 1e-9
