"""The compute precision of a run."""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager
from pathlib import Path

import torch


def resolve(precision: str, device: torch.device) -> str:
    """Turn ``SOLVER.PRECISION`` into ``fp32`` or ``bf16``; ``auto`` is bf16 where the hardware multiplies it."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and _cpu_multiplies_bf16() else "fp32"


def _cpu_multiplies_bf16() -> bool:
    if platform.machine() == "arm64":  # Apple's processors
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return any(f" {flag}" in flags for flag in ("avx512_bf16", "amx_bf16", "bf16"))


def memory_format(channels_last: str, taken: bool = True) -> torch.memory_format:
    """Turn ``SOLVER.CHANNELS_LAST`` into the layout of the images, which every layer's output inherits.

    Args:
        channels_last: ``auto`` is channels-last, the faster one, where it is taken.
        taken: whether the method and its networks say that they take it: others may reshape features with ``view``,
            which only the ordinary layout allows.
    """
    wanted = channels_last == "always" or (channels_last == "auto" and taken)
    return torch.channels_last if wanted else torch.contiguous_format


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """The region in which networks run; losses leave it for float32 by themselves."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
