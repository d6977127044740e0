"""Record what parity with mdistiller means, from a real checkout of it.

    python tests/parity/record.py --root PATH            writes tests/parity/data/{models,methods}.json
    python tests/parity/record.py --root PATH --table    writes docs/parity-{models,methods}.md from them, and live

The committed figures come from commit a08d46f. A table needs the recorded figures first.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PARTS = ("models", "methods")


def write(path: Path, commit: str, measured: dict[str, Any]) -> None:
    """One line per model or method, so that a change shows where it is."""
    rows = [f"{json.dumps(name)}: {json.dumps(facts)}" for name, facts in measured.items()]
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'{{"commit": {json.dumps(commit)},\n "measured": {{\n' + ",\n".join(rows) + "\n}}\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="a checkout of mdistiller")
    parser.add_argument("--only", choices=PARTS, help="record one part")
    parser.add_argument("--table", action="store_true", help="write the documentation's tables instead")
    arguments = parser.parse_args()

    sys.path[:0] = [str(HERE), str(ROOT)]
    import hosts

    real = hosts.real(arguments.root)
    if real is None:
        parser.error(f"no mdistiller package in {arguments.root}")
    for part in PARTS if arguments.only is None else [arguments.only]:
        module = importlib.import_module(part)
        data = HERE / "data" / f"{part}.json"
        if arguments.table:
            path = ROOT / "docs" / f"parity-{part}.md"
            path.parent.mkdir(exist_ok=True)
            path.write_text(module.table(json.loads(data.read_text()), real, hosts.builtin()))
        else:
            path = data
            write(path, hosts.commit(real), module.measure(real))
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
