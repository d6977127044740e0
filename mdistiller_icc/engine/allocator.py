"""The C library's allocator: on its own it returns every step's feature maps to the system and asks for them again."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
"""The numbers of glibc's ``mallopt`` settings, from ``malloc.h``."""
SETTINGS = {MMAP_THRESHOLD: 2**30, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 64 * 2**20}


def keep_freed_memory() -> bool:
    """Make this process keep memory it frees; returns whether the C library could be told.

    Feature maps of a few MiB lie above glibc's threshold for memory of their own, which is returned when
    freed: each step then pays for thousands of page faults. The peak stays what it was. Only glibc has this
    setting; elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(name, value) for name, value in SETTINGS.items())
