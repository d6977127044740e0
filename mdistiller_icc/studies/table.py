"""A table of the literature: which methods, between which networks, from which teachers, under which protocol."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mdistiller_icc.errors import UserError, nearest

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
        methods: settings by ``DISTILLER.TYPE``, with +LS where logits are standardised.
        alone: train the students without a teacher as well.
        skip_missing: leave the part out where its data set is not there.
        store: subfolder of the teacher store for teachers that are not made as everybody expects.
        pair_settings: ``published`` or ``none``; students' settings are those published for their pair.
        asked: what the command line says of that, where it is something else.
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
    pair_settings: str = "none"
    asked: str = ""

    @property
    def methods_made(self) -> list[str]:
        """The methods of its students, ``NONE`` for those without a teacher."""
        return [*self.methods, *(["NONE"] if self.alone else [])]

    def only(self, methods: Collection[str]) -> list[Part]:
        """The part with these methods alone; see `Table.only`."""
        if set(methods).isdisjoint(self.methods_made):
            return []
        kept = {name: own for name, own in self.methods.items() if name in methods}
        one = replace(self, methods=kept, alone=self.alone and "NONE" in methods)
        if kept:
            return [one]
        taught = [pair for pair in self.pairs if pair.student is not None]
        teachers = [pair for pair in self.pairs if pair.student is None]
        return [replace(one, teachers={}, pairs=taught), replace(one, alone=False, pairs=teachers)]


@dataclass(frozen=True)
class Table:
    """The content of a table's file.

    Attributes:
        source: the file, for messages.
        parts: one, but for tables on several data sets.
        analysis: what to work out once all runs are finished, with its settings.
        imports: files and modules with distillers and networks of the user's own, imported before a run is made.
    """

    source: str
    about: str
    parts: list[Part]
    analysis: dict[str, dict[str, float]]
    imports: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The table's file, without folder and ending."""
        return Path(self.source).stem

    def only(self, pairs: Sequence[str] | None, methods: Sequence[str] | None) -> Table:
        """The same table with these pairs (``TEACHER:STUDENT``) and methods alone; ``NONE`` is a student alone.

        Where no method but ``NONE`` is left, teachers are those of the pairs without a student.

        Raises:
            UserError: the table has none of that name, or none of these pairs and methods together.
        """
        parts = self.parts
        if pairs is not None:
            self._have("--pairs", pairs, [pair.name for part in parts for pair in part.pairs])
            parts = [replace(part, pairs=[pair for pair in part.pairs if pair.name in pairs]) for part in parts]
        if methods is not None:
            self._have("--methods", methods, [method for part in parts for method in part.methods_made])
            parts = [one for part in parts for one in part.only(methods)]
        parts = [part for part in parts if part.pairs]
        if not parts:
            told = f"{', '.join(methods or [])} for {', '.join(pairs or [])}"
            raise UserError(f"--pairs, --methods: {self.source} has no part with {told}")
        return replace(self, parts=parts)

    def asking(self, pair_settings: str | None) -> Table:
        """The same table with ``published`` or with no settings of its pairs, whatever it says itself."""
        wanted = [part.pair_settings if pair_settings is None else pair_settings for part in self.parts]
        parts = [
            part if word == part.pair_settings else replace(part, asked=word)
            for part, word in zip(self.parts, wanted, strict=True)
        ]
        return replace(self, parts=parts)

    def _have(self, option: str, wanted: Iterable[str], known: Iterable[str]) -> None:
        there = list(dict.fromkeys(known))
        for name in wanted:
            if name not in there:
                told = f"it has {', '.join(there)}" if there else "it has none"
                raise UserError(f"{option}: {self.source} has no '{name}'{nearest(name, there)}; {told}")
