"""Settings of every test: one thread (tests must not depend on how many there are) and nothing of the user's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest

for name in ("MDISTILLER_ICC_HOST", "MDISTILLER_ICC_TEACHERS"):
    os.environ.pop(name, None)
os.environ["OMP_NUM_THREADS"] = "1"  # for the processes tests start

# A shell that runs the tests in the background has them ignore Ctrl-C, and with them every process they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

import torch  # noqa: E402  (after the environment is set)

torch.set_num_threads(1)
# A busy machine is slow, not wrong.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

ROOT = Path(__file__).parent.parent

# As they are before anything is registered, whichever test of this process runs first.
from mdistiller_icc.builtin import config as builtin_config  # noqa: E402
from mdistiller_icc.builtin import distillers as builtin_distillers  # noqa: E402
from mdistiller_icc.builtin import models as builtin_models  # noqa: E402

UNREGISTERED = (
    builtin_config.CFG.clone(), dict(builtin_models.cifar_model_dict), dict(builtin_distillers.distiller_dict),
)  # fmt: skip


@pytest.fixture(scope="session")
def unregistered():
    """The built-in host's configuration, CIFAR networks and methods without the plugin's additions."""
    return UNREGISTERED


@pytest.fixture
def command(tmp_path):
    """Run one of the project's command lines in an empty folder: ``command("tools/train.py", "--cfg", …)``."""

    def run(script: str, *arguments: str, **kwargs) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, str(ROOT / script), *map(str, arguments)]
        environment = os.environ | {"MDISTILLER_ICC_HOST": "builtin"} | kwargs.pop("env", {})
        return subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, **kwargs)

    return run


@pytest.fixture(scope="session")
def ranks(tmp_path_factory):
    """Run a script that starts the two processes of a group, and read what it prints: ``ranks(path)``."""

    def run(script: Path):
        from torch import distributed

        if not (distributed.is_available() and distributed.is_gloo_available() and sys.platform == "linux"):
            pytest.skip("needs gloo over the loopback interface")
        line = [sys.executable, str(script), str(tmp_path_factory.mktemp("meeting"))]
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        ran = subprocess.run(line, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout.splitlines()[-1])

    return run
