"""A process that a study has started: it ends with its parent, and how it ended can be said in words."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading


def die_with_parent() -> None:
    """End this process when its parent has ended, from now on.

    A parent that was killed cannot stop its processes, and a second start would meet them in its folders.
    """
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def ended(status: int | None) -> str:
    """How a process ended, by its exit status.

    >>> ended(3), ended(-9)
    ('ended with status 3', 'was killed by SIGKILL (out of memory?)')
    """
    if status is None or status >= 0:
        return f"ended with status {status}"
    name = signal.Signals(-status).name
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
