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
