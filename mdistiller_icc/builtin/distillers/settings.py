"""What the methods read from the configuration beyond their own node."""

from __future__ import annotations

from typing import Any

from yacs.config import CfgNode

from mdistiller_icc.data import described
from mdistiller_icc.errors import UserError
from mdistiller_icc.settings import Setting


def input_size() -> Setting:
    """Height and width of the images that the networks are looked at with."""
    return Setting(
        (32, 32), "Height and width of an image; the default is the data set's.", least=1, most=512, length=(2, 2)
    )


def upstream(cfg: CfgNode) -> bool:
    """Whether mdistiller's own behaviour is asked for where ours differs (``COMPAT.UPSTREAM``)."""
    return bool(cfg.get("COMPAT", {}).get("UPSTREAM", False))


def given(node: CfgNode, defaults: CfgNode, key: str) -> Any:
    """The value of ``key`` if it was set to something else than its default, else None.

    mdistiller's defaults fit one pair of networks, so a default counts as "find out from the networks".
    """
    value, default = node[key], defaults[key]
    same = list(value) == list(default) if isinstance(default, (list, tuple)) else value == default
    return None if same else value


def image_size(cfg: CfgNode, node: CfgNode | None = None, defaults: CfgNode | None = None) -> int:
    """Side of the images the networks are looked at with, in pixels.

    Args:
        cfg: reads ``DATASET.TYPE``, whose images it is unless a size was given.
        node: the method's own node, if that has an ``INPUT_SIZE`` (height, width).
        defaults: the same node with its defaults.

    Raises:
        UserError: the data set is unknown, or the given size is not square.
    """
    if node is not None and defaults is not None and (upstream(cfg) or given(node, defaults, "INPUT_SIZE")):
        height, width = node.INPUT_SIZE
        if height != width:
            raise UserError(f"INPUT_SIZE: {height}×{width}, but the images are square")
        return height
    return described(cfg).image_size
