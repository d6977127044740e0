"""Where a measurement runs, and when it is over there."""

from __future__ import annotations

import torch
from yacs.config import CfgNode

from mdistiller_icc.engine.kernels import choose_kernels
from mdistiller_icc.engine.precision import resolve


def device_for(cfg: CfgNode) -> torch.device:
    """A GPU where there is one, with the algorithms a run would compute with there."""
    device = default_device()
    choose_kernels(resolve(cfg.SOLVER.PRECISION, device), device)
    return device


def default_device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait_for(device: torch.device) -> None:
    """Until a GPU has done what it was asked to; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
