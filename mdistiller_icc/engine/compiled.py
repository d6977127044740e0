"""A part of the training step through torch.compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Compiled:
    """Calls something through ``torch.compile``.

    A distiller's frozen teacher is folded first, so that the folded one is compiled. On a GPU the mode is
    ``reduce-overhead``, which captures CUDA graphs.

    Args:
        part: a distiller in train mode, wrapped or not: its forward and its backward pass.
        device: where it runs.
    """

    RECOMPILES = 64  # torch's 8 are used up by ICC's sizes of a batch, after which it runs eagerly without a word

    def __init__(self, part: Callable[..., Any], device: torch.device) -> None:
        self.part = part
        self.distiller = getattr(part, "module", part)
        self._folded = False
        torch._dynamo.reset()  # of an earlier run in this process
        config = torch._dynamo.config
        limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"  # until torch 2.6
        setattr(config, limit, max(getattr(config, limit), self.RECOMPILES))
        self._compiled = torch.compile(part, mode="reduce-overhead" if device.type == "cuda" else None)

    def __call__(self, **inputs: Any) -> Any:
        if not self._folded:
            self._folded = True
            if getattr(self.distiller, "teacher", None) is not None and hasattr(self.distiller, "teach"):
                self.distiller.teach(inputs["image"])
        settled = getattr(self.distiller, "settled", None)
        if settled is not None and "epoch" in inputs:  # code, and graphs, are made anew for another number
            inputs["epoch"] = min(inputs["epoch"], settled)
        torch.compiler.cudagraph_mark_step_begin()  # what graphs captured on a GPU returned in the last step may go
        for value in inputs.values():
            if isinstance(value, torch.Tensor):  # code for any size is slower, and only a last batch has another
                torch._dynamo.mark_static(value)
        return self._compiled(**inputs)
