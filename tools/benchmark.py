"""Measure speed: python tools/benchmark.py engine|overhead|loader|crd|losses|memory [--json FILE]"""

from mdistiller_icc.benchmark.command import main
from mdistiller_icc.errors import exit_status

if __name__ == "__main__":
    raise SystemExit(exit_status(main))
