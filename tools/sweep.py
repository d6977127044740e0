"""Vary one setting of the ICC recipe and measure: python tools/sweep.py --values 0 0.1 1 --theory [KEY VALUE ...]"""

from mdistiller_icc.errors import exit_status
from mdistiller_icc.studies.sweep import main

if __name__ == "__main__":
    raise SystemExit(exit_status(main))
