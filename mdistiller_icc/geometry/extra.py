"""One line for a missing drawing library, in place of a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mdistiller_icc.errors import UserError


@contextmanager
def analysis_extra() -> Iterator[None]:
    """Wrap the imports of the ``analysis`` extra, so that a missing one tells how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "a package").partition(".")[0]
        raise UserError(f"pictures need {package}: pip install 'mdistiller_icc[analysis]'") from error
