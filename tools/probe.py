"""A linear classifier on a frozen network's features of other data sets: python tools/probe.py CHECKPOINT"""

from mdistiller_icc.commands.linear_probe import main
from mdistiller_icc.errors import exit_status

if __name__ == "__main__":
    raise SystemExit(exit_status(main))
