"""A table of the literature: which methods, between which networks, from which teachers, under which protocol."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import NoneType
from typing import Any

from mdistiller_icc.config import read_yaml
from mdistiller_icc.errors import UserError, nearest

SHIPPED = Path(__file__).parent / "tables"
KINDS = ("vanilla", "icc", "pretrained")
"""Teachers a table may ask for; ``pretrained`` is the host's own checkpoint and is not trained."""

PROTOCOLS = ("full", "short")
ANALYSES: dict[str, dict[str, float]] = {
    "accuracy": {}, "geometry": {}, "sensitivity": {"share": 0.9}, "pareto": {"share": 0.9},
}  # fmt: skip
"""What a table may ask to be worked out once its runs are finished, with the defaults of its settings.

``accuracy``: every method from every teacher, and its gain, as ``tools/collect.py`` shows it; ``geometry``: the
teachers' feature spaces; ``sensitivity``: accuracy, and epochs to converge, against each setting that varies;
``pareto``: one against the other, with the front. ``share`` is that of its final accuracy at which a teacher counts as
converged.
"""
Settings = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """A teacher's and a student's architecture.

    Attributes:
        student: None trains the teachers alone.
        settings: for every student of the pair.
        methods: further settings, by method.
    """

    teacher: str
    student: str | None
    settings: Settings
    methods: dict[str, Settings]

    @property
    def name(self) -> str:
        """``resnet56:resnet20``, by which a command line chooses it."""
        return self.teacher if self.student is None else f"{self.teacher}:{self.student}"


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
class Part:
    """The runs of a table on one data set; settings are nested, in mdistiller's schema.

    Attributes:
        project: the runs' ``EXPERIMENT.PROJECT``; tables that share it share runs.
        epochs: by protocol.
        settings: for every run.
        teachers: by kind.
        methods: settings by ``DISTILLER.TYPE``.
        alone: train the students without a teacher as well.
        skip_missing: leave the part out where its data set is not there.
        store: subfolder of the teacher store for teachers that are not made as everybody expects.
    """

    project: str
    dataset: str
    seeds: list[int]
    epochs: dict[str, int]
    settings: Settings
    teachers: dict[str, Kind]
    methods: dict[str, Settings]
    pairs: list[Pair]
    alone: bool = False
    skip_missing: bool = False
    store: str = ""

    @property
    def methods_made(self) -> list[str]:
        """The methods of its students, ``NONE`` for those without a teacher."""
        return [*self.methods, *(["NONE"] if self.alone else [])]


@dataclass(frozen=True)
class Table:
    """The content of a table's file.

    Attributes:
        source: the file, for messages.
        parts: one, but for tables on several data sets.
        analysis: what to work out once all runs are finished, with its settings.
    """

    source: str
    about: str
    parts: list[Part]
    analysis: dict[str, dict[str, float]]

    @property
    def name(self) -> str:
        return Path(self.source).stem

    def only(self, pairs: Sequence[str] | None, methods: Sequence[str] | None) -> Table:
        """The same table with these pairs (``TEACHER:STUDENT``) and methods alone; ``NONE`` is a student alone.

        Raises:
            UserError: the table has none of that name.
        """
        parts = self.parts
        if pairs is not None:
            self._have("--pairs", pairs, [pair.name for part in parts for pair in part.pairs])
            parts = [replace(part, pairs=[pair for pair in part.pairs if pair.name in pairs]) for part in parts]
        if methods is not None:
            self._have("--methods", methods, [method for part in parts for method in part.methods_made])
            parts = [
                replace(
                    part,
                    methods={name: own for name, own in part.methods.items() if name in methods},
                    alone=part.alone and "NONE" in methods,
                )
                for part in parts
                if not set(methods).isdisjoint(part.methods_made)
            ]
        return replace(self, parts=[part for part in parts if part.pairs])

    def _have(self, option: str, wanted: Iterable[str], known: Iterable[str]) -> None:
        there = list(dict.fromkeys(known))
        for name in wanted:
            if name not in there:
                told = f"it has {', '.join(there)}" if there else "it has none"
                raise UserError(f"{option}: {self.source} has no '{name}'{nearest(name, there)}; {told}")


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
    return Table(str(file), about, parts, reader.analysis(contents[0]))


OF_PART = {field.name for field in fields(Part)}
OF_TABLE = {"about", "analysis", "geometry"}
"""The keys of a file; ``geometry: true`` is an older way to ask for that analysis."""


def _find(name: str, folder: Path, said: str = "") -> Path:
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return folder / name
    if name not in shipped():
        there = ", ".join(shipped())
        raise UserError(f"{said}no table '{name}'{nearest(name, shipped())}; there are {there}, or name a YAML file")
    return SHIPPED / f"{name}.yaml"


def _contents(content: Settings, file: Path, below: tuple[Path, ...] = ()) -> list[Settings]:
    """What a file says of each of its parts: their own words, those beside them, those of the table they are like."""
    content, reader = dict(content), _Reader(str(file))
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

    def _flag(self, content: Settings, key: str) -> bool:
        return self.of(bool, content.get(key, False), key, "true or false")

    def _kind(self, value: Any, place: str) -> Kind:
        settings = dict(self.mapping(value, place))
        vary = self.mapping(settings.pop("vary", None), f"{place}: vary")
        for key, values in vary.items():
            if not self.of(list, values, f"{place}: vary: {key}", "a list of values"):
                raise UserError(f"{self.source}: {place}: vary: {key} is empty")
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
        return {key: self.mapping(inner, f"{place}: {key}") for key, inner in self.mapping(value, place).items()}

    def mapping(self, value: Any, place: str) -> Settings:
        return {} if value is None else self.of(dict, value, place, "keys with values")

    def of(self, wanted: type | tuple[type, ...], value: Any, place: str, what: str) -> Any:
        if not isinstance(value, wanted):
            raise UserError(f"{self.source}: {place} wants {what}, got {value!r}")
        return value
