"""Fonts for whatever script names are written in, of those that the machine has."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable

from mdistiller_icc.geometry.extra import analysis_extra

SHOWN = 5
"""How many letters a message names."""


def families(names: Iterable[str]) -> list[str]:
    """Matplotlib's font families that together have the letters of these names, its own font first.

    Letters that no font on this machine has are told on standard error, once.
    """
    with analysis_extra():
        from matplotlib.font_manager import FontProperties, findfont, fontManager
    own = FontProperties()
    found = own.get_family()
    missing = {ord(letter) for name in names for letter in name if letter.isprintable() and letter != " "}
    missing -= _letters(findfont(own))
    # Upright and of common weight first: an italic or black cut has the same letters. The last resort has boxes alone.
    fonts = sorted(fontManager.ttflist, key=lambda font: (font.style != "normal", str(font.weight) not in USUAL))
    for font in fonts:
        if not missing:
            return found
        if (
            font.name not in found
            and not font.name.startswith("Last Resort")
            and (covered := missing & _letters(font.fname))
        ):
            found = [*found, font.name]
            missing -= covered
    if missing:
        _tell("".join(map(chr, sorted(missing))))
    return found


USUAL = ("400", "normal", "regular", "book")


@functools.cache
def _letters(file: str) -> frozenset[int]:
    """The letters of a font file; none of one that is damaged."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(file).get_charmap())
    except (RuntimeError, OSError):
        return frozenset()


@functools.cache
def _tell(letters: str) -> None:
    named = " ".join(letters[:SHOWN]) + (f" and {len(letters) - SHOWN} more" if len(letters) > SHOWN else "")
    print(f"pictures: no font on this machine has {named}, drawn as boxes; a Noto font may", file=sys.stderr)
