from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from yacs.config import CfgNode

from mdistiller_icc.config import ADDED, extend


@pytest.fixture
def configure() -> Callable[..., CfgNode]:
    """A configuration in mdistiller's schema with some of its keys set: ``configure({"DATASET.HOLDOUT": 0.1})``."""

    def build(options: dict | None = None) -> CfgNode:
        cfg = CfgNode(
            {
                "DATASET": {"TYPE": "digits", "NUM_WORKERS": 2, "TEST": {"BATCH_SIZE": 100}},
                "SOLVER": {"BATCH_SIZE": 64, "TRAINER": "base"},
                "CRD": {"MODE": "exact", "NCE": {"K": 32}},
            }
        )
        extend(cfg, ADDED)
        for key, value in (options or {}).items():
            *parents, leaf = key.split(".")
            node = cfg
            for parent in parents:
                node = node[parent]
            node[leaf] = value
        return cfg

    return build


@pytest.fixture
def paint() -> Callable[..., None]:
    """Writes a lossless image of one colour that tells which one it is."""

    def write(file: Path, colour: int, size: int | tuple[int, int] = 32) -> None:
        width, height = (size, size) if isinstance(size, int) else size
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((height, width, 3), (colour, 255 - colour, 7), dtype=np.uint8)
        Image.fromarray(pixels).save(file, format="PNG")

    return write
