"""What a setting is: its default, what it means and which values it may have; and how a configuration is checked."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union

from yacs.config import CfgNode

from mdistiller_icc.errors import UserError, nearest, shown

KINDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text", list: "a list", tuple: "a list"}
LARGEST = 2**31 - 1
"""Of whole numbers that have no bound of their own."""
LONGEST = 200
"""Bytes of a folder's name; file systems take 255."""


@dataclass(frozen=True)
class Setting:
    """One key of the configuration.

    Attributes:
        default: its type is the type of every value.
        meaning: a sentence about it.
        least: the smallest number that it may be; of a list, each of its entries.
        most: the largest, likewise.
        above: a number that it must be larger than.
        below: a number that it must be smaller than.
        choices: the values that it may have, if they are few.
        length: the fewest and the most entries of a list.
        form: what a text is: a run's ``name``, a ``folder`` below another one, or any ``path``.
        entries: the type of a list's entries.
        kind: the type of a value where the default is None, which may then be a value as well.
    """

    default: Any
    meaning: str
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[Any, ...] = ()
    length: tuple[int, int] = (0, 1000)
    form: Literal["", "name", "folder", "path"] = ""
    entries: type = int
    kind: type = type(None)

    @property
    def type(self) -> type:
        """The type of every value but None."""
        return self.kind if self.default is None else type(self.default)

    @property
    def range(self) -> str:
        """The numbers or choices in words: ``above 0 and at most 1``; empty where nothing limits them."""
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        if self.least is not None and self.most is not None:
            return f"between {_number(self.least)} and {_number(self.most)}"
        bounds = (("at least", self.least), ("above", self.above), ("at most", self.most), ("below", self.below))
        return " and ".join(f"{word} {_number(bound)}" for word, bound in bounds if bound is not None)

    def check(self, name: str, value: Any) -> None:
        """Look at the value of the key ``name``.

        Raises:
            UserError: it has another type, or is out of range.
        """
        if value is None and self.default is None:
            return
        lists = (list, tuple)
        kinds = lists if self.type in lists else (int, float) if self.type is float else (self.type,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and self.type is not bool):
            raise UserError(f"{name} wants {KINDS[self.type]}, got {shown(value)}")
        if isinstance(value, lists):
            self._check_list(name, value)
        elif not self._takes(value):
            if self.choices:
                told = nearest(value, self.choices) if isinstance(value, str) else ""
                raise UserError(f"{name} is {self.range}, not {shown(value)}{told}")
            raise UserError(f"{name} must be {self._wanted(value)}, not {shown(value)}")
        elif isinstance(value, str):
            self._check_text(name, value)

    def _check_list(self, name: str, value: Any) -> None:
        fewest, most = self.length
        if not fewest <= len(value) <= most:
            many = str(fewest) if fewest == most else f"{fewest} to {most}"
            raise UserError(f"{name} wants {many} numbers, got {len(value)}: {shown(value)}")
        for entry in value:
            if type(entry) not in (int, self.entries):
                what = "whole numbers" if self.entries is int else "numbers"
                raise UserError(f"{name} wants {what}, got {shown(value)}")
            if not self._takes(entry):
                raise UserError(f"{name} has numbers of {self._wanted(entry)}, not {shown(entry)}")

    def _takes(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def _wanted(self, value: Any) -> str:
        """The range in words; where its end is only there because there must be one, the end that ``value`` is past."""
        if self.least is None or self.most is None or self.most <= 1000:
            return self.range
        return f"at least {_number(self.least)}" if value < self.least else f"at most {_number(self.most)}"

    def _check_text(self, name: str, value: str) -> None:
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in value):
            raise UserError(f"{name} holds characters that no text has: {shown(value)}")
        if self.form == "folder" and (value.startswith("/") or re.match("[A-Za-z]:", value)):
            raise UserError(f"{name} is a folder below LOG.PREFIX, not a path of its own: {shown(value)}")
        if self.form == "folder" and any(len(part.encode()) > LONGEST for part in value.split("/")):
            raise UserError(f"{name} is longer than {LONGEST} bytes, more than a folder's name may be: {shown(value)}")
        if self.form in ("name", "folder") and any(part.startswith(".") for part in re.split(r"[/\\]", value)):
            raise UserError(f"{name} may not begin with a dot, or have a part that does: {shown(value)}")


Settings = Mapping[str, Union[Setting, "Settings"]]
"""Settings by their keys, in groups or not."""


def weight(default: float, of: str) -> Setting:
    """The weight of a loss."""
    return Setting(default, f"Weight of {of}.", least=0, most=1e9)


def temperature(default: float, what: str = "Temperature that logits are divided by.") -> Setting:
    """A temperature."""
    return Setting(default, what, least=1e-3, most=1e3)


def count(default: int, meaning: str, least: int = 1, most: int = LARGEST) -> Setting:
    """A whole number of things."""
    return Setting(default, meaning, least=least, most=most)


def warmup_epochs(default: int) -> Setting:
    """The epochs over which a loss sets in."""
    return count(default, "Epochs over which the distillation weight rises from 0; 0 for none.", least=0, most=10**6)


def node(settings: Settings) -> CfgNode:
    """The part of a configuration that the settings describe, with every default."""
    made = CfgNode()
    for key, one in settings.items():
        if isinstance(one, Setting):
            made[key] = list(one.default) if isinstance(one.default, list) else one.default
        else:
            made[key] = node(one)
    return made


def check(cfg: CfgNode, settings: Settings, prefix: str = "") -> None:
    """Look at every setting of ``cfg`` that is described; a key that ``cfg`` lacks is passed over.

    Args:
        prefix: the dotted key that ``cfg`` stands at, with a dot at its end.

    Raises:
        UserError: naming the first that has another type, or is out of range.
    """
    for key, one in settings.items():
        if key not in cfg:
            continue
        if isinstance(one, Setting):
            one.check(f"{prefix}{key}", cfg[key])
        elif isinstance(cfg[key], CfgNode):
            check(cfg[key], one, f"{prefix}{key}.")


def each(settings: Settings, prefix: str = "") -> Iterator[tuple[str, Setting]]:
    """Every setting with its dotted key."""
    for key, one in settings.items():
        if isinstance(one, Setting):
            yield f"{prefix}{key}", one
        else:
            yield from each(one, f"{prefix}{key}.")


def suiting(settings: Settings, theirs: CfgNode) -> Settings:
    """Those that somebody else's node of the same name has in the same type."""
    suit: dict[str, Setting | Settings] = {}
    for key, one in settings.items():
        value = theirs.get(key)
        if isinstance(one, Setting):
            if type(value) is one.type:
                suit[key] = one
        elif isinstance(value, CfgNode):
            suit[key] = suiting(one, value)
    return suit


def check_memory(name: str, value: Any, size: int) -> None:
    """Refuse what would not fit into the memory that is there.

    Args:
        name: the key to blame.
        value: what it is set to.
        size: the bytes that it takes.

    Raises:
        UserError: they are more than there are.
    """
    there = _memory()
    if size > there:
        raise UserError(f"{name} {shown(value)} takes {size / 2**30:.1f} GiB of memory; there are {there / 2**30:.1f}")


def _memory() -> int:
    """The bytes that a process here may still take: of what the machine has, what is free of it, and a container's."""
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return 2**36
    for path, pattern, unit in _MEMORY:
        if path.is_file() and (found := re.search(pattern, path.read_text())):
            there = min(there, int(found[1]) * unit)
    return there


_MEMORY = (
    (Path("/proc/meminfo"), r"MemAvailable:\s*(\d+) kB", 1024),
    (Path("/sys/fs/cgroup/memory.max"), r"^(\d+)", 1),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), r"^(\d+)", 1),
)
"""Where Linux tells how much memory there is."""


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}".replace("e+0", "e").replace("e-0", "e-")
