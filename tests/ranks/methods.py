"""Short runs of several methods in one go, by one process or by those that torchrun starts, in double precision.

Run as ``[torchrun --nproc-per-node N] methods.py FOLDER TEACHER METHOD[:KEY=VALUE…] …``. Real images, the whole engine.
"""

from __future__ import annotations

import sys

import torch

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)  # so that what differs is not rounding

from mdistiller_icc.data.loaders import Normalize  # noqa: E402
from mdistiller_icc.engine.progress import Silent  # noqa: E402
from mdistiller_icc.run import configure, run  # noqa: E402
from mdistiller_icc.run.processes import group, one_voice  # noqa: E402

ICC = ["ICC.MARGIN", "-1", "ICC.WEIGHT", "0.5", "ICC.QUEUE.SIZE", "2", "ICC.TEMPERATURE", "10"]
WEIGHTS = {"OFD": ["OFD.LOSS.FEAT_WEIGHT", "0.0001"], "CRD": ["CRD.NCE.K", "64"], "TTM": ["TTM.BETA", "1"]}
COMMON = [
    "DATASET.TYPE", "digits", "DATASET.FRACTION", "0.075", "SOLVER.BATCH_SIZE", "24", "SOLVER.EPOCHS", "2",
    "SOLVER.EVAL_EVERY", "2", "SOLVER.LR", "0.01", "SOLVER.SYNC_BN", "True",
    "DISTILLER.STUDENT", "resnet8", "DISTILLER.TEACHER", "resnet8",
]  # fmt: skip
single = Normalize.__call__
Normalize.__call__ = lambda self, image: single(self, image).double()  # type: ignore[method-assign]


def main(folder: str, teacher: str, *cases: str) -> None:
    with one_voice(), group(torch.device("cpu")):
        for case in cases:
            method, *settings = case.split(":")
            options = [*COMMON, *WEIGHTS.get(method, []), *(ICC if method == "ICC" else [])]
            options += [word for setting in settings for word in setting.split("=")]
            options += ["DISTILLER.TYPE", method, "DISTILLER.TEACHER_CKPT", teacher]
            options += ["LOG.PREFIX", folder, "EXPERIMENT.NAME", case.replace(":", ",")]
            run(configure(None, options), "student", device="cpu", progress=Silent())


if __name__ == "__main__":
    main(*sys.argv[1:])
