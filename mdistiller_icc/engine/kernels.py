"""Which of its algorithms a GPU computes with: those that give the same bits every time, or the quickest."""

from __future__ import annotations

import os

import torch

CUBLAS_WORKSPACE = ":4096:8"
"""The buffer with which cuBLAS repeats itself, as its documentation asks for; read at the first matrix product."""


def choose_kernels(precision: str, device: torch.device) -> None:
    """Settle the algorithms of this process for a run: in ``fp32`` repeatable ones, else the quickest of a trial.

    Without this, cuDNN adds up the gradients of a convolution's weights in whatever order its threads arrive. An
    operation that has no repeatable algorithm warns, once. A CPU repeats itself as it is; nothing happens.

    Args:
        precision: ``fp32`` or ``bf16``, as resolved.
        device: of the run.
    """
    if device.type != "cuda":
        return
    repeatable = precision == "fp32"
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACE)
    torch.use_deterministic_algorithms(repeatable, warn_only=True)
    # It finds mistakes, and costs a pass over every tensor.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not repeatable
