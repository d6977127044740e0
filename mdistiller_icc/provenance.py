"""What a run was started with: the command line, and the commit of this package."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent


def command_line() -> str | None:
    """The command as it was typed, without the folder in which a shell found it; None in a notebook or at a prompt.

    >>> sys.argv = ["/home/me/venv/bin/mdistiller-icc", "teacher", "--cfg", "icc/res110"]
    >>> command_line()
    'mdistiller-icc teacher --cfg icc/res110'
    """
    program = Path(sys.argv[0])
    if hasattr(sys, "ps1") or program.name in ("", "-c"):
        return None
    if program == PACKAGE / "__main__.py":
        words = ["python", "-m", "mdistiller_icc"]
    else:
        name = program.name if program.is_absolute() else str(program)
        words = ["python", name] if program.suffix == ".py" else [name]
    return shlex.join([*words, *sys.argv[1:]])


@functools.cache
def commit() -> str | None:
    """The commit of the checkout that this package is in, with ``-dirty`` where files were changed since.

    Of one that pip has installed from a repository, the commit that pip took; None where nobody knows it.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}  # as hooks have them
    git = ["git", "-C", str(PACKAGE)]
    try:
        asked = [["rev-parse", "--show-toplevel"], ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]]
        top, name = (
            subprocess.run([*git, *words], env=environment, capture_output=True, text=True, check=True).stdout.strip()
            for words in asked
        )
        if Path(top).resolve() == PACKAGE.parent.resolve():  # and not a repository in whose folder an environment lies
            return name
    except (OSError, subprocess.CalledProcessError):
        pass
    try:
        installed = importlib.metadata.distribution("mdistiller_icc")
    except importlib.metadata.PackageNotFoundError:
        return None
    if Path(str(installed.locate_file("mdistiller_icc"))).resolve() != PACKAGE.resolve():
        return None
    found = json.loads(installed.read_text("direct_url.json") or "{}").get("vcs_info", {}).get("commit_id")
    return str(found) if found else None
