"""From a table to its runs, in an order in which every student comes after its teacher."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from yacs.config import CfgNode

from mdistiller_icc.config import load_config, merge, pairs
from mdistiller_icc.engine.run_folder import INCIDENTAL, RunFolder, flat, portable, run_name
from mdistiller_icc.errors import UserError
from mdistiller_icc.own_code import import_all
from mdistiller_icc.pair_settings import find
from mdistiller_icc.run import check, configure
from mdistiller_icc.studies.table import Kind, Pair, Part, Settings, Table
from mdistiller_icc.studies.table_file import SHIPPED
from mdistiller_icc.teachers import store

TYPES = {kind: recipe for recipe, kind in store.KINDS.items()}
"""The ``DISTILLER.TYPE`` that makes each kind of teacher."""
TAKEN = (
    "EXPERIMENT.SEED", "EXPERIMENT.NAME", "EXPERIMENT.TAG", "EXPERIMENT.PAIR_SETTINGS", "DATASET.TYPE",
    "DATASET.IMAGES", "DISTILLER.TYPE", "DISTILLER.TEACHER", "DISTILLER.STUDENT", "DISTILLER.NEW_CLASSIFIER",
    "DISTILLER.LOGIT_STAND",
)  # fmt: skip
"""Keys that a table sets for each run, so that nobody can override them for all."""
SET = (
    "EXPERIMENT", "DATASET.TYPE", "DISTILLER.TYPE", "DISTILLER.STUDENT", "DISTILLER.TEACHER", "DISTILLER.TEACHER_SEED",
)  # fmt: skip
"""Keys, or groups of them, that come from the rest of a table and so do not belong among its settings.

``DISTILLER.TEACHER_CKPT`` is another where teachers are trained: students of all kinds would learn from that one file.
"""


@dataclass(frozen=True, eq=False)
class PlannedRun:
    """One training run of a study.

    Attributes:
        name: of its folder.
        store: folder of the teacher store in which it puts its teacher, or finds it.
        recipe: how its teacher is made, or itself if it is one: ``resnet56_icc,ICC.MARGIN:0.1``.
        varied: the settings of that recipe which the table varies.
        teacher: the run that must have finished before.
        imports: what has to be imported before it is made.
    """

    name: str
    role: str
    cfg: CfgNode
    store: str
    recipe: str = ""
    varied: Mapping[str, Any] = field(default_factory=dict)
    teacher: PlannedRun | None = None
    imports: Sequence[str] = ()

    @property
    def title(self) -> str:
        """``PROJECT/NAME``, which no other run has."""
        return f"{self.cfg.EXPERIMENT.PROJECT}/{self.name}"

    @property
    def folder(self) -> Path:
        """Where the run's record and checkpoints are, or will be."""
        return RunFolder(self.cfg, self.name).path

    @property
    def console(self) -> Path:
        """What the run prints."""
        return self.folder / "console.txt"

    @property
    def teacher_file(self) -> Path:
        """Where this run, of role ``teacher``, publishes."""
        teacher = store.TeacherName(self.cfg.DISTILLER.STUDENT, store.KINDS[self.cfg.DISTILLER.TYPE])
        file = store.path(self.cfg.DATASET.TYPE, teacher, self.cfg.EXPERIMENT.SEED)
        return Path(self.store) / file.relative_to(store.root())


def plan(
    table: Table, protocol: str = "full", seeds: Sequence[int] | None = None, options: Sequence[str] = ()
) -> list[PlannedRun]:
    """The runs of a table, teachers before their students; the student of seed s learns from the teacher of seed s.

    Args:
        protocol: ``full``, or ``short``: the same schedule in fewer epochs.
        seeds: the table's by default.
        options: ``["KEY", "VALUE", …]`` for every run; they are part of the runs' names. With them, a short
            protocol or a table that does not come with the package, teachers go into their own part of the store.

    Raises:
        UserError: a setting is wrong, or two different runs would share a name.
    """
    import_all(table.imports)
    planned: dict[str, PlannedRun] = {}
    for part in table.parts:
        planner = _Planner(table, part, protocol, options, planned)
        planner.add(part.seeds if seeds is None else list(dict.fromkeys(seeds)))
    return sorted(planned.values(), key=lambda run: (run.cfg.EXPERIMENT.SEED, run.role != "teacher"))


class _Planner:
    """Adds a part's runs to those of the parts before it, with which it may share some."""

    def __init__(
        self, table: Table, part: Part, protocol: str, options: Sequence[str], planned: dict[str, PlannedRun]
    ) -> None:
        for key, _value in pairs(options):
            if key.startswith(TAKEN):
                raise UserError(f"command line: {key} is set by the table {table.source} for each run")
        self.source, self.imports = table.source, table.imports
        self.part, self.options, self.planned = part, options, planned
        self.share = Fraction(part.epochs[protocol], part.epochs["full"])
        self.project = part.project if protocol == "full" else f"{part.project}_{protocol}"
        self.overrides = [f"{key}:{value}" for key, value in pairs(options) if not key.startswith(INCIDENTAL)]
        # Other recipes must not meet in the store, where a teacher is known by its architecture, kind and seed alone.
        own = [part.store] if part.store else [] if Path(self.source).parent == SHIPPED else [part.project]
        self.variant = [*own, *([] if protocol == "full" else [protocol]), *self.overrides]
        self.schema = configure(None)
        for key, place in (("project", part.project), ("store", part.store)):
            if leads_out(place):
                raise UserError(f"{self.source}: {key}: '{place}' leads out of the folder that it should be in")
        taken = SET if part.teachers.keys() <= {"pretrained"} else (*SET, "DISTILLER.TEACHER_CKPT")
        for settings in _all_settings(part):
            for key in flat(settings):
                if any(f"{key}.".startswith(f"{one}.") for one in taken):
                    raise UserError(f"{self.source}: settings: {key} is set by the rest of the table for each run")
        for method in part.methods:
            if method in store.KINDS:
                wanted = "students without a teacher are made by alone: true"
                if method != "NONE":
                    wanted = f"it goes under teachers, as {store.KINDS[method]}"
                raise UserError(f"{self.source}: methods: {method} learns from no teacher; {wanted}")
        for name in (name for pair in part.pairs for name in (pair.teacher, pair.student) if name):
            if stored := store.parse(name):
                wanted = f"name the architecture, {stored.architecture}; kinds of teachers stand under teachers"
                raise UserError(f"{self.source}: pairs: '{name}' names a teacher of the store; {wanted}")

    def add(self, seeds: Sequence[int]) -> None:
        architectures = list(dict.fromkeys(pair.teacher for pair in self.part.pairs))
        variations = {kind: list(_products(entry)) for kind, entry in self.part.teachers.items()}
        # A study that is stopped early has whole seeds, so that its table has whole rows.
        for seed in seeds:
            trained = {
                (architecture, kind, i): self._teacher(architecture, kind, variation, seed)
                for architecture in architectures
                for kind, many in variations.items()
                if kind != "pretrained"
                for i, variation in enumerate(many)
            }
            for pair in self.part.pairs:
                if pair.student is None:
                    continue
                if self.part.alone:
                    settings = (_type("NONE", pair.student), pair.settings)
                    self._add("student", f"NONE,{pair.student}", settings, seed, self._store([]))
                for kind, many in variations.items():
                    for i in range(len(many)):
                        for method in self.part.methods:
                            teacher = trained.get((pair.teacher, kind, i))
                            self._student(method, pair, pair.student, kind, teacher, seed)

    def _teacher(self, architecture: str, kind: str, variation: Settings, seed: int) -> PlannedRun:
        settings = [_type(TYPES[kind], architecture), self.part.teachers[kind].settings]
        told = []
        for key, value in variation.items():
            before = self._configure(settings)
            settings.append(_nest(key, value))
            if self._configure(settings) != before:  # one of the values is usually what the table has anyway
                told.append(f"{key}:{value}")
        name = ",".join([f"{architecture}_{kind}", *told])
        return self._add("teacher", name, settings, seed, self._store(told), recipe=name, varied=variation)

    def _student(self, method: str, pair: Pair, student: str, kind: str, teacher: PlannedRun | None, seed: int) -> None:
        if teacher is None:
            told, place, varied = pair.teacher, self._store([]), {}
            learnt: Settings = {"TEACHER": pair.teacher}
        else:
            told, place, varied = teacher.recipe, teacher.store, dict(teacher.varied)
            learnt = {"TEACHER": f"{pair.teacher}_{kind}", "TEACHER_SEED": seed}
        asked = self.part.asked or self.part.pair_settings
        name = f"{method},{told},{student}" + (f",PAIR_SETTINGS:{asked}" if self.part.asked else "")
        above = [pair.settings, pair.methods.get(method, {})]
        settings = [_type(method, student), {"DISTILLER": learnt}, self.part.methods[method]]
        if asked == "published":
            settings.append({"EXPERIMENT": {"PAIR_SETTINGS": asked}})
            settled = load_config(self._configure([*settings, *above]), None, self.options)
            if found := find(settled, pair.teacher):
                settings += [_nest(key, value) for key, value in found.settings.items()]
        self._add("student", name, [*settings, *above], seed, place, recipe=told, varied=varied, teacher=teacher)

    def _store(self, variation: Sequence[str]) -> str:
        part = ",".join([*self.variant, *variation]).replace("/", "_")
        earlier = store.root() / part  # what version 0.1.0 called it
        return str(earlier if earlier.is_dir() else store.root() / portable(part))

    def _add(
        self, role: str, name: str, settings: Sequence[Settings], seed: int, place: str, **known: Any
    ) -> PlannedRun:
        images = self._configure(settings).DATASET.IMAGES
        told = ",".join([name, *([f"DATASET.IMAGES:{images}"] if images else []), *self.overrides])
        experiment = {"PROJECT": self.project, "NAME": told, "SEED": seed}
        cfg = load_config(self._configure([*settings, {"EXPERIMENT": experiment}]), None, self.options)
        run = PlannedRun(run_name(cfg), role, cfg, place, imports=self.imports, **known)
        first = self.planned.setdefault(run.title, run)
        if first.cfg != cfg:
            raise UserError(f"{self.source}: two runs with different settings are called {run.name}")
        if first is run:
            check(cfg, role)  # before the first of them is trained
        return first

    def _configure(self, settings: Sequence[Settings]) -> CfgNode:
        cfg = self.schema.clone()
        cfg.defrost()
        always = {"DATASET": {"TYPE": self.part.dataset}, "SOLVER": {"EPOCHS": self.part.epochs["full"]}}
        for part in (always, self.part.settings, *settings):
            merge(cfg, part, self.source)
        shorten(cfg, self.share)
        cfg.freeze()
        return cfg


def shorten(cfg: CfgNode, share: Fraction) -> None:
    """Scale everything that is counted in epochs, in place: the schedule keeps its shape.

    These are ``SOLVER.EPOCHS``, ``SOLVER.LR_DECAY_STAGES`` and every whole number whose key speaks of a warm-up.
    """
    cfg.SOLVER.EPOCHS = _scaled(cfg.SOLVER.EPOCHS, share)
    cfg.SOLVER.LR_DECAY_STAGES = [_scaled(stage, share) for stage in cfg.SOLVER.LR_DECAY_STAGES]
    for node, key in _warmups(cfg):
        node[key] = _scaled(node[key], share)


def _warmups(node: CfgNode) -> Iterator[tuple[CfgNode, str]]:
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from _warmups(value)
        elif "WARMUP" in key and type(value) is int and value > 0:
            yield node, key


def _scaled(epochs: int, share: Fraction) -> int:
    if epochs < 1:  # a mistake, which stays one
        return epochs
    return max(1, math.floor(epochs * share + Fraction(1, 2)))


def leads_out(folder: str) -> bool:
    """Whether a folder that should be below another one is not, on whichever system."""
    places = PurePosixPath(folder), PureWindowsPath(folder)
    return any(place.anchor or ".." in place.parts for place in places)


def _all_settings(part: Part) -> Iterator[Settings]:
    yield part.settings
    yield from part.methods.values()
    for kind in part.teachers.values():
        yield from (kind.settings, kind.vary)
    for pair in part.pairs:
        yield from (pair.settings, *pair.methods.values())


def _products(kind: Kind) -> Iterator[Settings]:
    """Every combination of the values that vary; one empty one if nothing does."""
    for values in itertools.product(*kind.vary.values()):
        yield dict(zip(kind.vary, values, strict=True))


def _type(method: str, student: str) -> Settings:
    """``KD+LS`` is KD of standardised logits, as records and tables call it."""
    plain = method.removesuffix("+LS")
    standardised = {"LOGIT_STAND": True} if plain != method else {}
    return {"DISTILLER": {"TYPE": plain, "STUDENT": student, **standardised}}


def _nest(key: str, value: Any) -> Settings:
    nested: Any = value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    return nested
