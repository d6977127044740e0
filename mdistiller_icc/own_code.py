"""``--import``: code of the user's own, whose distillers and networks are then known by name."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from mdistiller_icc.errors import UserError, nearest
from mdistiller_icc.paths import expand


def import_all(names: Iterable[str]) -> None:
    """Import files (``my_methods.py``) and modules (``my.methods``, also of the working folder), each once.

    Which of the host's methods, trainers and networks one replaces is said in a line for each.

    Raises:
        UserError: there is no such file or module, or it cannot be imported.
    """
    for name in names:
        spec = _of_file(name) if is_file(name) else _of_module(name)
        before = _known()
        try:
            importlib.import_module(spec.name)
        except UserError:
            raise
        except SystemExit as error:
            what = "keep what it does as a script under if __name__ == '__main__'"
            raise UserError(f"--import {name}: it ends the program when it is imported ({error}); {what}") from error
        except Exception as error:
            raise UserError(f"--import {name}: {_told(error, spec.origin)}") from error
        for (registry, known), entry in _known().items():
            if before.get((registry, known), entry) is not entry:
                print(f"--import {name}: replaces {known} of the host's {registry}", file=sys.stderr)


def _known() -> dict[tuple[str, str], Any]:
    """Every entry of the host's registries, by the registry's name and its own."""
    from mdistiller_icc.plugin import register

    host = register(verbose=False).host
    registries = {key: value for key, value in vars(host).items() if key.endswith("_dict")}
    return {(registry, name): entry for registry, entries in registries.items() for name, entry in entries.items()}


def is_file(name: str) -> bool:
    """Whether ``--import`` takes this for a file, not for a module's name."""
    return name.endswith(".py") or os.sep in name


def _of_file(name: str) -> ModuleSpec:
    file = expand(name, "--import").resolve()
    if not file.is_file():
        beside = [os.path.relpath(path) for path in file.parent.glob("*.py")]
        raise UserError(f"--import {name}: no such file{nearest(name, beside)}")
    # By its name alone, so that a worker process that is handed its objects finds it too.
    spec = _find(file.stem, file.parent)
    if spec is None or Path(spec.origin or "").resolve() != file:
        raise UserError(f"--import {name}: '{file.stem}' is no name for a module, or another's; rename the file")
    return spec


def _of_module(name: str) -> ModuleSpec:
    spec = _find(name, Path.cwd())
    if spec is None:
        raise UserError(f"--import {name}: no such module here or installed; a file's name ends in .py")
    return spec


def _find(name: str, folder: Path) -> ModuleSpec | None:
    """A module, looked for in a folder after everywhere else."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    importlib.invalidate_caches()
    try:
        return importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):  # no package before a dot; a name that is none
        return None


def _told(error: Exception, origin: str | None) -> str:
    """What went wrong, and in which line of the user's file."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == origin]
    where = f"line {lines[-1]}: " if lines else ""
    return f"{where}{type(error).__name__}: {error}".splitlines()[0]
