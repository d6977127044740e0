"""Compare teachers' feature spaces: python tools/analyze.py CHECKPOINT... --cfg FILE [--out DIR] [KEY VALUE ...]"""

from mdistiller_icc.errors import exit_status
from mdistiller_icc.studies.analyze import main

if __name__ == "__main__":
    raise SystemExit(exit_status(main))
