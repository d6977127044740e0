from __future__ import annotations

import json
from pathlib import Path

import hosts
import models
import pytest

RECORDED = json.loads((Path(__file__).parent / "data" / "models.json").read_text())["measured"]
NAMES = sorted(RECORDED)
HOST = hosts.builtin()


def test_every_recorded_model_is_there_and_no_other():
    assert models.names(HOST) == list(RECORDED)


@pytest.mark.parametrize("name", NAMES)
def test_model_equals_the_recorded_one(name):
    measured = models.measure_one(HOST, name)
    assert "error" not in measured
    largest, unequal = models.apart(RECORDED[name], measured)
    assert largest < 1e-9
    # A difference made on purpose must still be one: a stale entry in the list fails here.
    assert sorted(unequal) == sorted(fact for model, fact in models.DIFFERENCES if model == name)


@pytest.mark.parametrize("name", NAMES)
def test_model_equals_the_real_one_live(name, real_host):
    difference = models.compare(real_host, HOST, name)
    assert ("error" in RECORDED[name]) == (difference is None)
    assert difference is None or difference < 1e-4


def test_record_is_what_the_real_one_gives_today(real_host):
    largest, unequal = models.apart(RECORDED["cifar/wrn_16_2"], models.measure_one(real_host, "cifar/wrn_16_2"))
    assert largest < 1e-9 and not unequal


def test_wide_resnets_differ_without_the_switch():
    """The switch is what restores the numbers: without it the running statistics are others, and nothing else."""
    mended = models.create(HOST, "cifar/wrn_16_1", models.torch.float64)
    mended.upstream = False
    measured = models.run(mended, "cifar/wrn_16_1", "train", models.torch.float64)
    recorded = RECORDED["cifar/wrn_16_1"]["train"]
    apart = {key: models.numbers_apart(recorded[key], models.fingerprint(measured[key])) for key in recorded}
    assert [key for key, difference in apart.items() if difference > 1e-9] == ["running statistics"]
