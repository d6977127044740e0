"""How well a checkpoint does: python tools/eval.py CHECKPOINT, or mdistiller's -m MODEL -c CHECKPOINT"""

from mdistiller_icc.commands.evaluate import main
from mdistiller_icc.errors import exit_status

if __name__ == "__main__":
    raise SystemExit(exit_status(main))
