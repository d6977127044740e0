"""A teacher never trains: its batch norms are folded into its convolutions, once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.utils._pytree import tree_leaves

KEPT_IN_AUTOCAST = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""The layers whose weights autocast would turn into its type again at every step."""
TOLERANCE, TOLERANCE_AUTOCAST = 1e-3, 0.1
"""Largest difference to the unfolded network, against the tensor's largest entry; rounding stays far below."""


class FrozenTeacher:
    """Runs a teacher without a graph, through a copy made for inference where there can be one.

    The copy is made at the first batch; again when a state was loaded into the teacher, or when images come on another
    device, in another type or layout or under another autocast. A teacher in train mode, one with hooks, and one that
    torch.fx cannot trace or whose copy says something else, run as they are. Not noticed until `forget` is called:
    weights edited in place or loaded into a part of the teacher alone; and, once there is a copy, hooks or train mode
    of a part, or an attribute that its forward pass looks at.

    Args:
        teacher: in eval mode, its parameters without gradient; its weights are left as they are.
    """

    def __init__(self, teacher: nn.Module) -> None:
        self.teacher = teacher
        self.forget()
        teacher.register_load_state_dict_post_hook(self.forget)

    def forget(self, *_: Any) -> None:
        """Drop the copy; the next batch makes a new one."""
        self._copy: nn.Module | None = None
        self._made_for: tuple[Any, ...] = ()

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Any:
        """What the teacher returns for ``image``, within rounding."""
        if self.teacher.training:
            return self.teacher(image)
        if not torch.compiler.is_compiling():  # there a copy cannot be made, only used
            kind = image.device.type
            autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
            made_for = image.device, image.dtype, autocast, _is_channels_last(image)
            if made_for != self._made_for:
                self._copy, self._made_for = inference_copy(self.teacher, image, autocast), made_for
        return self.teacher(image) if self._copy is None else self._copy(image)

    def __getstate__(self) -> dict[str, Any]:  # of a deep copy or a pickle
        return {"teacher": self.teacher, "_copy": None, "_made_for": ()}


def inference_copy(teacher: nn.Module, image: Tensor, autocast: torch.dtype | None) -> nn.Module | None:
    """``teacher``, in eval mode, with its batch norms in its convolutions; None if ``image`` can tell the two apart.

    Args:
        image: (B, 3, H, W); the copy's weights take its layout.
        autocast: the type autocast computes in; weights of convolutions and linear layers are kept in it.
    """
    if any(m.training or m._forward_hooks or m._forward_pre_hooks for m in teacher.modules()):
        return None
    # In full float32: with TF32, cuDNN's default, rounding alone exceeds what tells a wrong fold.
    exact = torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False)
    try:
        copy = fuse(teacher)
        with torch.autocast(image.device.type, enabled=False), exact:
            sample = image[:2].to(next(teacher.parameters()).dtype)
            if not _close(copy(sample), teacher(sample), TOLERANCE):
                return None
        for module in copy.modules():
            if autocast is not None and type(module) in KEPT_IN_AUTOCAST:
                module.to(autocast)
        copy.to(memory_format=torch.channels_last if _is_channels_last(image) else torch.preserve_format)
        return copy if _close(copy(image[:2]), teacher(image[:2]), TOLERANCE_AUTOCAST) else None
    except Exception:  # whatever a network of somebody's does to torch.fx, it still teaches as it is
        return None


def _is_channels_last(image: Tensor) -> bool:
    return image.dim() == 4 and image.is_contiguous(memory_format=torch.channels_last) and not image.is_contiguous()


def _close(one: Any, other: Any, tolerance: float) -> bool:
    pairs = [(a, b) for a, b in zip(tree_leaves(one), tree_leaves(other), strict=True) if isinstance(b, Tensor)]
    return all(a.dtype == b.dtype and bool((a - b).abs().max() <= tolerance * b.abs().max()) for a, b in pairs)
