"""``--engine ray`` on a real Ray on this machine, with a worker killed on purpose."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from mdistiller_icc.engine.run_folder import portable

ROOT = Path(__file__).parents[2]
INSTALLED = importlib.util.find_spec("ray") is not None
ray = pytest.mark.skipif(not INSTALLED, reason="Ray is not installed: pip install 'mdistiller_icc[ray]'")
TINY = {
    "project": "tiny",
    "dataset": "digits",
    "epochs": {"full": 4, "short": 1},
    "settings": {
        "DATASET": {"FRACTION": 0.1},
        "SOLVER": {"BATCH_SIZE": 8, "LR": 0.05, "SCHEDULE": "cosine", "EVAL_EVERY": 4},
    },
    "teachers": {"vanilla": None},
    "methods": {"KD": None},
    "pairs": [{"teacher": "resnet8", "student": "resnet8"}],
}
CLUSTER = """
from ray.cluster_utils import Cluster
print(Cluster(True, head_node_args={"num_cpus": 2}).address, flush=True)
input()
"""
TEACHER, STUDENT = "resnet8_vanilla,seed:0", "KD,resnet8_vanilla,resnet8,seed:0"


def start(folder, *arguments, **changed):
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY | changed))
    line = [sys.executable, str(ROOT / "tools/reproduce.py"), "tiny.yaml", *arguments]
    # The variable lets Ray's processes import a package that is not installed but only lies here.
    environment = os.environ | {"MDISTILLER_ICC_HOST": "builtin", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        line, cwd=folder, env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def results(folder):
    found = {}
    for file in sorted((folder / "output/tiny").glob("*/metrics.jsonl")):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        found[file.parent.name] = [{k: v for k, v in line.items() if "second" not in k} for line in lines]
    return found


def wait_for(path, process):
    deadline = time.monotonic() + 300
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)


def ray_worker(folder):
    """The process of Ray's that trains in this folder."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            named = (entry / "cmdline").read_bytes().startswith(b"ray::_make")
            if named and (entry / "cwd").resolve() == folder.resolve():
                return int(entry.name)
        except OSError:
            continue
    raise AssertionError("no worker of Ray's is in the folder")


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """What the local engine computes."""
    folder = tmp_path_factory.mktemp("local")
    process = start(folder)
    assert process.communicate() and process.returncode == 0
    return results(folder)


@ray
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="finds the worker through /proc")
def test_a_lost_worker_is_replaced_and_its_run_goes_on_from_its_checkpoint(tmp_path, local):
    process = start(tmp_path, "--engine", "ray", "--jobs", "1")
    teacher = tmp_path / "output/tiny" / portable(TEACHER)
    wait_for(teacher / "latest", process)
    begun = json.loads((teacher / "record.json").read_text())["started"]
    killed = ray_worker(tmp_path)
    os.kill(killed, signal.SIGKILL)
    assert json.loads((teacher / "record.json").read_text())["epoch"] < 4, "it was not killed in a run"
    told = process.communicate()[1]
    assert process.returncode == 0 and "2 of 2 runs finished" in told, told
    assert json.loads((teacher / "record.json").read_text())["started"] == begun, "it began anew"
    assert results(tmp_path) == local


@ray
@pytest.mark.slow
def test_ctrl_c_leaves_a_state_from_which_the_other_engine_goes_on(tmp_path, local):
    process = start(tmp_path, "--engine", "ray", "--jobs", "1")
    wait_for(tmp_path / "output/tiny" / portable(TEACHER) / "latest", process)
    os.killpg(process.pid, signal.SIGINT)
    told = process.communicate(timeout=120)[1]
    assert process.returncode == 130 and "2 left: the same command goes on" in told, told
    record = json.loads((tmp_path / "output/tiny" / portable(TEACHER) / "record.json").read_text())
    assert record["status"] == "interrupted" and record["epoch"] < 4
    again = start(tmp_path)
    assert again.communicate() and again.returncode == 0
    assert results(tmp_path) == local


@ray
@pytest.mark.slow
def test_a_failed_run_is_told_and_its_students_are_skipped_on_a_running_cluster(tmp_path):
    cluster = subprocess.Popen(
        [sys.executable, "-c", CLUSTER], env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = next(line.strip() for line in cluster.stdout if line.strip()[-1:].isdecimal())
    try:
        kinds = {"vanilla": None, "icc": {"ICC": {"FEATURE": "feats.9"}}}
        process = start(tmp_path, "--engine", "ray", "--address", address, "SOLVER.EPOCHS", "3", teachers=kinds)
        told = process.communicate()[1]
    finally:
        cluster.communicate("\n")
    assert process.returncode == 1, told
    assert "2 of 4 runs finished; 1 failed; 1 skipped" in told, told
    assert "failed: resnet8_icc,SOLVER.EPOCHS:3,seed:0: " in told and "no feature 'feats.9'" in told


@pytest.mark.skipif(INSTALLED, reason="Ray is installed")
def test_without_ray_it_says_what_to_install(tmp_path):
    process = start(tmp_path, "--engine", "ray")
    told = process.communicate()[1]
    assert process.returncode == 2 and "pip install 'mdistiller_icc[ray]'" in told
