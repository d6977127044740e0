"""The configurations that come with the package, by name: ``icc/res110``, ``cifar100/dkd_icc``."""

from __future__ import annotations

from pathlib import Path

from mdistiller_icc.errors import UserError, nearest
from mdistiller_icc.paths import expand

HERE = Path(__file__).parent
CONFIGS = HERE / "configs" if (HERE / "configs").is_dir() else HERE.parent / "configs"
"""Inside the package once it is installed, beside it in a checkout."""


def configs() -> dict[str, Path]:
    """Every shipped configuration by its name."""
    found = ((file.relative_to(CONFIGS).with_suffix("").as_posix(), file) for file in CONFIGS.rglob("*.yaml"))
    return dict(sorted(found))


def find_config(given: str | Path) -> Path:
    """The file that ``--cfg`` means: one that is there, else the shipped configuration of that name.

    Raises:
        UserError: there is neither; a path below another ``configs/`` is told its shipped name.
    """
    path, known = expand(given, "--cfg"), configs()
    if path.exists():
        return path
    name = path.with_suffix("").as_posix() if path.suffix in (".yaml", ".yml") else path.as_posix()
    if name in known:
        return known[name]
    below = name.rpartition("configs/")[2]
    if below in known:
        raise UserError(f"{given}: no such file; the configuration that comes with the package is --cfg {below}")
    beside = [str(file) for file in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
    meant = nearest(str(given), beside) or nearest(below, known)
    raise UserError(f"{given}: no such file or shipped configuration{meant}")
