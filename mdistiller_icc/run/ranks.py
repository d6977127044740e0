"""Several processes for one run, which nothing here can do yet."""

from __future__ import annotations

import os
import time

from mdistiller_icc.errors import UserError

SECONDS_TO_TELL = 30


def refuse_ranks() -> None:
    """Refuse to be one of several processes that ``torchrun`` has started for one run.

    The first of them tells. The others wait for it, since ``torchrun`` ends all of them when one ends.

    Raises:
        UserError: in the first.
        SystemExit: in the others.
    """
    several = os.environ.get("WORLD_SIZE", "1")
    if several in ("", "1"):
        return
    if os.environ.get("RANK", "0") != "0":
        time.sleep(SECONDS_TO_TELL)
        raise SystemExit(2)
    raise UserError(
        f"torchrun has started {several} processes, and a run is trained by one: start it with python; "
        "several runs at once, each on a GPU of its own, are made by tools/reproduce.py"
    )
