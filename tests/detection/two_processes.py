"""Short runs of detectors by one process or by those that torchrun starts, in double precision.

Run as ``[torchrun --nproc-per-node N] two_processes.py FOLDER DATA METHOD …``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)  # so that what differs is not rounding

from mdistiller_icc.detection import loaders  # noqa: E402
from mdistiller_icc.detection.run import run  # noqa: E402
from mdistiller_icc.detection.settings import configure  # noqa: E402
from mdistiller_icc.detection.trainer import DetectionTrainer  # noqa: E402
from mdistiller_icc.engine.progress import Silent  # noqa: E402
from mdistiller_icc.run.processes import group, one_voice  # noqa: E402
from tests.detection.conftest import options  # noqa: E402

single, given = loaders.load_image, DetectionTrainer.inputs
loaders.load_image = lambda picture: single(picture).double()


def inputs(self, batch):
    found = given(self, batch)
    for target in found["target"]:
        target["boxes"] = target["boxes"].double()
    return found


DetectionTrainer.inputs = inputs  # type: ignore[method-assign]


def main(folder: str, data: str, *methods: str) -> None:
    network = "mobilenet_v2_fpn_mask"
    with one_voice(), group(torch.device("cpu")):
        for method in methods:
            words = [*options(Path(data)), "LOG.PREFIX", folder, "EXPERIMENT.NAME", method, "DISTILLER.TYPE", method]
            words += ["DISTILLER.STUDENT", network, "DISTILLER.TEACHER", f"{network}_vanilla", "SOLVER.SYNC_BN", "True"]
            words += ["SOLVER.EPOCHS", "2", "DETECTION.EPOCH_STEPS", "2", "SOLVER.LR", "0.001"]
            run(configure(None, words), "teacher" if method == "NONE" else "student", device="cpu", progress=Silent())


if __name__ == "__main__":
    main(*sys.argv[1:])
