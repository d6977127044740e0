"""mdistiller's configuration, with our nodes in it: files and ``KEY VALUE`` pairs in, clear errors out."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from mdistiller_icc import schema
from mdistiller_icc.errors import UserError, nearest, shown
from mdistiller_icc.paths import expand
from mdistiller_icc.settings import KINDS, each, node

ADDED: CfgNode = node(schema.OURS)
"""What the engine reads beyond mdistiller's schema, with defaults that keep mdistiller's behaviour."""
SETTINGS = dict(each(schema.of_every_run()))
LARGEST_FILE = 2**20
"""Bytes of a YAML file; the largest of mdistiller's has 800."""
LARGEST_LITERAL = 4000
"""Characters of a list or number that is written as text."""


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


def load_config(known: CfgNode, path: str | Path | None, options: Sequence[str] = ()) -> CfgNode:
    """Return a frozen copy of ``known`` with a YAML file and then ``KEY VALUE`` pairs merged into it.

    As yacs it reads numbers, lists and truth values that are written as text. Unlike yacs it widens an int to a float
    where a float stands, accepts ``1e-4`` (which YAML reads as text) as a number, knows what a home directory's ``~``
    and the keys of published forks mean, and says in one line what is wrong.

    Args:
        known: every key there is, with its default; a value's type is its default's.
        path: a YAML file in mdistiller's schema, or None.
        options: ``["SOLVER.EPOCHS", "2", …]``.

    Raises:
        UserError: unreadable file, unknown key (with the nearest right one) or wrong type.
    """
    cfg = known.clone()
    cfg.defrost()
    if path is not None:
        merge(cfg, read_yaml(path), str(path))
    for key, value in pairs(options):
        nested: Any = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        merge(cfg, nested, "command line")
    cfg.freeze()
    return cfg


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Whole numbers that are not written as Python would write them, sexagesimals (``1:30``) and dates stay text.

    Raises:
        UserError: it cannot be read, is no YAML, or holds something else, or a key stands twice.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read(LARGEST_FILE + 1)
        if len(raw) > LARGEST_FILE:
            raise UserError(f"{path}: too large for a configuration")
        content = yaml.load(raw.decode("utf-8"), _Loader)
    except OSError as error:
        beside = Path(path).parent
        names = [p.name for p in beside.glob("*.yaml")] if beside.is_dir() else []
        raise UserError(f"{path}: {error.strerror or error}{nearest(Path(path).name, names)}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file") from None
    except RecursionError:
        raise UserError(f"{path}: not readable as YAML: nested too deeply") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{path}{where}: not readable as YAML: {reason}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, not configuration keys")
    return content


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as yacs reads it, but for what is no configuration: that is refused, or left as text."""

    DEEPEST, MOST = 50, 20_000
    """Levels, and values when every anchor is written out."""
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > self.DEEPEST:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=self.peek_event().start_mark)
        composed = super().compose_node(parent, index)
        self.depth -= 1
        return composed

    def get_single_node(self) -> Any:
        root = super().get_single_node()
        if root is not None:
            self._count(root, {})
        return root

    def _count(self, node: Any, known: dict[int, int]) -> int:
        """How many values ``node`` holds; in ``known``, those of the nodes that were counted."""
        if id(node) not in known:
            known[id(node)] = self.MOST  # of one that holds itself
            parts = [] if isinstance(node, yaml.ScalarNode) else node.value
            if isinstance(node, yaml.MappingNode):
                self._refuse_twice(node)
                parts = [part for pair in node.value for part in pair]
            known[id(node)] = 1 + sum(self._count(part, known) for part in parts)
            if known[id(node)] > self.MOST:
                raise yaml.MarkedYAMLError(problem="its anchors grow without end", problem_mark=node.start_mark)
        return known[id(node)]

    def _refuse_twice(self, node: Any) -> None:
        keys: set[str] = set()
        for key, _value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    raise yaml.MarkedYAMLError(problem=f"{shown(key.value)} stands twice", problem_mark=key.start_mark)
                keys.add(key.value)


def _int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | str:
    text = loader.construct_scalar(node)
    return int(text) if re.fullmatch(r"0|-?[1-9][0-9]{0,40}", text) else text


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float | str:
    text = loader.construct_scalar(node)
    try:
        return float(text)
    except ValueError:
        return text


def _bool(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> bool | str:
    text = loader.construct_scalar(node)
    return loader.bool_values.get(text.lower(), text)


for _tag, _construct in {"int": _int, "float": _float, "bool": _bool, "timestamp": _Loader.construct_yaml_str}.items():
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _construct)


def pairs(options: Sequence[str]) -> list[tuple[str, str]]:
    """Split ``KEY VALUE KEY VALUE …``.

    Raises:
        UserError: a key has no value.
    """
    if len(options) % 2:
        raise UserError(f"command line: '{options[-1]}' has no value; overrides are KEY VALUE pairs")
    return list(zip(options[::2], options[1::2], strict=True))


def merge(cfg: CfgNode, new: dict[str, Any], source: str, prefix: str = "") -> None:
    """Merge nested settings into ``cfg`` in place; ``source`` is what an error names.

    Raises:
        UserError: unknown key or wrong type.
    """
    for key, value in new.items():
        name = f"{prefix}{key}"
        if name in schema.RETIRED:
            continue
        if key not in cfg:
            ours = schema.FORKS.get(name, "").removeprefix(prefix)
            if ours not in cfg:
                known = [prefix + k for k in cfg] if prefix else list(cfg)
                raise UserError(f"{source}: unknown key {name}{schema.HINTS.get(name) or nearest(name, known)}")
            key = ours
            if isinstance(value := _literal(value), bool):
                value = "cosine" if value else "step"
        default = cfg[key]
        if isinstance(default, CfgNode):
            if value is None:
                continue
            if not isinstance(value, dict):
                raise UserError(f"{source}: {name} is a group of keys ({', '.join(default)}), not a value")
            merge(default, value, source, f"{name}.")
        else:
            cfg[key] = _as_type_of(default, value, source, name)
            if name in SETTINGS and SETTINGS[name].form == "path" and cfg[key].startswith("~"):
                cfg[key] = str(expand(cfg[key], f"{source}: {name}"))


def _literal(value: Any) -> Any:
    """What text stands for, as yacs decodes it: ``(32, 32)``, ``0.05``, ``False``; any other is itself."""
    if not isinstance(value, str) or len(value) > LARGEST_LITERAL:
        return value
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value


def _as_type_of(default: Any, value: Any, source: str, name: str) -> Any:
    wanted = type(default)
    taken = _literal(value) if wanted is not str else value
    described = SETTINGS.get(name)
    if default is None or (described is not None and described.default is None):  # a whole number or a list
        many = described is not None and described.type is list
        if many and isinstance(taken, (list, tuple)):
            return [*map(_entry, taken)]
        if taken is None or (not many and isinstance(taken, int) and not isinstance(taken, bool)):
            return taken
        raise UserError(f"{source}: {name} wants {KINDS[list if many else int]}, got {shown(value)}")
    if wanted is float and not isinstance(taken, bool):
        try:
            number = float(taken)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    elif wanted in (list, tuple) and isinstance(taken, (list, tuple)):
        return wanted(map(_entry, taken))
    elif wanted is str and isinstance(taken, (int, float)) and not isinstance(taken, bool):
        return str(taken)  # a tag or a name that looks like a number
    elif wanted is int and isinstance(taken, float) and taken.is_integer():
        return int(taken)
    elif type(taken) is wanted:
        return taken
    raise UserError(f"{source}: {name} wants {KINDS.get(wanted, 'a list')}, got {shown(value)}")


def _entry(value: Any) -> Any:
    value = _literal(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value
