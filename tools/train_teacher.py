"""Train a teacher and publish it: python tools/train_teacher.py --cfg configs/icc/res110.yaml [KEY VALUE ...]"""

from mdistiller_icc.command_line import train
from mdistiller_icc.errors import exit_status

if __name__ == "__main__":
    raise SystemExit(exit_status(lambda: train("Train a teacher and put it into the teacher store.", role="teacher")))
