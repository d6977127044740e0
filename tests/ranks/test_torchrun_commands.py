"""The command lines under torchrun: what they print and write, a process that is killed, and runs that go on."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TEACHER = "tools/train_teacher.py"
RUN = [
    "DISTILLER.TYPE", "ICC", "DISTILLER.STUDENT", "resnet8", "DATASET.TYPE", "digits", "DATASET.FRACTION", "0.1",
    "SOLVER.BATCH_SIZE", "32", "SOLVER.EPOCHS", "2", "SOLVER.LR", "0.001", "SOLVER.SYNC_BN", "True",
    "ICC.MARGIN", "-1", "ICC.QUEUE.SIZE", "4", "EXPERIMENT.NAME", "icc",
]  # fmt: skip

ROUNDING = {"icc/anchors": 1e-9, "loss_ce": 2e-3, "test_loss": 2e-3, "icc/feature_norm": 2e-3, "loss_kd": 3e-2}
"""What single precision may change of a figure in two epochs; in double all agree to 1e-7."""


def told(folder: Path) -> list[dict]:
    file = folder / "output/distill/icc/metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def record(folder: Path) -> dict:
    return json.loads((folder / "output/distill/icc/record.json").read_text())


def processes(launcher: int) -> list[int]:
    """Those that a launcher has started, in the order of their numbers; without any, the launcher itself."""
    children = [int(pid) for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()]
    return sorted(children) or [launcher]


def kill_in_second_epoch(run) -> int:
    """Kill the last process of a run once an epoch is saved; return the launcher's exit status."""
    folder, begun = Path(os.readlink(f"/proc/{run.pid}/cwd")), time.monotonic()
    while not told(folder):
        assert run.poll() is None, run.communicate()[1]
        assert time.monotonic() - begun < 300, "no epoch in five minutes"
        time.sleep(0.05)
    os.kill(processes(run.pid)[-1], signal.SIGKILL)
    killed = time.monotonic()
    status = run.wait(timeout=60)
    print(f"the job ended {time.monotonic() - killed:.1f} s after a process was killed")
    return status


@pytest.fixture(scope="module")
def unbroken(torchrun, tmp_path_factory):
    """What one process trains."""
    folder = tmp_path_factory.mktemp("unbroken")
    run = torchrun(1, folder, TEACHER, *RUN)
    _, error = run.communicate(timeout=300)
    assert run.returncode == 0, error
    return told(folder)


@pytest.mark.parametrize("before, after", [(2, 1), (1, 2)])
def test_a_killed_run_goes_on_with_another_number_of_processes(torchrun, tmp_path, unbroken, before, after):
    assert kill_in_second_epoch(torchrun(before, tmp_path, TEACHER, *RUN)) != 0
    assert record(tmp_path)["status"] != "finished" and record(tmp_path)["processes"] == before
    run = torchrun(after, tmp_path, TEACHER, *RUN, "--resume")
    output, error = run.communicate(timeout=300)
    assert run.returncode == 0, error
    assert record(tmp_path)["status"] == "finished" and record(tmp_path)["processes"] == after
    assert output.count("test top-1") == 1 and (tmp_path / "teachers/digits/resnet8_icc.pth").exists()
    assert "Warning" not in error and "Traceback" not in error, error
    for found, expected in zip(told(tmp_path), unbroken, strict=True):
        for figure, rounding in ROUNDING.items():
            assert found[figure] == pytest.approx(expected[figure], rel=rounding), (found["epoch"], figure)


def test_a_batch_that_cannot_be_shared_is_refused_in_one_line(torchrun, tmp_path):
    run = torchrun(2, tmp_path, TEACHER, *RUN, "SOLVER.BATCH_SIZE", "33")
    _, error = run.communicate(timeout=120)
    assert run.returncode != 0
    first, *torchruns_own = error.splitlines()
    assert first == (
        "error: SOLVER.BATCH_SIZE 33: the whole batch, which 2 processes cannot share evenly; try 32 or 34"
    )
    assert not [line for line in torchruns_own if line.startswith("error: ")]
    assert not (tmp_path / "output").exists()


@pytest.mark.slow
def test_a_batch_of_too_few_images_is_refused_in_one_line(torchrun, tmp_path):
    few = ["DATASET.FRACTION", "0.075", "SOLVER.BATCH_SIZE", "106", "SOLVER.SYNC_BN", "False"]  # 109 images
    run = torchrun(2, tmp_path, TEACHER, *RUN, *few)
    _, error = run.communicate(timeout=120)
    assert run.returncode != 0 and error.count("error: ") == 1
    assert "a batch of an epoch has 3 images for 2 processes, and each needs 2; try another size" in error


@pytest.mark.slow
def test_what_one_process_cannot_read_is_told_in_its_one_line_alone(torchrun, tmp_path):
    numbers = np.random.default_rng(0)
    for i in range(20):
        folder = tmp_path / ("train" if i < 16 else "test") / f"class {i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(numbers.integers(0, 256, (80, 80, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    (tmp_path / "train/class 0/Thumbs.db").touch()
    broken = tmp_path / "train/class 1/7.png"
    broken.write_bytes(broken.read_bytes()[:500])
    words = ["DATASET.TYPE", "imagefolder", "DATASET.ROOT", tmp_path, "DATASET.IMAGE_SIZE", "72"]
    words += ["DATASET.MEAN", "[0.5, 0.5, 0.5]", "DATASET.STD", "[0.5, 0.5, 0.5]", "DATASET.NUM_WORKERS", "1"]
    words += ["DISTILLER.TYPE", "NONE", "DISTILLER.STUDENT", "ResNet18", "SOLVER.BATCH_SIZE", "8", "SOLVER.EPOCHS", "1"]
    run = torchrun(2, tmp_path, "tools/train.py", *words)
    _, error = run.communicate(timeout=300)
    assert run.returncode != 0
    assert error.count("error: ") == 1 and f"error: {broken}: not a readable image" in error, error
    assert "[rank" not in error and "RuntimeError" not in error, error
    assert error.count("passed over 1,") == 1, "the first process speaks for both"
