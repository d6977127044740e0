"""``--gpus-per-run``: runs of a table that several processes train, with real processes, signals and kills."""

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
import torch
import yaml
from torch import distributed

from mdistiller_icc.engine.run_folder import portable
from mdistiller_icc.errors import UserError, exit_status
from mdistiller_icc.studies.on_ray import _Seat, torchruns
from mdistiller_icc.studies.places import Place, places
from mdistiller_icc.studies.reproduce import main

ROOT = Path(__file__).parents[2]
TINY = {
    "project": "tiny",
    "dataset": "digits",
    "epochs": {"full": 4, "short": 1},
    "settings": {
        "DATASET": {"FRACTION": 0.1},
        "SOLVER": {"BATCH_SIZE": 8, "LR": 0.05, "SCHEDULE": "cosine", "EVAL_EVERY": 4},
    },
    "teachers": {"icc": {"ICC": {"MARGIN": -0.5, "QUEUE": {"SIZE": 2}}}},
    "methods": {"KD": None},
    "pairs": [{"teacher": "resnet8", "student": "resnet8"}],
}
TEACHER, STUDENT = "resnet8_icc,seed:0", "KD,resnet8_icc,resnet8,seed:0"
together = pytest.mark.skipif(
    not (distributed.is_available() and distributed.is_gloo_available() and sys.platform == "linux"),
    reason="needs gloo over the loopback interface, and finds processes through /proc",
)
ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
ON_TWO = "--gpus-per-run", "2", "--device", "cpu", "--jobs", "1"


def write(folder, **changed):
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY | changed))


def start(folder, *arguments):
    line = [sys.executable, str(ROOT / "tools/reproduce.py"), "tiny.yaml", *arguments]
    # The path lets Ray's processes import a package that is not installed but only lies here.
    surroundings = {"MDISTILLER_ICC_HOST": "builtin", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        line, cwd=folder, env=os.environ | surroundings, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def record(folder, name):
    return json.loads((folder / "output/tiny" / portable(name) / "record.json").read_text())


def wait_for_an_epoch(folder, process):
    latest, deadline = folder / "output/tiny" / portable(TEACHER) / "latest", time.monotonic() + 300
    while not latest.exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)


def inside(folder):
    """The processes in this folder, by their numbers, with the numbers of their parents."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").resolve() == folder.resolve() and b"spawn_main" in (entry / "cmdline").read_bytes():
                found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    return found


def trainers(folder):
    """The processes of the run in this folder, in the order of their ranks."""
    found = inside(folder)
    return sorted(number for number, parent in found.items() if parent in found)


@together
def test_stopped_with_ctrl_c_two_processes_to_a_run_go_on_with_the_same_command(tmp_path):
    write(tmp_path, pairs=[{"teacher": "resnet8", "student": None}])
    process = start(tmp_path, *ON_TWO)
    wait_for_an_epoch(tmp_path, process)
    begun = record(tmp_path, TEACHER)["started"]
    os.killpg(process.pid, signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert not inside(tmp_path)
    assert process.returncode == 130 and "0 of 1 runs finished; 1 left: the same command goes on" in told, told
    assert "Traceback" not in told
    assert record(tmp_path, TEACHER)["epoch"] < 4, "it was not stopped in a run"

    again = start(tmp_path, *ON_TWO)
    told = again.communicate()[1]
    assert again.returncode == 0 and "1 of 1 runs finished" in told, told
    assert record(tmp_path, TEACHER)["started"] == begun, "it began anew"
    assert record(tmp_path, TEACHER)["status"] == "finished" and record(tmp_path, TEACHER)["processes"] == 2
    console = (tmp_path / "output/tiny" / portable(TEACHER) / "console.txt").read_text()
    assert console.count("epoch 4/4") == 1, "the first process speaks for both"


@together
@pytest.mark.slow
def test_a_process_that_dies_ends_its_run_and_another_number_goes_on(tmp_path):
    write(tmp_path, alone=True)
    process = start(tmp_path, *ON_TWO)
    wait_for_an_epoch(tmp_path, process)
    _first, second = trainers(tmp_path)
    os.kill(second, signal.SIGKILL)
    told = process.communicate(timeout=300)[1]
    assert process.returncode == 1, told
    assert f"failed: {TEACHER}: process 1 of 2 was killed by SIGKILL (out of memory?)" in told, told
    assert f"skipped: {STUDENT}: it needs {TEACHER}" in told and "1 of 3 runs finished; 1 failed; 1 skipped" in told
    assert "Traceback" not in told
    again = start(tmp_path, "--device", "cpu", "--jobs", "1")
    told = again.communicate()[1]
    assert again.returncode == 0 and "3 of 3 runs finished (1 before)" in told, told
    teacher, student = record(tmp_path, TEACHER), record(tmp_path, STUDENT)
    assert teacher["processes"] == 1 and record(tmp_path, "NONE,resnet8,seed:0")["processes"] == 2
    assert student["teacher"]["digest"] == teacher["digest"]


@together
@pytest.mark.slow
def test_killed_outright_nothing_of_a_study_stays_behind(tmp_path):
    write(tmp_path)
    process = start(tmp_path, *ON_TWO)
    wait_for_an_epoch(tmp_path, process)
    assert len(trainers(tmp_path)) == 2
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while inside(tmp_path):
        assert time.monotonic() < deadline, inside(tmp_path)
        time.sleep(0.1)


@together
@pytest.mark.slow
def test_a_failed_run_of_several_processes_says_why_once(tmp_path):
    write(tmp_path, teachers={"icc": {"ICC": {"FEATURE": "feats.9"}}})  # seen only when the network is there
    process = start(tmp_path, *ON_TWO)
    told = process.communicate()[1]
    assert process.returncode == 1, told
    assert f"failed: {TEACHER}: " in told and "no feature 'feats.9'" in told, told
    console = (tmp_path / "output/tiny" / portable(TEACHER) / "console.txt").read_text()
    assert console.count("error: ") == 1 and "Traceback" not in console, console


def rays(folder):
    """The processes of Ray's that train in this folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            named = (entry / "cmdline").read_bytes().startswith(b"ray::_make")
            found += [int(entry.name)] if named and (entry / "cwd").resolve() == folder.resolve() else []
        except OSError:
            continue
    return sorted(found)


@ray
@together
@pytest.mark.slow
def test_on_ray_a_run_that_loses_one_of_its_processes_goes_on_from_its_checkpoint(tmp_path):
    write(tmp_path)
    process = start(tmp_path, *ON_TWO, "--engine", "ray")
    wait_for_an_epoch(tmp_path, process)
    begun = record(tmp_path, TEACHER)["started"]
    first, second = rays(tmp_path)
    os.kill(second, signal.SIGKILL)
    assert record(tmp_path, TEACHER)["epoch"] < 4, "it was not killed in a run"
    told = process.communicate()[1]
    assert process.returncode == 0 and "2 of 2 runs finished" in told, told
    assert record(tmp_path, TEACHER)["started"] == begun, "it began anew"
    teacher, student = record(tmp_path, TEACHER), record(tmp_path, STUDENT)
    assert teacher["processes"] == student["processes"] == 2
    assert student["teacher"]["digest"] == teacher["digest"]


@ray
@together
@pytest.mark.slow
def test_on_ray_a_failed_run_frees_its_group_and_ctrl_c_leaves_a_state_to_go_on_from(tmp_path):
    kinds = {"icc": {"ICC": {"FEATURE": "feats.9"}}, "vanilla": None}
    write(tmp_path, teachers=kinds, pairs=[{"teacher": "resnet8", "student": None}])
    process = start(tmp_path, *ON_TWO, "--engine", "ray")
    plain = tmp_path / "output/tiny" / portable(TEACHER.replace("icc", "vanilla"))
    deadline = time.monotonic() + 300
    while not (plain / "latest").exists():  # there is room for one run: the failed one has ended
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    told = process.communicate(timeout=120)[1]
    assert process.returncode == 130, told
    assert f"failed: {TEACHER}: " in told and "no feature 'feats.9'" in told, told
    assert "0 of 2 runs finished; 1 failed; 1 left: the same command goes on" in told
    assert not rays(tmp_path)
    assert 0 < json.loads((plain / "record.json").read_text())["epoch"] < 4


def test_mistakes_are_one_line_and_status_2(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    for given, told in (
        ("0", "error: argument --gpus-per-run: a whole number of at least 1, or a share from 0.01 to 1, not '0'"),
        ("1.5", "error: argument --gpus-per-run: a whole number"),
        ("nan", "error: argument --gpus-per-run: a whole number"),
        ("1e-400", "error: argument --gpus-per-run: a whole number"),
        ("two", "error: argument --gpus-per-run: a whole number"),
        ("0.25", "error: --gpus-per-run 0.25: there is no GPU to share; --jobs says how many runs at once"),
        ("3", "error: SOLVER.BATCH_SIZE 8: the whole batch, which 3 processes cannot share evenly; try 6 or 9"),
    ):
        assert exit_status(lambda given=given: main(["tiny.yaml", "--device", "cpu", "--gpus-per-run", given])) == 2
        error = capsys.readouterr().err
        assert error.startswith(told) and error.count("\n") == 1, error
    assert not list(tmp_path.glob("output")), "nothing was begun"


def test_a_place_for_every_run_that_goes_on_at_once(monkeypatch):
    def of(*asked, runs=10):
        return [(place.device, place.gpus, place.processes) for place in places(*asked, runs)]

    assert of("cpu", None, 3) == [("cpu", (), 1)] * 3
    assert of("cpu", None, None, runs=1) == [("cpu", (), 1)]
    assert of("cpu", 2, 3) == [("cpu", (), 2)] * 3
    assert len(of("cpu", 64, None)) == 1
    with pytest.raises(UserError, match="no GPU to share"):
        places("cpu", 0.5, None, 10)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # there is not always a GPU, let alone five
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 5)
    one_each = [(f"cuda:{i}", (), 1) for i in range(5)]
    assert of("auto", None, None) == of("cuda", 1, None) == one_each
    assert of("auto", None, 2) == one_each[:2]
    assert of("auto", None, 7) == one_each + one_each[:2], "more runs than GPUs share them"
    assert of("auto", 0.5, None, runs=99) == one_each * 2
    assert of("auto", 0.5, 6) == one_each + one_each[:1]
    assert of("auto", 2, None) == [("cuda", (0, 1), 2), ("cuda", (2, 3), 2)]
    assert of("auto", 2, 1) == [("cuda", (0, 1), 2)]
    assert of("auto", 2, None, runs=1) == [("cuda", (0, 1), 2)]
    for asked, told in (
        (("auto", 6, None), "--gpus-per-run 6: there are 5 GPUs"),
        (("auto", 2, 3), "--jobs 3: with --gpus-per-run 2 there is room for 2 on 5 GPUs"),
        (("auto", 0.5, 11), "--jobs 11: with --gpus-per-run 0.5 there is room for 10 on 5 GPUs"),
    ):
        with pytest.raises(UserError, match=told):
            places(*asked, 99)


def test_several_gpus_are_named_as_the_machine_names_them(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert Place("cuda", (2, 3), 2).visible == "2,3"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-5e,6,7")
    assert Place("cuda", (0, 1), 2).visible == "4,GPU-5e"


def test_processes_on_two_machines_find_each_other_and_their_gpus():
    seats = [
        _Seat("a", "10.0.0.1", 4000, ["2"]), _Seat("b", "10.0.0.2", 5000, ["0"]), _Seat("a", "10.0.0.1", 4001, ["5"]),
    ]  # fmt: skip
    common = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "4000", "WORLD_SIZE": "3"}
    on_a = {**common, "LOCAL_WORLD_SIZE": "2", "CUDA_VISIBLE_DEVICES": "2,5"}
    assert torchruns(0, seats) == {**on_a, "RANK": "0", "LOCAL_RANK": "0"}
    assert torchruns(2, seats) == {**on_a, "RANK": "2", "LOCAL_RANK": "1"}
    assert torchruns(1, seats) == {
        **common, "RANK": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "CUDA_VISIBLE_DEVICES": "0",
    }  # fmt: skip
