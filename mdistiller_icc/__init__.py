"""Distil better with teachers that keep the differences inside a class: a plugin for mdistiller."""

from __future__ import annotations

from typing import Any

from mdistiller_icc.version import __version__

__all__ = ["__version__", "register"]


def register(verbose: bool = True) -> Any:
    """Fill the host's registries with what this plugin adds; see `mdistiller_icc.plugin.register`."""
    from mdistiller_icc.plugin import register  # here, so that importing the package does not import torch

    return register(verbose)
