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
        part: a distiller in train mode, which is its forward and its backward pass, or an optimiser's ``step``.
        device: where it runs.
    """

    def __init__(self, part: Callable[..., Any], device: torch.device) -> None:
        self.part = part
        self._folded = False
        self._compiled = torch.compile(part, mode="reduce-overhead" if device.type == "cuda" else None)

    def __call__(self, **inputs: Any) -> Any:
        if not self._folded:
            self._folded = True
            if getattr(self.part, "teacher", None) is not None and hasattr(self.part, "teach"):
                self.part.teach(inputs["image"])
        if inputs:  # a batch begins a step: what graphs captured on a GPU returned in the last one may go
            torch.compiler.cudagraph_mark_step_begin()
        for value in inputs.values():
            if isinstance(value, torch.Tensor):  # code for any size is slower, and only a last batch has another
                torch._dynamo.mark_static(value)
        return self._compiled(**inputs)
