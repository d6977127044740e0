"""Whether a process is at a run: as long as it lives it holds a lock beside the run's folder.

The operating system lets go of the lock when the process ends, however it ends, and file systems that machines share
tell each other of it. So the lock, and not what a record says, tells a run that goes on from one that was killed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def path(folder: Path) -> Path:
    """The lock of the run in ``folder``; outside, since a run that is overwritten moves its folder."""
    return folder.with_name(f".{folder.name}.lock")


def held(folder: str | os.PathLike[str]) -> bool:
    """Whether a process, on whichever machine, is at the run; reading suffices, and nothing is left behind."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        with open(path(Path(os.path.realpath(folder))), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        # A file system without locks: there the file itself is the lock, and goes with its holder if that may.
        return not isinstance(error, (FileNotFoundError, PermissionError, NotADirectoryError))
    return False
