"""Train a student: python tools/train.py --cfg configs/cifar100/dkd_icc.yaml [KEY VALUE ...]"""

from mdistiller_icc.command_line import train
from mdistiller_icc.errors import exit_status

if __name__ == "__main__":
    raise SystemExit(exit_status(lambda: train("Train a student, from a teacher or alone.", role="student")))
