"""Measure speed: ``python -m benchmarks engine|overhead|loader|crd [--json FILE] [KEY VALUE …]``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import re
from pathlib import Path
from typing import Any

from mdistiller_icc.errors import exit_status

WHAT = {
    "engine": "our trainer against mdistiller's own (MDISTILLER_ROOT, or an importable mdistiller)",
    "overhead": "ICC's training steps against those of cross-entropy alone",
    "loader": "our training loader against torchvision's transforms, on one core",
    "crd": "our CRD negatives against one NumPy choice per image, on one core",
}
ROUNDS = {"engine": 5, "overhead": 100, "loader": 15, "crd": 15}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure speed as ratios of measurements taken in turn: median and quartiles.",
        epilog="; ".join(f"{name}: {what}" for name, what in WHAT.items()),
    )
    rounds = ", ".join(f"{name} {number}" for name, number in ROUNDS.items())
    made.add_argument("what", choices=WHAT)
    made.add_argument("--pair", default="dkd", help="engine: dkd (default), crd, teacher or dkd-gpu")
    made.add_argument("--seconds", type=float, default=8.0, help="engine: that each measurement lasts (default: 8)")
    made.add_argument("--student", default="resnet20", help="overhead: the network (default: resnet20)")
    made.add_argument("--checkpoint", help="overhead: a file with the network's weights (default: untrained)")
    made.add_argument("--root", default="data", help="CIFAR-100's folder, as DATASET.ROOT (default: data)")
    made.add_argument("--rounds", type=int, help=f"how many count (default: {rounds})")
    made.add_argument("--threads", type=int, help="engine, overhead: torch's (default: every core)")
    made.add_argument("--json", metavar="FILE", help="write the figures there too")
    made.add_argument("options", nargs="*", metavar="KEY VALUE", help="overrides, after SOLVER.PRECISION auto")
    return made


def main() -> int:
    """Measure what the command line names and print it."""
    given = parser().parse_intermixed_args()
    if threads := 1 if given.what in ("loader", "crd") else given.threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # torch's, here and in the processes of `engine`
    os.environ["MDISTILLER_ICC_HOST"] = "builtin"
    rounds = given.rounds or ROUNDS[given.what]
    options = ["DATASET.ROOT", str(Path(given.root).resolve()), "SOLVER.PRECISION", "auto", *given.options]
    measure = importlib.import_module(f"benchmarks.{given.what}").measure
    result: dict[str, Any] = {
        "engine": lambda: measure(given.pair, rounds, given.seconds, options),
        "overhead": lambda: measure(given.student, given.checkpoint, rounds, options),
        "loader": lambda: measure(rounds, options),
        "crd": lambda: measure(rounds),
    }[given.what]()
    import torch
    import yaml  # type: ignore[import-untyped]

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else processor()
    machine = {"device": device, "threads": torch.get_num_threads(), "torch": str(torch.__version__)}
    told = {"what": given.what, "options": given.options, "machine": machine, "result": result}
    print(yaml.safe_dump(told, sort_keys=False, default_flow_style=None, width=120), end="")
    if given.json:
        Path(given.json).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return 0


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    told = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*:\s*(.*)$", told.read_text() if told.is_file() else "", re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


if __name__ == "__main__":
    raise SystemExit(exit_status(main))
