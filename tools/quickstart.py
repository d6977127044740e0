"""Does an ICC teacher help? The answer on handwritten digits, in minutes: python tools/quickstart.py"""

from mdistiller_icc.errors import exit_status
from mdistiller_icc.studies.reproduce import quickstart

if __name__ == "__main__":
    raise SystemExit(exit_status(quickstart))
