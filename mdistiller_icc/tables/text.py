"""Names and numbers as tables write them."""

from __future__ import annotations

from mdistiller_icc.tables.records import KINDS, Column

CHOSEN = {
    "last": "last epoch",
    "mean10": "mean of the last 10 epochs",
    "best": "best test epoch",
    "heldout": "epoch chosen on the held-out split",
}
NAMES = {
    "FITNET": "FitNet", "REVIEWKD": "ReviewKD", "BICKD": "BicKD", "PCKD_WITHOUT_KD": "PCKD without KD",
    "SIMKD": "SimKD", "NORMKD": "NormKD", "CATKD": "CAT-KD",
}  # fmt: skip


def named(method: str, settings: str) -> str:
    """A method with the settings that tell it from others of its name."""
    name = NAMES.get(method, method)
    return f"{name} ({settings})" if settings else name


def teacher_named(kind: str, recipe: str) -> str:
    """A kind of teacher with what tells it from others of its kind."""
    return f"{KINDS[kind]} ({recipe})" if recipe else KINDS[kind]


def headed(column: Column) -> str:
    """``resnet56 → resnet20``, or the architecture."""
    return " → ".join(column)


def signed(value: float, digits: int = 2) -> str:
    """So many decimals with a sign and a true minus; what rounds to zero has none."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def harmless(text: str) -> str:
    """Text for a cell of a CSV file, which a spreadsheet must not take for a formula; numbers stay numbers.

    >>> harmless("=1+1"), harmless("-0.5"), harmless("resnet8")
    ("'=1+1", '-0.5', 'resnet8')
    """
    if not text.startswith(("=", "+", "-", "@", "\t", "\r")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def one_line(text: str) -> str:
    """The text with line breaks and control characters as single spaces."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
