"""Make all runs of a table: python tools/reproduce.py TABLE [--plan] [--protocol short] [KEY VALUE ...]"""

from mdistiller_icc.errors import exit_status
from mdistiller_icc.studies.reproduce import main

if __name__ == "__main__":
    raise SystemExit(exit_status(main))
