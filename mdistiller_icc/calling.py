"""How our commands are called from where the user is."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

TOOLS = Path(__file__).parent.parent / "tools"
SCRIPTS = {"teacher": "train_teacher.py", "detection": "train_detection.py"}
"""Commands whose script in ``tools/`` has another name."""


def call(command: str) -> str:
    """The words that start a command: those of the script beside the one that runs, or ``mdistiller-icc COMMAND``."""
    running = Path(sys.argv[0])
    if running.resolve().parent == TOOLS.resolve() and running.suffix == ".py":
        return f"python {running.with_name(SCRIPTS.get(command, f'{command}.py'))}"
    return f"{'mdistiller-icc' if shutil.which('mdistiller-icc') else 'python -m mdistiller_icc'} {command}"
