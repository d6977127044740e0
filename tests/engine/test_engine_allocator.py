"""Memory a step frees is there for the next one, without page faults."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys

import pytest

STEPS = """
import resource, sys, torch
from mdistiller_icc.engine.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for step in range(30):
    if step == 20:  # the heap has settled
        begun = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)  # 64 MiB: glibc on its own never keeps so much
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begun)
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc"
)
def test_freed_feature_maps_are_used_again_without_page_faults():
    faults = {}
    for what in ("keep", "return"):
        done = subprocess.run([sys.executable, "-c", STEPS, what], capture_output=True, text=True, check=True)
        faults[what] = int(done.stdout)
    pages = 10 * 2**26 // mmap.PAGESIZE
    assert faults["keep"] < pages // 100 < pages // 2 < faults["return"]
