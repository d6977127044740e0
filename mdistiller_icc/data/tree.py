"""Which tree of images it is, where ``DATASET.TYPE`` names anybody's."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path
from typing import Any

from mdistiller_icc.errors import UserError

from .catalogue import data_set
from .dataset import DataSet
from .source import Files, Source


def tree(wanted: DataSet, found: Source) -> str | None:
    """A digest of the names and sizes of the training images' files; None for a data set that everybody has alike."""
    if wanted.num_classes is not None or not isinstance(found.train.images, Files):
        return None
    files, hashed = found.train.images, hashlib.sha256()
    folder = os.fsencode(files.folder)
    for name in files.names:
        hashed.update(b"%s\0%d\n" % (name, os.stat(os.path.join(folder, name)).st_size))
    return hashed.hexdigest()[:8]


def tree_there(cfg: Any) -> str | None:
    """The same of what lies at a run's ``DATASET.ROOT``; None also where nothing does."""
    return _tree_there(cfg.DATASET.TYPE, os.path.expanduser(cfg.DATASET.ROOT))


@functools.cache
def _tree_there(name: str, root: str) -> str | None:
    wanted = data_set(name)
    if wanted.num_classes is not None:
        return None
    try:
        return tree(wanted, wanted.read(Path(root)))
    except UserError:
        return None
