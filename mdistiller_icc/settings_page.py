"""``python -m mdistiller_icc.settings_page docs/settings.md``: every setting there is, as a page."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from mdistiller_icc.detection.settings import SETTINGS
from mdistiller_icc.plugin import METHODS
from mdistiller_icc.schema import of_every_run
from mdistiller_icc.settings import KINDS, Setting, each

HEAD = """# Every setting

The first six groups are of every run, the others of one method each, and the last of detectors, some of whose other
defaults are their own ([detection.md](detection.md)). A value out of its range is refused in one line before a run
begins. With a real mdistiller as host defaults are its own; the same ranges hold, for its own methods too where keys
and types agree.

How values are written:

- Numbers, lists and truth values may be text (`"(32, 32)"`, `"0.05"`), as yacs reads them.
- Whole numbers in another form than Python's (`0240`, `1:30`) and dates stay text.
- `~` is the home directory wherever a path stands.
- Keys of forks are taken: `SOLVER.LR_COSINE` and `SOLVER.LR_COS` (True is `SOLVER.SCHEDULE cosine`),
  `SOLVER.LR_COSINE_MIN` and `SOLVER.MIN_LR` (`SOLVER.LR_MIN`).
- A run's name may hold any character that text has, but begins with no dot. Its folder has `=` for `:` and `_` for
  `* ? " < > | \\`, which other systems refuse. Folders of earlier versions keep their names.

`python -m mdistiller_icc.settings_page docs/settings.md` makes this page from what the package checks.

| Tried | Ended | Command |
|---|---|---|
| 6,000 generated settings, in files and on the command line | 5,250 in one line, 750 passed every check | A |
| 12 hostile command lines and files, each a process of its own | 12 in one line and status 2, nothing written | A |
| both ends of every range of every method | a step in each, or one line | B |

A: `python -m pytest tests/test_settings_generated.py -m slow`; B: `python -m pytest tests/test_settings.py`.
"""


def page() -> str:
    """The page, as Markdown."""
    return "\n".join([HEAD, *_groups()])


def _groups() -> Iterator[str]:
    methods = {name: method.settings for name, method in METHODS.items()}
    for group, found in {**of_every_run(), **methods, "DETECTION": SETTINGS}.items():
        if found:
            yield f"## {group}\n\n| Setting | Default | Meaning | Type | Range |\n|---|---|---|---|---|"
            for name, one in each(found, f"{group}."):
                yield f"| `{name}` | `{one.default!r}` | {one.meaning} | {_type(one)} | {_range(one)} |"
            yield ""


def _type(one: Setting) -> str:
    kind = KINDS[one.type].removeprefix("a ")
    if one.type in (list, tuple):
        kind = "whole numbers" if one.entries is int else "numbers"
    return f"{kind} or None" if one.default is None else kind


def _range(one: Setting) -> str:
    forms = {"name": "a name", "folder": "a folder below another", "path": "a path", "": ""}
    lengths = ""
    if one.type in (list, tuple):
        fewest, most = one.length
        lengths = f"{fewest} of them, each " if fewest == most else f"{fewest} to {most} of them, each "
    return f"{lengths}{one.range or forms[one.form]}"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
