"""The command line of ``tools/quickstart.py``: the table of that name."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mdistiller_icc.reproduce.command import main as reproduce


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the runs, print their table, the teachers' distances and where their t-SNE picture is; 1 if a run failed.

    Takes the arguments of ``tools/reproduce.py`` but for the table's name.
    """
    return reproduce(["quickstart", *(sys.argv[1:] if arguments is None else arguments)])
