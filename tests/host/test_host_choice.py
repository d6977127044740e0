"""Which host is chosen, and how a wrong choice is told."""

from __future__ import annotations

import sys

import pytest
from yacs.config import CfgNode

from mdistiller_icc.errors import UserError
from mdistiller_icc.host import get_host, lookup, widen

choose = get_host.__wrapped__  # each test chooses anew
ASK = "from mdistiller_icc import register; register(); register()"


@pytest.mark.parametrize("value, hint", [("mdistill", " (did you mean 'mdistiller'?)"), ("torch", "")])
def test_another_name_is_refused(monkeypatch, value, hint):
    monkeypatch.setenv("MDISTILLER_ICC_HOST", value)
    with pytest.raises(UserError) as told:
        choose()
    assert str(told.value) == f"MDISTILLER_ICC_HOST is '{value}', not one of builtin, mdistiller{hint}"


def test_builtin_is_forced_where_mdistiller_is_installed(python, standin, tmp_path):
    done = python("-c", ASK, cwd=tmp_path, path=(standin,), MDISTILLER_ICC_HOST="builtin")
    assert done.stderr.startswith("host: built-in ") and done.stderr.count("\n") == 2 and done.stdout == ""


def test_mdistiller_is_chosen_where_it_is_installed(python, standin, tmp_path):
    done = python("-c", ASK, cwd=tmp_path, path=(standin,))
    assert done.stderr.startswith(f"host: mdistiller 0.1 at {standin / 'mdistiller'}")


def test_forced_mdistiller_that_is_not_there(monkeypatch):
    monkeypatch.setenv("MDISTILLER_ICC_HOST", "mdistiller")
    monkeypatch.setitem(sys.modules, "mdistiller", None)
    monkeypatch.setitem(sys.modules, "mdistiller.distillers", None)
    with pytest.raises(UserError, match="^MDISTILLER_ICC_HOST is mdistiller, which cannot be imported: "):
        choose()


def test_an_mdistiller_that_cannot_be_imported_is_named_and_passed_over(python, tmp_path):
    (tmp_path / "mdistiller").mkdir()
    (tmp_path / "mdistiller" / "__init__.py").write_text("import no_such_module\n")
    done = python("-c", ASK, cwd=tmp_path, path=(tmp_path,))
    assert "host: built-in" in done.stderr
    assert "(mdistiller is installed but cannot be imported: No module named 'no_such_module')" in done.stderr


def test_ints_become_floats_where_ours_are_and_nowhere_else():
    cfg = CfgNode({"KD": {"TEMPERATURE": 4, "EPOCHS": 3}, "X": 1, "AT": {"P": 2}})
    widen(cfg, CfgNode({"KD": {"TEMPERATURE": 4.0, "EPOCHS": 3}, "X": {"Y": 1.0}, "AT": {"P": 2.0}, "NEW": 1.0}))
    assert cfg == CfgNode({"KD": {"TEMPERATURE": 4.0, "EPOCHS": 3}, "X": 1, "AT": {"P": 2.0}})
    assert [type(value) for value in (cfg.KD.TEMPERATURE, cfg.KD.EPOCHS, cfg.AT.P)] == [float, int, float]


def test_lookup_names_the_nearest_entry():
    assert lookup({"DKD": 1}, "DKD", "DISTILLER.TYPE", "distiller") == 1
    with pytest.raises(
        UserError, match=r"^DISTILLER.TYPE: no distiller 'DKDD' \(did you mean 'DKD'\?\); there are DKD"
    ):
        lookup({"DKD": 1}, "DKDD", "DISTILLER.TYPE", "distiller")
