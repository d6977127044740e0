"""A table's YAML file, read and checked."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import fields
from itertools import combinations
from pathlib import Path
from types import NoneType
from typing import Any

from mdistiller_icc.config import read_yaml
from mdistiller_icc.errors import UserError, nearest
from mdistiller_icc.own_code import is_file
from mdistiller_icc.paths import expand
from mdistiller_icc.studies.table import ANALYSES, KINDS, PROTOCOLS, Kind, Pair, Part, Settings, Table

SHIPPED = Path(__file__).parent / "tables"


def shipped() -> list[str]:
    """The names of the tables that come with the package."""
    return sorted(file.stem for file in SHIPPED.glob("*.yaml"))


def load(name: str) -> Table:
    """Read a table that comes with the package, or one in a YAML file.

    Raises:
        UserError: there is no such table, or its file is not a table.
    """
    file = _find(name, Path())
    contents = _contents(read_yaml(file), file)
    several = len(contents) > 1
    parts = [
        _Reader(f"{file}: parts[{i}]" if several else str(file)).part(content, file.stem)
        for i, content in enumerate(contents)
    ]
    reader = _Reader(str(file))
    about = reader.of(str, contents[0].get("about", ""), "about", "text")
    return Table(str(file), about, parts, reader.analysis(contents[0]), contents[0].get("imports", []))


OF_PART = {field.name for field in fields(Part)} - {"asked"}
OF_TABLE = {"about", "analysis", "geometry", "imports"}
"""The keys of a file; ``geometry: true`` is an older way to ask for that analysis."""


def _find(name: str, folder: Path, said: str = "") -> Path:
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return folder / expand(name, "TABLE")
    if name not in shipped():
        there = ", ".join(shipped())
        raise UserError(f"{said}no table '{name}'{nearest(name, shipped())}; there are {there}, or name a YAML file")
    return SHIPPED / f"{name}.yaml"


def _contents(content: Settings, file: Path, below: tuple[Path, ...] = ()) -> list[Settings]:
    """What a file says of each of its parts: their own words, those beside them, those of the table they are like."""
    content, reader = dict(content), _Reader(str(file))
    if "imports" in content:
        content["imports"] = reader.imports(content["imports"], file.parent)
    if "parts" in content:
        parts = [reader.mapping(part, "parts") for part in reader.of(list, content.pop("parts"), "parts", "a list")]
        if not parts:
            raise UserError(f"{file}: parts is empty")
        for i, part in enumerate(parts):
            if whole := OF_TABLE & part.keys():
                raise UserError(f"{file}: parts[{i}]: '{min(whole)}' belongs to the whole table")
        return [one for part in parts for one in _contents(content | part, file, below)]
    if "like" not in content:
        return [content]
    if file.resolve() in below:
        raise UserError(f"{file}: 'like' goes round in a circle")
    other = _find(str(content.pop("like")), file.parent, f"{file}: like: ")
    return [found | content for found in _contents(read_yaml(other), other, (*below, file.resolve()))]


class _Reader:
    """Turns a file's content into a `Table`; every error names the file and the place."""

    def __init__(self, source: str) -> None:
        self.source = source

    def part(self, content: Settings, name: str) -> Part:
        self._known(content, "", OF_PART | OF_TABLE)
        self._there(content, "", ("dataset", "epochs", "teachers", "methods", "pairs"))
        teachers = self.mapping(content["teachers"], "teachers")
        self._known(teachers, "teachers: ", KINDS)
        methods = self._nested(content["methods"], "methods")
        pairs = self.of(list, content["pairs"], "pairs", "a list of pairs")
        if not (teachers and pairs):
            raise UserError(f"{self.source}: {'teachers' if pairs else 'pairs'} is empty")
        return Part(
            project=self.of(str, content.get("project", name), "project", "text"),
            dataset=self.of(str, content["dataset"], "dataset", "text"),
            seeds=self._seeds(content.get("seeds", [0])),
            epochs=self._epochs(content["epochs"]),
            settings=self.mapping(content.get("settings"), "settings"),
            teachers={kind: self._kind(value, f"teachers: {kind}") for kind, value in teachers.items()},
            methods=methods,
            pairs=[self._pair(pair, f"pairs[{i}]", methods) for i, pair in enumerate(pairs)],
            alone=self._flag(content, "alone"),
            skip_missing=self._flag(content, "skip_missing"),
            store=self.of(str, content.get("store", ""), "store", "text"),
            pair_settings=self._pair_settings(content.get("pair_settings", "none")),
        )

    def analysis(self, content: Settings) -> dict[str, dict[str, float]]:
        asked = self._nested(content.get("analysis"), "analysis")
        if self._flag(content, "geometry"):
            asked.setdefault("geometry", {})
        self._known(asked, "analysis: ", ANALYSES)
        for name, settings in asked.items():
            self._known(settings, f"analysis: {name}: ", ANALYSES[name])
            for key, value in settings.items():
                if type(value) not in (int, float) or not 0 < value <= 1:
                    raise UserError(f"{self.source}: analysis: {name}: {key} is above 0 and at most 1, got {value!r}")
        return {name: ANALYSES[name] | settings for name, settings in asked.items()}

    def imports(self, value: Any, folder: Path) -> list[str]:
        """Modules' names, and files, which are looked for from the table's own folder."""
        what = "a list of files and modules"
        names = [self.of(str, name, "imports", what) for name in self.of(list, value, "imports", what)]
        return [os.path.abspath(folder / expand(name, "imports")) if is_file(name) else name for name in names]

    def _pair_settings(self, value: Any) -> str:
        if value not in ("none", "published"):
            raise UserError(f"{self.source}: pair_settings is published or none, got {value!r}")
        return str(value)

    def _flag(self, content: Settings, key: str) -> bool:
        return self.of(bool, content.get(key, False), key, "true or false")

    def _kind(self, value: Any, place: str) -> Kind:
        settings = dict(self.mapping(value, place))
        vary = self.mapping(settings.pop("vary", None), f"{place}: vary")
        for key, values in vary.items():
            self.of(str, key, f"{place}: vary", "a setting such as ICC.MARGIN")
            if not self.of(list, values, f"{place}: vary: {key}", "a list of values"):
                raise UserError(f"{self.source}: {place}: vary: {key} is empty")
            for one, other in combinations(values, 2):
                if one == other and str(one) != str(other):  # they would make two runs of two names
                    raise UserError(f"{self.source}: {place}: vary: {key}: {one} and {other} are the same value")
        if place.endswith("pretrained") and (settings or vary):
            raise UserError(f"{self.source}: {place}: is not trained, so it has no settings")
        return Kind(settings, vary)

    def _pair(self, value: Any, place: str, methods: Iterable[str]) -> Pair:
        pair = self.mapping(value, place)
        self._known(pair, f"{place}: ", [field.name for field in fields(Pair)])
        self._there(pair, f"{place}: ", ("teacher", "student"))
        own = self._nested(pair.get("methods"), f"{place}: methods")
        self._known(own, f"{place}: methods: ", methods)
        return Pair(
            teacher=self.of(str, pair["teacher"], f"{place}: teacher", "an architecture"),
            student=self.of((str, NoneType), pair["student"], f"{place}: student", "an architecture or null"),
            settings=self.mapping(pair.get("settings"), f"{place}: settings"),
            methods=own,
        )

    def _seeds(self, value: Any) -> list[int]:
        seeds = self.of(list, value, "seeds", "a list of whole numbers")
        if not seeds or any(type(seed) is not int or seed < 0 for seed in seeds):
            raise UserError(f"{self.source}: seeds are whole numbers of at least 0, got {value!r}")
        return list(dict.fromkeys(seeds))

    def _epochs(self, value: Any) -> dict[str, int]:
        epochs = self.mapping(value, "epochs")
        self._known(epochs, "epochs: ", PROTOCOLS)
        self._there(epochs, "epochs: ", PROTOCOLS)
        for protocol, number in epochs.items():
            if type(number) is not int or number < 1:
                raise UserError(f"{self.source}: epochs: {protocol} is a whole number of at least 1, got {number!r}")
        return epochs

    def _known(self, found: Settings, place: str, known: Iterable[str]) -> None:
        for key in found:
            if key not in known:
                told = ", ".join(sorted(known))
                raise UserError(f"{self.source}: {place}unknown key '{key}'{nearest(str(key), known)}; known: {told}")

    def _there(self, found: Settings, place: str, wanted: Iterable[str]) -> None:
        for key in wanted:
            if key not in found:
                raise UserError(f"{self.source}: {place}'{key}' is missing")

    def _nested(self, value: Any, place: str) -> dict[str, Settings]:
        return {
            self.of(str, key, place, "names with settings"): self.mapping(inner, f"{place}: {key}")
            for key, inner in self.mapping(value, place).items()
        }

    def mapping(self, value: Any, place: str) -> Settings:
        return {} if value is None else self.of(dict, value, place, "keys with values")

    def of(self, wanted: type | tuple[type, ...], value: Any, place: str, what: str) -> Any:
        if not isinstance(value, wanted):
            raise UserError(f"{self.source}: {place} wants {what}, got {value!r}")
        return value
