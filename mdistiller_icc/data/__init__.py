"""Data sets and loaders: one file a data set; `load` gives a run its training, test and held-out batches."""

from __future__ import annotations

from .catalogue import data_set, data_sets, described
from .dataset import DataSet
from .loaders import Loaded
from .loading import load
from .transfer import label
from .tree import tree_there

__all__ = ["DataSet", "Loaded", "data_set", "data_sets", "described", "label", "load", "tree_there"]
