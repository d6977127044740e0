"""The parity tests' own modules on the import path, and the real mdistiller where there is one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import hosts  # noqa: E402


@pytest.fixture(scope="session")
def real_host() -> hosts.Host:
    host = hosts.real()
    if host is None:
        pytest.skip("no real mdistiller: set MDISTILLER_ROOT to a checkout to run this live")
    return host
