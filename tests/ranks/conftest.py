from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEACHER = ROOT / "tests/engine/data/0.1.0/teachers/digits/resnet8_icc.pth"


@pytest.fixture(scope="session")
def torchrun():
    """Start a script in several processes, or in one without torchrun: ``torchrun(2, folder, "tools/train.py", …)``."""
    from torch import distributed

    if not (distributed.is_available() and distributed.is_gloo_available() and sys.platform == "linux"):
        pytest.skip("needs gloo over the loopback interface")

    def start(
        count: int, folder: Path, script: str | Path, *arguments: object, **settings: str
    ) -> subprocess.Popen[str]:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)] if count > 1 else []
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        surroundings = {"PYTHONPATH": paths, "GLOO_SOCKET_IFNAME": "lo", "MDISTILLER_ICC_HOST": "builtin", **settings}
        return subprocess.Popen(
            [sys.executable, *launcher, str(ROOT / script), *map(str, arguments)],
            cwd=folder,
            env=os.environ | surroundings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
