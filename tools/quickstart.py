"""Does an ICC teacher help? The answer on handwritten digits, in minutes: python tools/quickstart.py"""

import sys

from mdistiller_icc.errors import exit_status
from mdistiller_icc.studies.reproduce import main

if __name__ == "__main__":
    raise SystemExit(exit_status(lambda: main(["quickstart", *sys.argv[1:]])))
