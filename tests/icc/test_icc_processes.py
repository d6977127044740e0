"""Class queues across processes: of their own, or shared by all ranks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

SCRIPT = Path(__file__).with_name("icc_two_processes.py")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    if not (dist.is_available() and dist.is_gloo_available()):
        pytest.skip("needs gloo")
    line = [sys.executable, SCRIPT, tmp_path_factory.mktemp("meeting")]
    ran = subprocess.run(line, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.parametrize("policy", ["clear", "slide"])
def test_two_ranks_with_half_batches_fill_the_queues_as_one_with_the_whole(told, policy):
    state, met = told["whole"][policy]
    ranks = [rank[f"{policy} True"] for rank in told["ranks"]]
    assert ranks[0][0] == ranks[1][0] == state
    together = [[a + b for a, b in zip(*steps, strict=True)] for steps in zip(ranks[0][1], ranks[1][1], strict=True)]
    assert together == met


@pytest.mark.parametrize("policy", ["clear", "slide"])
def test_otherwise_each_rank_has_its_own(told, policy):
    state, _ = told["whole"][policy]
    ranks = [rank[f"{policy} False"][0] for rank in told["ranks"]]
    assert ranks[0] != ranks[1] and state not in ranks


def test_distributed_data_parallel_leaves_each_rank_its_queues(told):
    first, second = (rank["ddp"]["index"] for rank in told["ranks"])
    assert first != second
