"""Files that are there whole and under their name, or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mdistiller_icc.errors import UserError

HOST = socket.gethostname().replace(".", "-") or "here"


@contextlib.contextmanager
def replacing(path: str | Path, before: Path | None = None, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a file that takes the place of ``path`` when the block ends well.

    Until then it lies beside, under a hidden name that ends with this machine and process; what processes of this
    machine that are gone left there is cleared.

    Args:
        path: its folder is there.
        before: the name under which the file that is replaced stays.
        sync: wait until the disk has the file, and then its name, so that a power cut does not leave half of it.

    Raises:
        OSError: with the name of the file.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{HOST}.{os.getpid()}")
    _clear(path)
    with naming(path):
        try:
            with open(aside, "wb") as file:
                yield file
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            if before is not None and path.exists():
                os.replace(path, before)
            os.replace(aside, path)
            if sync:
                _sync(path.parent)
        finally:
            aside.unlink(missing_ok=True)


def write(path: str | Path, text: str) -> None:
    """Write a text file, which can do without the disk's word; see `replacing`."""
    with replacing(path, sync=False) as file:
        file.write(text.encode("utf-8", "replace"))


def check_ours(path: str | Path, begins: str, option: str) -> None:
    """Refuse to replace a file that is not one of those that the command itself writes; an empty one is nobody's.

    Args:
        begins: how those begin, as a regular expression.
        option: that names the file, for the message.

    Raises:
        UserError: it is another.
    """
    if not os.path.isfile(path):
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        beginning = file.read(4096)
    if beginning and not re.match(begins, beginning):
        raise UserError(f"{option} {path}: is there, and not what this command writes; move it away or name another")


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Give an error of the operating system the name of the file: it has none, or that of one that lies aside."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def _sync(folder: Path) -> None:
    """Bring a folder's names onto the disk, where the system can."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _clear(path: Path) -> None:
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        host, _, number = left.name.removeprefix(f".{path.name}.").rpartition(".")
        if host in ("", HOST) and number.isdecimal() and not _lives(int(number)):  # version 0.1.0 left out the machine
            left.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    if os.name != "posix":  # elsewhere asking is killing
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
