"""Read and check the record of a run."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from typing import Any

from mdistiller_icc.errors import nearest
from mdistiller_icc.tables.settings import Settings, freeze

SCHEMA = 1
KINDS = {"pretrained": "pretrained", "vanilla": "plain", "file": "other file", "icc": "ICC"}
"""The kinds of teachers, as records and as tables name them."""
TEACHER_KINDS = tuple(KINDS)
STATUSES = ("finished", "running", "interrupted", "failed")
DOT = ("dot", "crd_dot")
"""Trainers that are a method of their own (DOT); every other is what its method needs."""


@dataclass(frozen=True, slots=True)
class Teacher:
    architecture: str
    kind: str
    seed: int | None
    digest: str | None
    top1: float | None


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run, as its ``record.json`` tells it; accuracies in percent.

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


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A run folder that is in no cell, and why."""

    folder: str
    reason: str


class Unusable(Exception):
    """Why a record cannot be used."""


def read(folder: str) -> Run:
    """Read and check the ``record.json`` of one run folder.

    Raises:
        Unusable: it is missing, damaged, another program's, or of a run that is not finished.
    """
    try:
        with open(os.path.join(folder, "record.json"), "rb") as file:
            record = json.loads(file.read())
    except FileNotFoundError:
        raise Unusable("half-written: no record.json") from None
    except OSError as error:
        raise Unusable(f"record.json cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        empty = not error.doc.strip()
        where = "is empty" if empty else f"is no JSON (half-written?): line {error.lineno}, column {error.colno}"
        raise Unusable(f"record.json {where}") from None
    except (UnicodeDecodeError, RecursionError):
        raise Unusable("record.json is no JSON text") from None
    if not isinstance(record, dict) or "schema" not in record or "status" not in record:
        raise Unusable("record.json is not a run record (no 'schema', no 'status')")
    if record["schema"] != SCHEMA:
        raise Unusable(f"record.json has schema {record['schema']!r}, this version reads {SCHEMA}")
    if record["status"] != "finished":
        raise Unusable(_unfinished(record))
    return _run(folder, record)


def _run(folder: str, record: dict[str, Any]) -> Run:
    student = _get(record, "student", dict)
    protocol = dict(_get(record, "protocol", dict))
    if protocol.get("schedule", "step") != "step":
        protocol = {key: value for key, value in protocol.items() if not key.startswith("lr_decay_")}
    settings = dict(_get(record, "method_config", dict)) if record.get("method_config") is not None else {}
    method, trainer = _method(_get(record, "method", str), settings), protocol.pop("trainer", None)
    if trainer is not None:
        settings["trainer"] = trainer
    host = record.get("host") or {}
    run = Run(
        folder=folder,
        dataset=_get(record, "dataset", str),
        images=tuple(
            None if record.get(key) is None else _get(record, key, int)
            for key in ("num_classes", "num_train", "num_test")
        ),
        role=_get(record, "role", str),
        method=f"{method}+DOT" if trainer in DOT else method,
        settings=freeze(settings),
        teacher=_teacher(record["teacher"]) if record.get("teacher") is not None else None,
        student=_get(student, "architecture", str, "student.architecture"),
        seed=_get(record, "seed", int),
        protocol=freeze(protocol),
        accuracy={metric: _accuracies(record, metric) for metric in ("top1", "top5")},
        digest=record["digest"] if isinstance(record.get("digest"), str) else None,
        host=f"{host.get('name')} {host.get('version')}" if isinstance(host, dict) else str(host),
        finished=str(record.get("finished") or ""),
    )
    if run.role not in ("teacher", "student"):
        raise Unusable(f"record.json: 'role' is {run.role!r}, neither 'teacher' nor 'student'")
    if run.teacher is None and run.method not in ("NONE", "ICC"):
        raise Unusable(f"record.json: method {run.method} without a 'teacher'")
    return run


def _method(name: str, settings: dict[str, Any]) -> str:
    """A method as it is published: PCKD without its term of distillation has numbers of its own."""
    loss = settings.get("LOSS")
    alone = name == "PCKD" and isinstance(loss, dict) and loss.get("KD_WEIGHT") == 0
    return "PCKD_WITHOUT_KD" if alone else name


def _teacher(value: Any) -> Teacher:
    if not isinstance(value, dict):
        raise Unusable(f"record.json: 'teacher' is {value!r}, not an object")
    kind = _get(value, "kind", str, "teacher.kind")
    if kind not in TEACHER_KINDS:
        raise Unusable(f"record.json: 'teacher.kind' is {kind!r}{nearest(kind, TEACHER_KINDS)}")
    seed, digest = value.get("seed"), value.get("digest")
    return Teacher(
        architecture=_get(value, "architecture", str, "teacher.architecture"),
        kind=kind,
        seed=None if seed is None else _get(value, "seed", int, "teacher.seed"),
        digest=_get(value, "digest", str, "teacher.digest") if digest else None,
        top1=_percent(value.get("top1"), "teacher.top1"),
    )


def _accuracies(record: dict[str, Any], metric: str) -> dict[str, float | None]:
    values = record.get(metric)
    if values is None and metric == "top5":
        return {}
    if not isinstance(values, dict):
        raise Unusable(f"record.json: '{metric}' is {values!r}, not an object")
    return {key: _percent(value, f"{metric}.{key}") for key, value in values.items()}


def _percent(value: Any, place: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise Unusable(f"record.json: '{place}' is {value!r}, not a number")
    if not 0 <= value <= 100:
        raise Unusable(f"record.json: '{place}' is {value!r}, not a percentage")
    return float(value)


def _get(record: dict[str, Any], key: str, kind: type, place: str = "") -> Any:
    value = record.get(key)
    if not isinstance(value, kind) or isinstance(value, bool) or value == "":
        wanted = {str: "a name", int: "a whole number", dict: "an object"}[kind]
        said = f"is {value!r}, not {wanted}" if key in record else "is missing"
        raise Unusable(f"record.json: '{place or key}' {said}")
    return value


def _unfinished(record: dict[str, Any]) -> str:
    status, epoch, protocol = record["status"], record.get("epoch"), record.get("protocol")
    if status not in STATUSES:
        return f"record.json: 'status' is {status!r}, none of {', '.join(STATUSES)}"
    of = f" of {protocol['epochs']}" if isinstance(protocol, dict) and "epochs" in protocol else ""
    at = f" at epoch {epoch}{of}" if epoch is not None else ""
    error = f": {record['error']}" if record.get("error") else ""
    return f"{'still running' if status == 'running' else status}{at}{error}"
