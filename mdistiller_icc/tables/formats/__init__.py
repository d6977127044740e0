"""The formats of tables: each file here is one, named by the word that asks for it.

A format has the ``SUFFIX`` of its files and ``write(report) -> str``. To add one, add its file.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Protocol, cast

from mdistiller_icc.tables.report import Report


class Format(Protocol):
    """What every file of this folder offers."""

    SUFFIX: str

    def write(self, report: Report) -> str:
        """The report as text of this format."""
        ...


FORMATS = {name: cast(Format, import_module(f"{__name__}.{name}")) for _, name, _ in iter_modules(__path__)}
"""Every format by its word: ``csv``, ``html``, ``json``, ``latex``, ``md``."""
