"""A part of the training step through torch.compile."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from mdistiller_icc.distillers.base import Hooks


def advice(compiled: bool, device: torch.device) -> str | None:
    """What to tell somebody who trains on ``device`` with ``SOLVER.COMPILE`` set to ``compiled``, if anything."""
    if compiled or device.type != "cuda":
        return None
    return "on a GPU, SOLVER.COMPILE True can make small networks several times faster"


class Compiled:
    """Calls a distiller's training pass through ``torch.compile``.

    On a GPU the mode is ``reduce-overhead``, which captures CUDA graphs.

    Args:
        training_pass: the distiller in train mode, wrapped or not: its forward and its backward pass.
        hooks: the distiller itself.
        device: where it runs.
    """

    RECOMPILES = 64  # torch's 8 are used up by ICC's sizes of a batch, after which it runs eagerly without a word

    def __init__(self, training_pass: nn.Module, hooks: Hooks, device: torch.device) -> None:
        self.hooks = hooks
        self._prepared = False
        torch._dynamo.reset()  # of an earlier run in this process
        config = torch._dynamo.config
        limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"  # until torch 2.6
        setattr(config, limit, max(getattr(config, limit), self.RECOMPILES))
        _quieten()
        self._compiled = torch.compile(training_pass, mode="reduce-overhead" if device.type == "cuda" else None)

    def __call__(self, **inputs: Any) -> Any:
        """What the training pass returns for a batch, its ``image``, ``target``, ``index`` and ``epoch``."""
        if not self._prepared:
            self._prepared = True
            self.hooks.prepare(inputs["image"])
        if self.hooks.settled is not None:  # code, and graphs, are made anew for another number
            inputs["epoch"] = min(inputs["epoch"], self.hooks.settled)
        torch.compiler.cudagraph_mark_step_begin()  # what graphs captured on a GPU returned in the last step may go
        for value in inputs.values():
            if isinstance(value, torch.Tensor):  # code for any size is slower, and only a last batch has another
                torch._dynamo.mark_static(value)
        return self._compiled(**inputs)


def _quieten() -> None:
    """Leave out what torch would advise every time and nobody is to follow here."""
    import torch._inductor.config as inductor

    if hasattr(inductor.triton, "cudagraph_dynamic_shape_warn_limit"):  # not in every torch
        inductor.triton.cudagraph_dynamic_shape_warn_limit = None  # an ICC teacher's batches have many sizes
    warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")  # float32 is for what has to be exact
