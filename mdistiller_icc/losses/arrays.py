"""Arithmetic that is written once and runs in torch or in NumPy.

On a CPU the arithmetic of a small batch is nothing beside the calls that ask for it, and a call of NumPy costs a
fraction of one of torch's. What needs no autograd may therefore be given NumPy arrays there, which share their tensors'
memory. Only names that both libraries have are used: ``axis``, ``keepdims``, ``xp.exp``.
"""

from __future__ import annotations

from types import ModuleType
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

Array: TypeAlias = Tensor | np.ndarray


def library(array: Array) -> ModuleType:
    """The library an array is of: torch or NumPy."""
    return torch if isinstance(array, Tensor) else np


def alike(tensor: Tensor, array: Array) -> Array:
    """``tensor`` as an array of the same library as ``array``, of the same memory."""
    return tensor if isinstance(array, Tensor) else tensor.numpy()


def positions(array: Array) -> Array:
    """0, 1, 2, … along the first axis of ``array``."""
    return torch.arange(len(array), device=array.device) if isinstance(array, Tensor) else np.arange(len(array))


def softmax(logits: Array) -> Array:
    """Softmax along the last axis."""
    if isinstance(logits, Tensor):
        return logits.softmax(-1)
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    exponentials /= exponentials.sum(-1, keepdims=True)
    return exponentials
