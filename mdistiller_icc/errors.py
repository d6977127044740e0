"""Mistakes a user can mend, and how they are told: one line, exit status 2, no traceback."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable


class UserError(Exception):
    """A mistake its user can mend; the message is one line: the thing, the place, what to do."""


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the candidate closest to ``name``, or ``""`` if none is close.

    Letter case is ignored, since mdistiller mixes ``resnet110`` and ``ResNet50``.

    >>> nearest("resnet111", ["resnet110", "vgg8"])
    " (did you mean 'resnet110'?)"
    """
    folded = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return f" (did you mean '{folded[close[0]]}'?)" if close else ""


def exit_status(main: Callable[[], int | None]) -> int:
    """Run a command line's ``main`` and return its exit status: 2 for a `UserError`, 130 for Ctrl-C."""
    try:
        return main() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
