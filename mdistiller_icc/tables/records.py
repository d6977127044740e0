"""Read and check the record of a run."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from mdistiller_icc import run_lock
from mdistiller_icc.errors import nearest
from mdistiller_icc.tables.metrics import METRICS
from mdistiller_icc.tables.settings import Settings, freeze

SCHEMA = 1
KINDS = {"pretrained": "pretrained", "vanilla": "plain", "file": "other file", "icc": "ICC"}
"""The kinds of teachers: as records name them, and as tables do."""
STATUSES = ("finished", "running", "interrupted", "failed", "diverged")
LONGEST_NUMBER = 20
"""Digits of a whole number, with its sign: no more are in 64 bits."""
DOT = ("dot", "crd_dot")
"""Trainers that are a method of their own (DOT); every other is what its method needs."""
AS_PUBLISHED = {"KDPP": "KD++", "WKD": "WKD-L"}
"""Methods whose name in a configuration is not the one that they are published under."""

Column = tuple[str, ...]
"""What a column of a table is for: a teacher and its student, or one network trained without a teacher."""

Kind = TypeVar("Kind", str, int, dict[str, Any])


@dataclass(frozen=True, slots=True)
class Teacher:
    """Whom a student learnt from; ``figures`` are by metric what it reached as it was loaded, in percent."""

    architecture: str
    kind: str
    seed: int | None
    digest: str | None
    figures: tuple[tuple[str, float | None], ...]

    def figure(self, metric: str) -> float | None:
        """What it reached, None where that is not known."""
        return dict(self.figures).get(metric)


@dataclass(frozen=True, slots=True)
class Record:
    """What the ``record.json`` of a finished run holds; accuracies in percent.

    The trainer counts as one of the method's ``settings``, since methods under one protocol need different ones.
    ``images`` are the numbers of classes, training and test images.
    ``digest`` is that of the checkpoint a teacher's run published: it ties students to their teacher's settings.
    """

    folder: str
    dataset: str
    images: tuple[int | None, ...]
    role: str
    method: str
    settings: Settings
    teacher: Teacher | None
    student: str
    seed: int
    protocol: Settings
    accuracy: dict[str, dict[str, float | None]]
    digest: str | None
    host: str
    finished: str

    @property
    def kind(self) -> str:
        """The kind of the teacher, or of the network itself where it had none."""
        if self.teacher is not None:
            return self.teacher.kind
        return "icc" if self.method == "ICC" else "vanilla"

    @property
    def detects(self) -> bool:
        """Whether the network is a detector."""
        return "box_ap" in self.accuracy

    @property
    def column(self) -> Column:
        """Teacher and student, or the network trained without a teacher."""
        return (self.teacher.architecture, self.student) if self.teacher else (self.student,)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A run folder that is in no cell, and why."""

    folder: str
    reason: str


class Unusable(Exception):
    """Why a record cannot be used."""


def read(folder: str) -> Record:
    """Read and check the ``record.json`` of one run folder.

    Raises:
        Unusable: it is missing, damaged, another program's, or of a run that is not finished.
    """
    try:
        with open(os.path.join(folder, "record.json"), "rb") as file:
            held = json.loads(file.read(), parse_int=_whole)
    except FileNotFoundError:
        begun = "running, in its first moments" if run_lock.held(folder) else "half-written"
        raise Unusable(f"{begun}: no record.json") from None
    except OSError as error:
        raise Unusable(f"record.json cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        empty = not error.doc.strip()
        where = "is empty" if empty else f"is no JSON (half-written?): line {error.lineno}, column {error.colno}"
        raise Unusable(f"record.json {where}") from None
    except (UnicodeDecodeError, RecursionError):
        raise Unusable("record.json is no JSON text") from None
    if not isinstance(held, dict) or "schema" not in held or "status" not in held:
        raise Unusable("record.json is not a run record (no 'schema', no 'status')")
    if held["schema"] != SCHEMA:
        raise Unusable(f"record.json has schema {held['schema']!r}, this version reads {SCHEMA}")
    if held["status"] != "finished":
        raise Unusable(_unfinished(folder, held))
    return _record(folder, held)


def _whole(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise Unusable(f"record.json holds a number of {len(digits)} digits")
    return int(digits)


def as_published(method: str, settings: Mapping[str, Any]) -> str:
    """The name that a method of ``DISTILLER.TYPE`` is published under with its settings, as records hold them.

    >>> as_published("SDD", {"BASE": "KD", "LOGIT_STAND": False})
    'SDD-KD'
    """
    loss = settings.get("LOSS")
    if method == "PCKD" and isinstance(loss, dict) and loss.get("KD_WEIGHT") == 0:
        method = "PCKD_WITHOUT_KD"  # without its term of distillation, with numbers of its own
    elif method == "SDD":
        method = f"SDD-{settings.get('BASE')}"
    method = AS_PUBLISHED.get(method, method)
    return f"{method}+LS" if settings.get("LOGIT_STAND") else method  # of standardised logits


def _record(folder: str, held: dict[str, Any]) -> Record:
    protocol = dict(_get(held, "protocol", dict))
    protocol.setdefault("views", 1)  # as all had before records said so
    if protocol.get("schedule", "step") != "step":
        protocol = {key: value for key, value in protocol.items() if not key.startswith("lr_decay_")}
    settings = dict(_get(held, "method_config", dict)) if held.get("method_config") is not None else {}
    method, trainer = _get(held, "method", str), protocol.pop("trainer", None)
    method = as_published(method, settings)
    settings.pop("LOGIT_STAND", None)
    if trainer is not None:
        settings["trainer"] = trainer
    counts = ("num_classes", "num_train", "num_test")
    host = held.get("host") or {}
    record = Record(
        folder=folder,
        dataset=_get(held, "dataset", str),
        images=tuple(None if held.get(key) is None else _get(held, key, int) for key in counts),
        role=_get(held, "role", str),
        method=f"{method}+DOT" if trainer in DOT else method,
        settings=freeze(settings),
        teacher=None if held.get("teacher") is None else _teacher(held),
        student=_get(held, "student.architecture", str),
        seed=_get(held, "seed", int),
        protocol=freeze(protocol),
        accuracy={metric: _accuracies(held, metric) for metric in METRICS if held.get(metric) is not None},
        digest=held["digest"] if isinstance(held.get("digest"), str) else None,
        host=f"{host.get('name')} {host.get('version')}" if isinstance(host, dict) else str(host),
        finished=str(held.get("finished") or ""),
    )
    if "top1" not in record.accuracy and not record.detects:
        raise Unusable("record.json: 'top1' is missing")
    if record.role not in ("teacher", "student"):
        raise Unusable(f"record.json: 'role' is {record.role!r}, neither 'teacher' nor 'student'")
    if record.teacher is None and record.method not in ("NONE", "ICC"):
        raise Unusable(f"record.json: method {record.method} without a 'teacher'")
    return record


def _teacher(held: dict[str, Any]) -> Teacher:
    teacher, kind = _get(held, "teacher", dict), _get(held, "teacher.kind", str)
    if kind not in KINDS:
        raise Unusable(f"record.json: 'teacher.kind' is {kind!r}{nearest(kind, KINDS)}")
    return Teacher(
        architecture=_get(held, "teacher.architecture", str),
        kind=kind,
        seed=None if teacher.get("seed") is None else _get(held, "teacher.seed", int),
        digest=_get(held, "teacher.digest", str) if teacher.get("digest") else None,
        figures=tuple((name, _percent(teacher[name], f"teacher.{name}")) for name in METRICS if name in teacher),
    )


def _accuracies(held: dict[str, Any], metric: str) -> dict[str, float | None]:
    return {key: _percent(value, f"{metric}.{key}") for key, value in _get(held, metric, dict).items()}


def _percent(value: Any, place: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise Unusable(f"record.json: '{place}' is {value!r}, not a number")
    if not 0 <= value <= 100:
        raise Unusable(f"record.json: '{place}' is {value!r}, not a percentage")
    return float(value)


def _get(held: dict[str, Any], place: str, kind: type[Kind]) -> Kind:
    """A value that has to be there: ``seed``, or ``teacher.seed`` inside ``teacher``."""
    above, _, key = place.rpartition(".")
    if above:
        held = _get(held, above, dict)
    value = held.get(key)
    if not isinstance(value, kind) or isinstance(value, bool) or value == "":
        wanted = "a name" if kind is str else "a whole number" if kind is int else "an object"
        said = f"is {value!r}, not {wanted}" if key in held else "is missing"
        raise Unusable(f"record.json: '{place}' {said}")
    return value


def _unfinished(folder: str, held: dict[str, Any]) -> str:
    status, epoch, protocol = held["status"], held.get("epoch"), held.get("protocol")
    if status == "running":
        status = "still running" if run_lock.held(folder) else "interrupted"
    elif status not in STATUSES:
        return f"record.json: 'status' is {status!r}, none of {', '.join(STATUSES)}"
    of = f" of {protocol['epochs']}" if isinstance(protocol, dict) and "epochs" in protocol else ""
    at = f" at epoch {epoch}{of}" if epoch is not None else ""
    error = f": {held['error']}" if held.get("error") else ""
    return f"{status}{at}{error}"
