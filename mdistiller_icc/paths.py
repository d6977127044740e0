"""Paths as people write them."""

from __future__ import annotations

from pathlib import Path

from mdistiller_icc.errors import UserError


def expand(path: str | Path, key: str) -> Path:
    """A path with its leading ``~`` or ``~name`` replaced by that user's home folder.

    Args:
        path: a file or folder.
        key: the setting or option it comes from, for the message.

    Raises:
        UserError: nobody knows that user's home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        who = Path(path).parts[0]
        raise UserError(f"{key} {path}: no home folder is known for {who}; ./{who} is a folder of that name") from None


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are not there.

    Raises:
        UserError: there are none to be made, as under ``/proc``; the system says "no such file" then.
        OSError: it is not allowed, the disk is full, a file is in the way.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError:
        raise UserError(f"{folder}: no folder can be made there") from None
