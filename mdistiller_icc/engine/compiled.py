"""A method's training pass through torch.compile, or as it is where that cannot be done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class Compiled:
    """Calls a distiller through ``torch.compile``; the first failure to compile is told and the rest runs eagerly.

    A frozen teacher is folded first, so that the folded one is compiled. On a GPU the mode is ``reduce-overhead``,
    which captures CUDA graphs.

    Args:
        distiller: in train mode when called.
        device: where it runs.
        note: told in one line why it goes on without.
    """

    def __init__(self, distiller: nn.Module, device: torch.device, note: Callable[[str], None]) -> None:
        self.distiller = distiller
        self.note = note
        self._folded = False
        mode = "reduce-overhead" if device.type == "cuda" else None
        self._compiled: Callable[..., Any] | None = torch.compile(distiller, mode=mode)

    def __call__(self, **inputs: Any) -> Any:
        if not self._folded:
            self._folded = True
            if hasattr(self.distiller, "teach") and self.distiller.teacher is not None:
                self.distiller.teach(inputs["image"])
        if self._compiled is not None:
            try:
                return self._compiled(**inputs)
            except torch._dynamo.exc.TorchDynamoException as error:
                reason = str(error).strip().splitlines()[0]
                self.note(f"SOLVER.COMPILE: goes on without ({type(error).__name__}: {reason})")
                self._compiled = None
        return self.distiller(**inputs)
