"""A trained network for use elsewhere: python tools/export.py CHECKPOINT --out student.onnx"""

from mdistiller_icc.commands.export import main
from mdistiller_icc.errors import exit_status

if __name__ == "__main__":
    raise SystemExit(exit_status(main))
