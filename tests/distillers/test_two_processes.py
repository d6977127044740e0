"""Two real processes with half a batch each learn what one learns from the whole batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdistiller_icc.distillers.methods import distiller_dict


@pytest.fixture(scope="module")
def difference(ranks) -> dict[str, float]:
    """Largest relative difference of loss and averaged gradients, per case."""
    return ranks(Path(__file__).with_name("two_processes.py"))


GATHERED = ["CKD", "BICKD", "PCKD", "DIST", "MLKD"]


@pytest.mark.parametrize("method", GATHERED)
def test_gathered_halves_equal_the_whole(difference: dict[str, float], method: str) -> None:
    assert difference[f"{method} gathered"] < 1e-9


@pytest.mark.parametrize("method", GATHERED)
def test_halves_apart_do_not(difference: dict[str, float], method: str) -> None:
    assert difference[f"{method} apart"] > 1e-3


@pytest.mark.parametrize("method", [name for name in distiller_dict if name not in GATHERED])
def test_of_other_methods_halves_apart_equal_the_whole(difference: dict[str, float], method: str) -> None:
    assert difference[f"{method} apart"] < 1e-9


def test_parts_of_unequal_length_equal_the_whole(difference: dict[str, float]) -> None:
    assert difference["unequal"] < 1e-9
