"""Mistakes a user can mend, and how they are told: one line, exit status 2, no traceback."""

from __future__ import annotations

import contextlib
import difflib
import errno
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

SHOWN = 80
"""Characters of a value that a message shows."""


class UserError(Exception):
    """A mistake its user can mend; the message is one line: the thing, the place, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def shown(value: Any) -> str:
    """A value as a message shows it, cut at 80 characters.

    >>> shown("x"), len(shown("x" * 5000))
    ("'x'", 80)
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a list in a list in a list …
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def one_line(text: str) -> str:
    """A message on one line: what no terminal can show is escaped, what would fill the screen is cut."""
    text = re.sub(r"\s*[\n\v\f\r\x1c-\x1f\x85\u2028\u2029]\s*", " ", text.strip())
    text = "".join(c if c.isprintable() or c.isspace() else c.encode("unicode_escape").decode() for c in text)
    text = re.sub(rf"""(?<![^\s(\[{{,:=])(['"])(?=\S)(?:(?!\1).){{{SHOWN + 1},}}\1""", _cut, text)  # a value in quotes
    return re.sub(rf"(\S{{{SHOWN - 1}}})\S{{{2 * SHOWN},}}(\S{{{SHOWN - 1}}})", r"\1…\2", text)  # few paths are as long


def _cut(found: re.Match[str]) -> str:
    return f"{found.group()[: SHOWN - 1]}…"


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the candidate closest to ``name``, or ``""`` if none is close.

    Letter case is ignored, since mdistiller mixes ``resnet110`` and ``ResNet50``.

    >>> nearest("resnet111", ["resnet110", "vgg8"])
    " (did you mean 'resnet110'?)"
    """
    folded = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return f" (did you mean '{folded[close[0]]}'?)" if close else ""


SURROUNDINGS = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR,
    errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO, errno.ESTALE, errno.EBUSY, errno.ETIMEDOUT, errno.EMFILE,
    errno.ENFILE,
}  # fmt: skip
"""Errors of the operating system that speak of disks, permissions and paths, not of this package."""


class Terminated(KeyboardInterrupt):
    """The process was told to stop with SIGTERM, as Slurm and Docker do; whoever handles Ctrl-C handles it."""


def stop_when_terminated() -> None:
    """Make SIGTERM end this process as Ctrl-C would, with `Terminated`; the processes it forks keep out of it."""
    own = os.getpid()

    def stop(*_: object) -> None:
        if os.getpid() != own:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: the record is being written
        if sys.platform != "win32":
            signal.signal(signal.SIGCHLD, lambda *_: None)  # processes that decode may have been told to stop, too
        raise Terminated

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Put off Ctrl-C and SIGTERM to the end of the block.

    An exception that comes between a lock's acquisition and its use, in a queue to a thread for instance, leaves the
    lock held for ever.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in handlers.items() if handler is not None}  # None is not Python's
    for number in before:
        signal.signal(number, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


def exit_status(main: Callable[[], int | None]) -> int:
    """Run a command line's ``main`` and return its exit status.

    2 for a `UserError` and for a disk, a permission or a path that does not let it work; as a shell would say, 130 for
    Ctrl-C, 143 for SIGTERM, and 141 where whoever read its output has gone. A character that the output cannot show is
    told by its number.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    stop_when_terminated()
    try:
        return main() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be flushed
        return 141
    except OSError as error:
        if error.errno not in SURROUNDINGS and not str(error.strerror).startswith("No usable temporary directory"):
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(one_line(f"error: {where}{error.strerror}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print("interrupted", file=sys.stderr)
        return 143 if isinstance(error, Terminated) else 130
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # what is still to be done at exit has nobody to tell it to
