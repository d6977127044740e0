"""Data sets and loaders: `load` gives a run its training, test and held-out batches."""

from __future__ import annotations

from .bundle import Dataset, load
from .transfer import label

__all__ = ["Dataset", "label", "load"]
