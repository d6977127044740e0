"""Train a detector on COCO: python tools/train_detection.py --cfg configs/coco/ckd_r50_mv2.yaml [KEY VALUE ...]"""

from mdistiller_icc.commands.detection import main
from mdistiller_icc.errors import exit_status

if __name__ == "__main__":
    raise SystemExit(exit_status(main))
