"""mdistiller's configuration, with our nodes in it: files and ``KEY VALUE`` pairs in, clear errors out."""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from mdistiller_icc.errors import UserError, nearest

ADDED = CfgNode(
    {
        # None: seed 0, and the seed is named neither in the run's folder nor in the teacher's file.
        "EXPERIMENT": {"SEED": None},
        "DATASET": {
            "ROOT": "data",
            "IMAGES": "",  # a data set whose images students learn from instead, labelled by their teacher
            "FRACTION": 1.0,  # of the training images, the same share of every class
            "HOLDOUT": 0.0,  # share of the training images kept apart to choose an epoch by
            "LOADER": "auto",  # resident: images live on the device; workers: processes decode them
        },
        "DISTILLER": {
            "TEACHER_CKPT": "",
            "TEACHER_SEED": None,
            "GATHER": True,  # of several processes: images are related to the whole batch's, and all remember all
        },
        "SOLVER": {
            "SCHEDULE": "step",
            "PRECISION": "fp32",
            "CHANNELS_LAST": "auto",
            "COMPILE": False,  # the training step through torch.compile
            "SYNC_BN": False,  # of several processes: batch norms see the whole batch
            "EVAL_EVERY": 1,
            "ON_NAN": "stop",  # at a loss that is not finite; skip: leave the step out
        },
        "COMPAT": {"UPSTREAM": False},
    }
)
"""What the engine reads beyond mdistiller's schema, with defaults that keep mdistiller's behaviour."""

RETIRED = ("ICC.QUEUE.GATHER", "CKD.GATHER", "BICKD.GATHER", "PCKD.GATHER")
"""Keys of version 0.1.0 that ``DISTILLER.GATHER`` has replaced; files that still have them are read without."""


def extend(cfg: CfgNode, added: CfgNode = ADDED) -> list[str]:
    """Add to ``cfg`` every key of ``added`` that it lacks, in place, and return the dotted keys that were added."""
    names = []
    for key, value in added.items():
        if key not in cfg:
            cfg[key] = value.clone() if isinstance(value, CfgNode) else value
            names.append(key)
        elif isinstance(value, CfgNode) and isinstance(cfg[key], CfgNode):
            names += [f"{key}.{name}" for name in extend(cfg[key], value)]
    return names


def load_config(schema: CfgNode, path: str | Path | None, options: Sequence[str] = ()) -> CfgNode:
    """Return a frozen copy of ``schema`` with a YAML file and then ``KEY VALUE`` pairs merged into it.

    Unlike yacs it widens an int to a float where a float stands, accepts ``1e-4`` (which YAML reads as text)
    as a number, and says in one line what is wrong.

    Args:
        schema: every key there is, with its default; a value's type is its default's.
        path: a YAML file in mdistiller's schema, or None.
        options: ``["SOLVER.EPOCHS", "2", …]``.

    Raises:
        UserError: unreadable file, unknown key (with the nearest right one) or wrong type.
    """
    cfg = schema.clone()
    cfg.defrost()
    if path is not None:
        merge(cfg, read_yaml(path), str(path))
    for key, value in pairs(options):
        nested: Any = _literal(value)
        if isinstance(nested, (int, float)) and isinstance(_default(schema, key), str):
            nested = value  # a name such as 2024_11_21 or 1e5 stays what it is
        for part in reversed(key.split(".")):
            nested = {part: nested}
        merge(cfg, nested, "command line")
    cfg.freeze()
    return cfg


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        UserError: it cannot be read, is no YAML, or holds something else.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        beside = Path(path).parent
        names = [p.name for p in beside.glob("*.yaml")] if beside.is_dir() else []
        raise UserError(f"{path}: {error.strerror or error}{nearest(Path(path).name, names)}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{where}: not readable as YAML: {getattr(error, 'problem', None) or error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, not configuration keys")
    return content


def pairs(options: Sequence[str]) -> list[tuple[str, str]]:
    """Split ``KEY VALUE KEY VALUE …``.

    Raises:
        UserError: a key has no value.
    """
    if len(options) % 2:
        raise UserError(f"command line: '{options[-1]}' has no value; overrides are KEY VALUE pairs")
    return list(zip(options[::2], options[1::2], strict=True))


def _default(schema: CfgNode, key: str) -> Any:
    """What stands at a dotted key; None where nothing does."""
    found: Any = schema
    for part in key.split("."):
        found = found.get(part) if isinstance(found, CfgNode) else None
    return found


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def merge(cfg: CfgNode, new: dict[str, Any], source: str, prefix: str = "") -> None:
    """Merge nested settings into ``cfg`` in place; ``source`` is what an error names.

    Raises:
        UserError: unknown key or wrong type.
    """
    for key, value in new.items():
        name = f"{prefix}{key}"
        if name in RETIRED:
            continue
        if key not in cfg:
            known = [prefix + k for k in cfg] if prefix else list(cfg)
            raise UserError(f"{source}: unknown key {name}{nearest(name, known)}")
        default = cfg[key]
        if isinstance(default, CfgNode):
            if value is None:
                continue
            if not isinstance(value, dict):
                raise UserError(f"{source}: {name} is a group of keys ({', '.join(default)}), not a value")
            merge(default, value, source, f"{name}.")
        else:
            cfg[key] = _as_type_of(default, value, source, name)


def _as_type_of(default: Any, value: Any, source: str, name: str) -> Any:
    if default is None or (value is None and name in ("EXPERIMENT.SEED", "DISTILLER.TEACHER_SEED")):
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
            return value  # the only keys without a default are seeds
        raise UserError(f"{source}: {name} wants a whole number of at least 0, got {value!r}")
    wanted = type(default)
    if wanted is float and not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if math.isfinite(number):
            return number
    elif wanted in (list, tuple) and isinstance(value, (list, tuple)):
        return wanted(value)
    elif wanted is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)  # a tag or a name that looks like a number
    elif wanted is int and isinstance(value, float) and value.is_integer():
        return int(value)
    elif type(value) is wanted:
        return value
    kinds = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}
    raise UserError(f"{source}: {name} wants {kinds.get(wanted, 'a list')}, got {value!r}")
