from __future__ import annotations

import json
from pathlib import Path

import hosts
import methods
import pytest

RECORDED = json.loads((Path(__file__).parent / "data" / "methods.json").read_text())["measured"]
RUNNABLE = [name for name, facts in RECORDED.items() if "error" not in facts]
HOST = hosts.builtin()


def test_every_method_is_recorded():
    assert list(RECORDED) == methods.names()
    assert HOST.own(HOST.distillers.distiller_dict) == methods.METHODS


@pytest.mark.parametrize("name", RECORDED)
def test_method_equals_the_recorded_one(name):
    measured = methods.measure_one(HOST, name)
    assert "error" not in measured
    if name in RUNNABLE:
        assert methods.apart(RECORDED[name], measured) < methods.tolerance(name)


@pytest.mark.parametrize("name", RUNNABLE)
def test_method_equals_the_real_one_live(name, real_host):
    # float32 rounding; PKT sums terms of both signs that all but cancel
    assert methods.compare(real_host, HOST, name) < (2e-2 if name.endswith("PKT") else 1e-4)


@pytest.mark.parametrize("name", ["same/REVIEWKD", "same/CRD", "mixed/OFD", "mixed/KDSVD"])
def test_record_is_what_the_real_one_gives_today(name, real_host):
    measured = methods.measure_one(real_host, name)
    if "error" in RECORDED[name]:
        assert "error" in measured
    else:
        assert methods.apart(RECORDED[name], measured) < methods.tolerance(name)


def test_switch_restores_constant_variances_in_vid():
    mended, recorded = methods.measure_one(_without_switch(), "same/VID"), RECORDED["same/VID"]
    assert mended["added"] == recorded["added"] + 16 + 32 + 64  # a variance per channel and stage
    assert mended["gradient_added"] != pytest.approx(recorded["gradient_added"], rel=1e-3)


def test_switch_restores_the_teachers_train_mode_in_ofd():
    mended, recorded = methods.measure_one(_without_switch(), "same/OFD"), RECORDED["same/OFD"]
    assert mended["loss_kd"] != pytest.approx(recorded["loss_kd"], rel=1e-3)
    assert mended["loss_ce"] == pytest.approx(recorded["loss_ce"], rel=1e-9)


def _without_switch() -> hosts.Host:
    class Mended(hosts.Host):
        def cfg(self):
            cfg = super().cfg()
            cfg.COMPAT.UPSTREAM = False
            return cfg

    return Mended(HOST.name, HOST.package, HOST.config_module)
