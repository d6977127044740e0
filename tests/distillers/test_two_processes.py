"""Two real processes with half a batch each learn what one learns from the whole batch."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def difference(ranks) -> dict[str, float]:
    """Largest relative difference of loss and averaged gradients, per case."""
    return ranks(Path(__file__).with_name("two_processes.py"))


@pytest.mark.parametrize("method", ["CKD", "BICKD", "PCKD"])
def test_gathered_halves_equal_the_whole(difference: dict[str, float], method: str) -> None:
    assert difference[f"{method} gathered"] < 1e-9


@pytest.mark.parametrize("method", ["CKD", "BICKD", "PCKD"])
def test_halves_apart_do_not(difference: dict[str, float], method: str) -> None:
    assert difference[f"{method} apart"] > 1e-3


def test_parts_of_unequal_length_equal_the_whole(difference: dict[str, float]) -> None:
    assert difference["unequal"] < 1e-9
