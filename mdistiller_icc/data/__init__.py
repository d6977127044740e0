"""Data sets and loaders: `load` gives a run its training, test and held-out batches."""

from __future__ import annotations

from .bundle import Dataset, load

__all__ = ["Dataset", "load"]
