"""``python -m mdistiller_icc SCRIPT.py …``: run an unmodified mdistiller script with this plugin in it."""

from __future__ import annotations

import argparse
import importlib.util
import os
import runpy
import sys

from mdistiller_icc.command_line import Parser
from mdistiller_icc.commands.entry import COMMANDS
from mdistiller_icc.commands.entry import main as entry
from mdistiller_icc.errors import UserError, exit_status
from mdistiller_icc.paths import expand


def main() -> int:
    """Register in the real mdistiller, then run the script as Python would."""
    parser = Parser(
        prog="python -m mdistiller_icc",
        description="Run an unmodified mdistiller script, such as its tools/train.py, with the ICC plugin registered.",
        epilog=f"A command of mdistiller-icc takes a script's place: {', '.join(COMMANDS)}.",
    )
    parser.add_argument("script", metavar="SCRIPT.py")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="handed to the script")
    given = parser.parse_args()
    script = expand(given.script, "SCRIPT.py")
    if not script.is_file():
        if given.script in COMMANDS:  # where mdistiller-icc is not on the path
            return entry([given.script, *given.arguments], "python -m mdistiller_icc")
        raise UserError(f"{script}: no such script")

    forced = os.environ.get("MDISTILLER_ICC_HOST")
    if forced and forced != "mdistiller":
        raise UserError(f"MDISTILLER_ICC_HOST is '{forced}', but {script} runs in mdistiller itself; unset it")
    os.environ["MDISTILLER_ICC_HOST"] = "mdistiller"
    # Python would put the script's folder first; mdistiller's package lies beside its tools/.
    sys.path.insert(0, str(script.resolve().parent))
    checkout = script.resolve().parent.parent
    if (checkout / "mdistiller" / "__init__.py").is_file():
        sys.path.insert(1, str(checkout))
    if importlib.util.find_spec("mdistiller") is None:
        raise UserError(f"{script}: there is no mdistiller/ in {checkout}, and none is installed")

    from mdistiller_icc.launch import prepare, told_as_user_error
    from mdistiller_icc.run.processes import refuse

    refuse("mdistiller's trainer")
    host = prepare()
    sys.argv = [str(script), *given.arguments]
    with told_as_user_error(host.CFG):
        runpy.run_path(str(script), run_name="__main__")
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_status(main))
