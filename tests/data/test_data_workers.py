"""How many processes decode, however many data sets were loaded."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mdistiller_icc.data import load

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


def decoding() -> int:
    return len(multiprocessing.active_children())


@pytest.fixture
def workers(configure):
    def build(**options):
        options = {"DATASET.LOADER": "workers", "DATASET.NUM_WORKERS": 2, "DATASET.FRACTION": 0.1} | options
        return load(configure(options), 0, CPU)

    return build


def test_the_processes_of_runs_that_are_over_end(workers):
    kept = []
    for _ in range(4):
        bundle = workers()
        kept.append(bundle)  # as a traceback or a cycle of references would
        list(bundle.train)
        list(bundle.test)
        assert decoding() <= 4
    assert decoding() == 4


def test_the_processes_of_a_run_stay_from_epoch_to_epoch(workers):
    bundle = workers()
    list(bundle.train), list(bundle.test)
    before = {child.pid for child in multiprocessing.active_children()}
    for _ in range(2):
        list(bundle.train), list(bundle.test)
    assert {child.pid for child in multiprocessing.active_children()} == before


def test_those_of_a_run_with_a_holdout_take_turns(workers):
    bundle = workers(**{"DATASET.HOLDOUT": 0.3})
    for _ in range(2):
        for loader in (bundle.train, bundle.test, bundle.holdout):
            assert sum(len(batch[0]) for batch in loader) == loader.num_data
            assert decoding() <= 4


def test_a_pass_under_way_is_finished_whoever_else_is_asked(workers):
    bundle, others = workers(**{"SOLVER.BATCH_SIZE": 16}), [workers() for _ in range(3)]
    alone = [batch[2] for batch in bundle.train]
    beside = []
    for batch, other in zip(bundle.train, [*others, *[None] * 99], strict=False):
        beside.append(batch[2])
        if other is not None:
            list(other.test)
    assert all(torch.equal(one, same) for one, same in zip(alone, beside, strict=True))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("told, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_told_to_stop_with_its_processes_a_run_says_one_word(tmp_path, told, status):
    words = [
        "DATASET.TYPE",
        "digits",
        "DATASET.LOADER",
        "workers",
        "DATASET.NUM_WORKERS",
        "2",
        "DISTILLER.TYPE",
        "NONE",
    ]
    words += [
        "DISTILLER.STUDENT",
        "resnet8",
        "SOLVER.EPOCHS",
        "99",
        "EXPERIMENT.NAME",
        "stopped",
        "DATASET.FRACTION",
        "0.3",
    ]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tools/train.py"), *words], cwd=tmp_path, text=True, start_new_session=True,
        env=os.environ | {"MDISTILLER_ICC_HOST": "builtin"}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    folder, deadline = tmp_path / "output/distill/stopped", time.monotonic() + 300
    while not (folder / "latest").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    os.killpg(process.pid, told)  # what a terminal and Slurm do: everybody is told
    lines = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == status
    after = lines[lines.index("stopped") + 1 :]  # the run's title
    assert [line for line in after if not line.startswith("  epoch ")] == ["interrupted"]
    assert json.loads((folder / "record.json").read_text())["status"] == "interrupted"
