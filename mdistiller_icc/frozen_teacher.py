"""A teacher never trains: its batch norms fold into its convolutions, its weights stay as they are computed with."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
CAST = (*CONVOLUTIONS, nn.Linear)
"""The layers whose weights autocast would turn into its type again at every step."""
TOLERANCE = 1e-3
"""Largest difference to the unfolded network, against the largest entry of the tensor; rounding stays far below."""


class FrozenTeacher:
    """Runs a teacher through a copy made for inference; no module, so no checkpoint or optimiser ever sees the copy.

    The copy is made at the first batch, and again when the weights, the device or the compute precision have
    changed. A teacher in train mode, with hooks or replicated by DataParallel runs as it is; compiled code runs
    the copy that was there when it was compiled.

    Args:
        teacher: left as it is; parameters without gradient.
    """

    def __init__(self, teacher: nn.Module) -> None:
        self.teacher = teacher
        self._copy: nn.Module | None = None
        self._made_for: Any = None

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Any:
        """What the teacher returns for ``image``, within rounding, without a graph."""
        if torch.compiler.is_compiling():  # a copy cannot be made there, only used
            return (self._copy or self.teacher)(image)
        modules = list(self.teacher.modules())
        if any(m.training or m._forward_hooks or m._forward_pre_hooks or _is_replica(m) for m in modules):
            return self.teacher(image)
        kind = image.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        channels_last = _is_channels_last(image)
        # Any change of a weight in place raises its version; a weight that was moved lies elsewhere.
        made_for = dtype, channels_last, [(t.data_ptr(), t._version) for m in modules for t in _own_tensors(m)]
        if made_for != self._made_for:
            self._copy = _inference_copy(self.teacher, image, dtype, channels_last)
            self._made_for = made_for
        return _infer(self._copy, image)

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenTeacher:
        return FrozenTeacher(copy.deepcopy(self.teacher, memo))

    def __getstate__(self) -> dict[str, Any]:
        return {"teacher": self.teacher, "_copy": None, "_made_for": None}


def fold(model: nn.Module, image: Tensor) -> nn.Module:
    """A copy of ``model``, which is in eval mode, with batch norms folded into convolutions wherever nobody can tell.

    A pair is folded if both layers run once and the norm alone reads the convolution's output. Where the result
    is not the model's within rounding for ``image`` (B, 3, H, W), the copy is an unchanged one.
    """
    folded = copy.deepcopy(model)
    for conv, norm in _pairs(folded, image):
        _replace(folded, conv, fuse_conv_bn_eval(folded.get_submodule(conv), folded.get_submodule(norm)))
        _replace(folded, norm, nn.Identity())
    return folded if _close(folded(image), model(image)) else copy.deepcopy(model)


def _infer(model: nn.Module, image: Tensor) -> Any:
    """What ``model`` returns under inference mode, as ordinary tensors of the same memory.

    A loss keeps what it needs for the backward pass, which inference tensors refuse; DLPack hands over their memory.
    """
    if image.device.type not in ("cpu", "cuda"):  # elsewhere DLPack may know nothing of the device
        return model(image)
    with torch.inference_mode():
        output = model(image)
    with torch.cuda.device_of(image):  # DLPack hands over what the current GPU holds
        return tree_map(lambda leaf: torch.from_dlpack(leaf) if isinstance(leaf, Tensor) else leaf, output)


def _inference_copy(teacher: nn.Module, image: Tensor, dtype: torch.dtype | None, channels_last: bool) -> nn.Module:
    own = next((t.dtype for m in teacher.modules() for t in _own_tensors(m) if t.is_floating_point()), image.dtype)
    # In full float32: with TF32, cuDNN's default, rounding alone exceeds what tells a wrong fold.
    exact = torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False)
    with torch.autocast(image.device.type, enabled=False), exact:
        ready = fold(teacher, image[:2].to(own))
    if dtype is not None:
        for module in ready.modules():
            if isinstance(module, CAST):
                module.to(dtype)
    return ready.to(memory_format=torch.channels_last) if channels_last else ready


def _own_tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from (tensor for tensor in module._parameters.values() if tensor is not None)
    yield from (tensor for tensor in module._buffers.values() if tensor is not None)


def _is_replica(module: nn.Module) -> bool:
    return "_is_replica" in module.__dict__  # asking a module for what it lacks is slow, and this is asked every step


def _is_channels_last(image: Tensor) -> bool:
    return image.dim() == 4 and not image.is_contiguous() and image.is_contiguous(memory_format=torch.channels_last)


class _Readers(TorchDispatchMode):
    """Counts how many operations read each tensor, and keeps the tensors so that no two share an id."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[int] = Counter()
        self.kept: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        read = {id(leaf): leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        self.count.update(read.keys())
        result = func(*args, **(kwargs or {}))
        self.kept += [*read.values(), result]
        return result


def _pairs(model: nn.Module, image: Tensor) -> list[tuple[str, str]]:
    """Names of the (convolution, batch norm) pairs that one forward pass shows to be safe to fold."""
    made: dict[int, str] = {}
    read: list[tuple[int, str]] = []
    runs: Counter[str] = Counter()

    def watch(name: str, is_norm: bool) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            runs[name] += 1
            if is_norm:
                read.append((id(inputs[0]), name))
            else:
                made[id(output)] = name

        return hook

    with ExitStack() as hooks, _Readers() as readers:
        for name, module in model.named_modules():
            if type(module) in CONVOLUTIONS or (type(module) in NORMS and module.track_running_stats):
                handle = module.register_forward_hook(watch(name, type(module) in NORMS))
                hooks.callback(handle.remove)
        output = model(image)
        shown = {id(leaf) for leaf in tree_leaves(output)}
        return [
            (made[tensor], norm)
            for tensor, norm in read
            if tensor in made
            and readers.count[tensor] == 1
            and tensor not in shown
            and runs[norm] == runs[made[tensor]] == 1
        ]


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def _close(one: Any, other: Any) -> bool:
    pairs = zip(tree_leaves(one), tree_leaves(other), strict=True)
    return all(
        bool((a - b).abs().max() <= TOLERANCE * b.abs().max()) for a, b in pairs if isinstance(a, Tensor) and a.numel()
    )
