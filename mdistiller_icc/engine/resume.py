"""Which checkpoint a stopped run goes on from, and what it finds there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mdistiller_icc.engine.run_folder import BEST, LATEST, PREVIOUS, RunFolder
from mdistiller_icc.errors import UserError
from mdistiller_icc.teachers import checkpoint


def newest(folder: RunFolder, note: Callable[[str], None]) -> tuple[Path, dict[str, Any]]:
    """The newest of a run's checkpoints that is whole, and what is in it; one that is damaged is told to ``note``.

    ``run`` in it holds the configuration, the metrics of every epoch and what the record needs; where version 0.1.0
    wrote it, they come from the text files beside it.

    Raises:
        UserError: none is whole.
    """
    damage: list[UserError] = []
    whole: list[tuple[int, Path, dict[str, Any]]] = []
    for name in (LATEST, PREVIOUS, BEST):
        path = folder.path / name
        if path.exists():
            try:
                state = checkpoint.read(path)
                whole.append((_epoch(state, path), path, state))
            except UserError as error:
                damage.append(error)
        if whole and name == LATEST:
            break
    if not whole:
        raise UserError(f"{damage[0]}; no other checkpoint is left to go on from, --overwrite starts again")
    epoch, path, state = max(whole, key=lambda one: one[0])
    for told in damage:
        note(f"{told}; {path.name} serves instead, saved after epoch {epoch}")
    if path.name != LATEST and not damage:
        note(f"{folder.path / LATEST}: is gone; {path.name} serves instead, saved after epoch {epoch}")
    if "run" not in state:
        state["run"] = folder.told(epoch)
    return path, state


def look_at_best(folder: RunFolder, note: Callable[[str], None]) -> None:
    """Tell of a damaged ``best``; a damaged ``student_best`` is written again from it."""
    best, student = folder.path / BEST, folder.path / f"student_{BEST}"
    state: dict[str, Any] = {}
    for path in (best, student):
        try:
            if path.exists():
                content = checkpoint.read(path)
                state = content if path == best else state
        except UserError as error:
            mended = path == student and isinstance(state.get("model"), dict)
            if mended:
                weights = state["model"].items()
                own = {key.removeprefix("student."): value for key, value in weights if key.startswith("student.")}
                checkpoint.save({"model": own}, student)
            note(f"{error}; " + ("written again from best" if mended else "the next better epoch writes it again"))


def _epoch(state: Any, path: Path) -> int:
    epoch = state.get("epoch") if isinstance(state, dict) else None
    if type(epoch) is not int:
        raise UserError(f"{path}: not a checkpoint of a run: it does not say its epoch")
    return epoch
