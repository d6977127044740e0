"""The built-in host's configuration is mdistiller's, name for name."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from yacs.config import CfgNode

from mdistiller_icc.builtin.config import CFG
from mdistiller_icc.builtin.distillers import distiller_dict
from mdistiller_icc.config import load_config

NODES = ["EXPERIMENT", "DATASET", "DISTILLER", "SOLVER", "LOG", "COMPAT"]


def flat(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def mdistiller_root() -> Path:
    root = os.environ.get("MDISTILLER_ROOT")
    if root is None:
        pytest.skip("no real mdistiller: set MDISTILLER_ROOT to a checkout to compare with it")
    return Path(root)


def test_every_method_has_its_node_and_there_is_no_other(unregistered) -> None:
    assert sorted(unregistered[0]) == sorted(NODES + [name for name in unregistered[2] if name != "NONE"])


def test_numbers_that_may_be_fractions_are_floats(unregistered) -> None:
    whole = {"K", "DIM", "STUDENT_DIM", "TEACHER_DIM", "HINT_LAYER", "KERNEL_SIZE", "WARMUP", "WARMUP_EPOCHS"}
    whole |= {"MAX_MID_CHANNEL", "BATCH_SIZE", "EPOCHS", "NUM_WORKERS", "TENSORBOARD_FREQ", "SAVE_CHECKPOINT_FREQ"}
    found = {key.rsplit(".")[-1] for key, value in flat(unregistered[0]) if type(value) is int}
    assert found == whole


def test_keys_and_defaults_are_mdistillers(unregistered) -> None:
    sys.path.insert(0, str(mdistiller_root()))
    from mdistiller.engine.cfg import CFG as REAL

    ours, theirs = dict(flat(unregistered[0])), dict(flat(REAL))
    assert ours.keys() - theirs.keys() == {"COMPAT.UPSTREAM"} and not theirs.keys() - ours.keys()
    assert {key for key in theirs if ours[key] != theirs[key]} == {"LOG.WANDB"}


def test_every_configuration_of_mdistiller_loads() -> None:
    folder = mdistiller_root() / "configs"
    paths = [path for data in ("cifar100", "tiny_imagenet", "imagenet") for path in (folder / data).rglob("*.yaml")]
    assert len(paths) > 30
    for path in paths:
        assert load_config(CFG, path).DISTILLER.TYPE in distiller_dict
