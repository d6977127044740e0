"""A table of the literature: which methods, between which networks, from which teachers, under which protocol."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdistiller_icc.config import read_yaml
from mdistiller_icc.errors import UserError, nearest

SHIPPED = Path(__file__).parent / "tables"
KINDS = ("vanilla", "icc", "pretrained")
"""Teachers a table may ask for; ``pretrained`` is the host's own checkpoint and is not trained."""

PROTOCOLS = ("full", "short")
Settings = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """A teacher's and a student's architecture.

    Attributes:
        settings: for every student of the pair.
        methods: further settings, by method.
    """

    teacher: str
    student: str
    settings: Settings
    methods: dict[str, Settings]


@dataclass(frozen=True)
class Kind:
    """A kind of teacher.

    Attributes:
        settings: of its training.
        vary: ``KEY`` to values; there is one teacher, with students of its own, for every combination.
    """

    settings: Settings
    vary: dict[str, list[Any]]


@dataclass(frozen=True)
class Table:
    """The content of a table's file; settings are nested, in mdistiller's schema.

    Attributes:
        source: the file, for messages.
        project: the runs' ``EXPERIMENT.PROJECT``; tables that share it share runs.
        epochs: by protocol.
        settings: for every run.
        teachers: by kind.
        methods: settings by ``DISTILLER.TYPE``.
        alone: train the students without a teacher as well.
        geometry: compare the teachers' feature spaces once all runs are finished.
    """

    source: str
    about: str
    project: str
    dataset: str
    seeds: list[int]
    epochs: dict[str, int]
    settings: Settings
    teachers: dict[str, Kind]
    methods: dict[str, Settings]
    pairs: list[Pair]
    alone: bool
    geometry: bool = False


def shipped() -> list[str]:
    """The names of the tables that come with the package."""
    return sorted(file.stem for file in SHIPPED.glob("*.yaml"))


def load(name: str) -> Table:
    """Read a table that comes with the package, or one in a YAML file.

    Raises:
        UserError: there is no such table, or its file is not a table.
    """
    file = _find(name, Path())
    return _Reader(str(file)).table(_content(file, ()), file.stem)


def _find(name: str, folder: Path, said: str = "") -> Path:
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return folder / name
    if name not in shipped():
        there = ", ".join(shipped())
        raise UserError(f"{said}no table '{name}'{nearest(name, shipped())}; there are {there}, or name a YAML file")
    return SHIPPED / f"{name}.yaml"


def _content(file: Path, below: tuple[Path, ...]) -> Settings:
    """What the file holds, and for keys it lacks what the table holds that it is ``like``."""
    content = read_yaml(file)
    if "like" not in content:
        return content
    if file.resolve() in below:
        raise UserError(f"{file}: 'like' goes round in a circle")
    other = _find(str(content.pop("like")), file.parent, f"{file}: like: ")
    return _content(other, (*below, file.resolve())) | content


class _Reader:
    """Turns a file's content into a `Table`; every error names the file and the place."""

    def __init__(self, source: str) -> None:
        self.source = source

    def table(self, content: Settings, name: str) -> Table:
        self._known(content, "", Table.__dataclass_fields__.keys() - {"source"})
        self._there(content, "", ("dataset", "epochs", "teachers", "methods", "pairs"))
        teachers = self._mapping(content["teachers"], "teachers")
        self._known(teachers, "teachers: ", KINDS)
        methods = self._nested(content["methods"], "methods")
        pairs = self._of(list, content["pairs"], "pairs", "a list of pairs")
        if not (teachers and pairs):
            raise UserError(f"{self.source}: {'teachers' if pairs else 'pairs'} is empty")
        return Table(
            source=self.source,
            about=self._of(str, content.get("about", ""), "about", "text"),
            project=self._of(str, content.get("project", name), "project", "text"),
            dataset=self._of(str, content["dataset"], "dataset", "text"),
            seeds=self._seeds(content.get("seeds", [0])),
            epochs=self._epochs(content["epochs"]),
            settings=self._mapping(content.get("settings"), "settings"),
            teachers={kind: self._kind(value, f"teachers: {kind}") for kind, value in teachers.items()},
            methods=methods,
            pairs=[self._pair(pair, f"pairs[{i}]", methods) for i, pair in enumerate(pairs)],
            alone=self._of(bool, content.get("alone", False), "alone", "true or false"),
            geometry=self._of(bool, content.get("geometry", False), "geometry", "true or false"),
        )

    def _kind(self, value: Any, place: str) -> Kind:
        settings = dict(self._mapping(value, place))
        vary = self._mapping(settings.pop("vary", None), f"{place}: vary")
        for key, values in vary.items():
            if not self._of(list, values, f"{place}: vary: {key}", "a list of values"):
                raise UserError(f"{self.source}: {place}: vary: {key} is empty")
        if place.endswith("pretrained") and (settings or vary):
            raise UserError(f"{self.source}: {place}: is not trained, so it has no settings")
        return Kind(settings, vary)

    def _pair(self, value: Any, place: str, methods: Iterable[str]) -> Pair:
        pair = self._mapping(value, place)
        self._known(pair, f"{place}: ", Pair.__dataclass_fields__)
        self._there(pair, f"{place}: ", ("teacher", "student"))
        own = self._nested(pair.get("methods"), f"{place}: methods")
        self._known(own, f"{place}: methods: ", methods)
        return Pair(
            teacher=self._of(str, pair["teacher"], f"{place}: teacher", "an architecture"),
            student=self._of(str, pair["student"], f"{place}: student", "an architecture"),
            settings=self._mapping(pair.get("settings"), f"{place}: settings"),
            methods=own,
        )

    def _seeds(self, value: Any) -> list[int]:
        seeds = self._of(list, value, "seeds", "a list of whole numbers")
        if not seeds or any(type(seed) is not int or seed < 0 for seed in seeds):
            raise UserError(f"{self.source}: seeds are whole numbers of at least 0, got {value!r}")
        return list(dict.fromkeys(seeds))

    def _epochs(self, value: Any) -> dict[str, int]:
        epochs = self._mapping(value, "epochs")
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
        return {key: self._mapping(inner, f"{place}: {key}") for key, inner in self._mapping(value, place).items()}

    def _mapping(self, value: Any, place: str) -> Settings:
        return {} if value is None else self._of(dict, value, place, "keys with values")

    def _of(self, wanted: type, value: Any, place: str, what: str) -> Any:
        if not isinstance(value, wanted):
            raise UserError(f"{self.source}: {place} wants {what}, got {value!r}")
        return value
