"""What is published for a method and a pair of networks: ``EXPERIMENT.PAIR_SETTINGS published``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from mdistiller_icc.config import read_yaml
from mdistiller_icc.tables.published import TIERS
from mdistiller_icc.tables.records import as_published

FILE = Path(__file__).with_suffix(".yaml")


@dataclass(frozen=True)
class PairSettings:
    """What one source sets for a method and a pair.

    Attributes:
        settings: ``{"DKD.BETA": 2.0}``.
        tier: a key of `TIERS`.
    """

    settings: dict[str, Any]
    source: str
    tier: str

    def __str__(self) -> str:
        return f"{self.source}; tier {self.tier}: {TIERS[self.tier]}"

    @property
    def options(self) -> list[str]:
        """The settings as ``KEY VALUE`` pairs."""
        return [text for key, value in self.settings.items() for text in (key, str(value))]


@cache
def published() -> dict[tuple[str, ...], PairSettings]:
    """Everything in ``pair_settings.yaml``, by data set, method, teacher and student.

    Raises:
        ValueError: a pair stands twice.
    """
    found: dict[tuple[str, ...], PairSettings] = {}
    for method, sources in read_yaml(FILE).items():
        for entry in sources:
            for pairs, own in entry["pairs"].items():
                of_pair = PairSettings({**entry.get("all", {}), **(own or {})}, entry["source"], entry["tier"])
                for pair in pairs.split():
                    key = (entry["dataset"], method, *pair.split(":"))
                    if key in found:
                        raise ValueError(f"{FILE}: {' '.join(key)} stands twice")
                    found[key] = of_pair
    return found


def method_of(cfg: CfgNode) -> str:
    """The method of a configuration as it is published: ``SDD-KD``, ``DKD+LS``."""
    own = cfg.get(cfg.DISTILLER.TYPE, {})
    return as_published(cfg.DISTILLER.TYPE, {**own, "LOGIT_STAND": cfg.DISTILLER.LOGIT_STAND})


@dataclass(frozen=True)
class Chosen:
    """Which of a run's settings are those published for its pair.

    Attributes:
        pair: ``DKD, resnet56 → resnet20 on cifar100``.
        found: what is published; None where nothing is.
        kept: those of its settings that the run has.
        instead: those that it has otherwise, with its own values; where nothing is published, than the defaults.
    """

    pair: str
    found: PairSettings | None
    kept: dict[str, Any]
    instead: dict[str, Any]

    def __str__(self) -> str:
        if self.found is None:
            own = f", but {spelled(self.instead)}" if self.instead else ""
            return f"none published for {self.pair}: the method's defaults{own}"
        own = "".join(f"; {key} {value} instead of {self.found.settings[key]}" for key, value in self.instead.items())
        return f"{spelled(self.kept) or 'nothing'} as published ({self.found}){own}"

    def record(self) -> dict[str, Any]:
        """What a run's record says of it."""
        source = None if self.found is None else self.found.source
        tier = None if self.found is None else self.found.tier
        return {"source": source, "tier": tier, "published": self.kept, "instead": self.instead}


def spelled(settings: dict[str, Any]) -> str:
    """``DKD.BETA 2.0, DKD.T 4.0``."""
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def find(cfg: CfgNode, teacher: str) -> PairSettings | None:
    """What is published for a configuration's method, data set and networks, if it asks for that.

    Args:
        teacher: the teacher's architecture; the name in ``cfg`` may say its kind as well.
    """
    if cfg.EXPERIMENT.PAIR_SETTINGS != "published":
        return None
    return published().get((cfg.DATASET.TYPE, method_of(cfg), teacher, cfg.DISTILLER.STUDENT))


def chosen(cfg: CfgNode, teacher: str, defaults: CfgNode) -> Chosen | None:
    """Which settings of a finished configuration are published ones; None if it does not ask for them.

    Args:
        teacher: the teacher's architecture.
        defaults: the configuration of a run of which nothing is said.
    """
    if cfg.EXPERIMENT.PAIR_SETTINGS != "published":
        return None
    found = find(cfg, teacher)
    expected = _flat(defaults, cfg.DISTILLER.TYPE.split("+")) if found is None else found.settings
    kept, instead = {}, {}
    for key, value in expected.items():
        node: Any = cfg
        for part in key.split("."):
            node = node[part]
        if node != value:
            instead[key] = node
        elif found is not None:
            kept[key] = node
    pair = f"{method_of(cfg)}, {teacher} → {cfg.DISTILLER.STUDENT} on {cfg.DATASET.TYPE}"
    return Chosen(pair, found, kept, instead)


def _flat(node: CfgNode, keys: Iterable[str], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key in keys:
        value = node.get(key, {})
        leaves |= _flat(value, value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves
