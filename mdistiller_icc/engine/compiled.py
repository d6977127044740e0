"""The parts of a training step through torch.compile, or as they are where that cannot be done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Compiled:
    """Calls something through ``torch.compile``; the first failure to compile is told and the rest runs eagerly.

    A distiller's frozen teacher is folded first, so that the folded one is compiled. On a GPU the mode is
    ``reduce-overhead``, which captures CUDA graphs.

    Args:
        part: a distiller in train mode, which is its forward and its backward pass, or an optimiser's ``step``.
        device: where it runs.
        note: told in one line why it goes on without.
    """

    def __init__(self, part: Callable[..., Any], device: torch.device, note: Callable[[str], None]) -> None:
        self.part = part
        self.note = note
        self._folded = False
        mode = "reduce-overhead" if device.type == "cuda" else None
        self._compiled: Callable[..., Any] | None = torch.compile(part, mode=mode)

    def __call__(self, **inputs: Any) -> Any:
        if not self._folded:
            self._folded = True
            if getattr(self.part, "teacher", None) is not None and hasattr(self.part, "teach"):
                self.part.teach(inputs["image"])
        if self._compiled is not None:
            if inputs:  # a batch begins a step: what graphs captured on a GPU returned in the last one may go
                torch.compiler.cudagraph_mark_step_begin()
            for value in inputs.values():
                if isinstance(value, torch.Tensor):  # code for any size is slower, and only a last batch has another
                    torch._dynamo.mark_static(value)
            try:
                return self._compiled(**inputs)
            except torch._dynamo.exc.TorchDynamoException as error:
                reason = str(error).strip().splitlines()[0]
                self.note(f"SOLVER.COMPILE: goes on without ({type(error).__name__}: {reason})")
                self._compiled = None
        return self.part(**inputs)
