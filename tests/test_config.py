"""Reading configurations: mdistiller's files, widened numbers, mistakes in one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yacs.config import CfgNode

from mdistiller_icc.config import ADDED, extend, load_config, pairs
from mdistiller_icc.errors import UserError, nearest

SCHEMA = CfgNode(
    {
        "SOLVER": {"LR": 0.05, "EPOCHS": 240, "STAGES": [150, 180], "TYPE": "SGD"},
        "SEED": None,
        "SIZE": (32, 32),
        "FLAG": False,
    }
)


def load(tmp_path, text, *options):
    file = tmp_path / "a.yaml"
    file.write_text(text)
    return load_config(SCHEMA, file, options)


def test_file_then_options(tmp_path):
    cfg = load(tmp_path, "SOLVER:\n  EPOCHS: 3\n  LR: 1\n", "SOLVER.EPOCHS", "2")
    assert cfg.SOLVER.EPOCHS == 2 and cfg.SOLVER.LR == 1.0 and isinstance(cfg.SOLVER.LR, float)
    assert SCHEMA.SOLVER.EPOCHS == 240 and cfg.is_frozen()


@pytest.mark.parametrize(
    "text, key, value",
    [
        ("SOLVER: {LR: 1e-4}", ("SOLVER", "LR"), 1e-4),  # YAML reads this one as text
        ("SOLVER: {EPOCHS: 3.0}", ("SOLVER", "EPOCHS"), 3),
        ("SOLVER: {STAGES: [1, 2]}", ("SOLVER", "STAGES"), [1, 2]),
        ("SIZE: [64, 64]", ("SIZE",), (64, 64)),
        ("SOLVER: {TYPE: 110}", ("SOLVER", "TYPE"), "110"),
        ("SEED: 3", ("SEED",), 3),
        ("SOLVER:", ("SOLVER", "EPOCHS"), 240),
        ("", ("SOLVER", "EPOCHS"), 240),
    ],
)
def test_values_take_the_type_of_their_default(tmp_path, text, key, value):
    found = load(tmp_path, text)
    for part in key:
        found = found[part]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "text, message",
    [
        ("SOLVER: {EPOCHS: 2.5}", "SOLVER.EPOCHS wants a whole number, got 2.5"),
        ("SOLVER: {EPOCHS: true}", "SOLVER.EPOCHS wants a whole number, got True"),
        ("SOLVER: {LR: fast}", "SOLVER.LR wants a number, got 'fast'"),
        ("SOLVER: {STAGES: 3}", "SOLVER.STAGES wants a list, got 3"),
        ("FLAG: 1", "FLAG wants True or False, got 1"),
        ("SEED: one", "SEED wants a whole number, got 'one'"),
        ("SOLVER: 3", "SOLVER is a group of keys (LR, EPOCHS, STAGES, TYPE), not a value"),
        ("SOLVR: {LR: 1}", "unknown key SOLVR (did you mean 'SOLVER'?)"),
        ("SOLVER: {LRR: 1}", "unknown key SOLVER.LRR (did you mean 'SOLVER.LR'?)"),
    ],
)
def test_mistakes_name_the_file_and_the_key(tmp_path, text, message):
    with pytest.raises(UserError) as error:
        load(tmp_path, text)
    assert str(error.value) == f"{tmp_path / 'a.yaml'}: {message}"


@given(st.lists(st.text(min_size=1), max_size=7))
def test_options_come_in_pairs(words):
    if len(words) % 2:
        with pytest.raises(UserError, match="has no value"):
            pairs(words)
    else:
        assert [word for pair in pairs(words) for word in pair] == words


def test_extending_adds_only_what_is_missing():
    cfg = CfgNode({"SOLVER": {"SCHEDULE": "mine"}})
    added = extend(cfg)
    assert cfg.SOLVER.SCHEDULE == "mine" and "SOLVER.SCHEDULE" not in added and "SOLVER.PRECISION" in added
    assert extend(cfg) == [] and ADDED.SOLVER.SCHEDULE == "step"


def test_nearest_ignores_case_and_keeps_quiet_about_strangers():
    assert nearest("RESNET50", ["resnet56", "ResNet50"]) == " (did you mean 'ResNet50'?)"
    assert nearest("xyz", ["resnet56"]) == ""
