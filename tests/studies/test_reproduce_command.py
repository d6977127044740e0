"""``tools/reproduce.py`` as a user runs it: real runs, real kills, and the same command again."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from mdistiller_icc.engine.run_folder import RunFolder, portable
from mdistiller_icc.errors import exit_status
from mdistiller_icc.studies.execute import execute
from mdistiller_icc.studies.order import ready
from mdistiller_icc.studies.plan import plan
from mdistiller_icc.studies.reproduce import main
from mdistiller_icc.studies.table_file import load
from mdistiller_icc.studies.watch import Watch

ROOT = Path(__file__).parents[2]
TINY = {
    "project": "tiny",
    "dataset": "digits",
    "epochs": {"full": 3, "short": 1},
    "settings": {
        "DATASET": {"FRACTION": 0.1},
        "SOLVER": {"BATCH_SIZE": 8, "LR": 0.05, "SCHEDULE": "cosine", "EVAL_EVERY": 3},
    },
    "teachers": {"icc": {"ICC": {"MARGIN": -0.5, "QUEUE": {"SIZE": 2}}}},
    "methods": {"KD": None},
    "pairs": [{"teacher": "resnet8", "student": "resnet8"}],
}
TEACHER, STUDENT = "resnet8_icc,seed:0", "KD,resnet8_icc,resnet8,seed:0"


def write(tmp_path, **changed):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY | changed))


def start(tmp_path, *arguments, env=None, **kwargs):
    line = [sys.executable, str(ROOT / "tools/reproduce.py"), "tiny.yaml", *arguments]
    environment = os.environ | {"MDISTILLER_ICC_HOST": "builtin"} | (env or {})
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | kwargs
    return subprocess.Popen(line, cwd=tmp_path, env=environment, text=True, start_new_session=True, **streams)


def results(tmp_path):
    """All that training computed, by run; not how long it took."""
    found = {}
    for file in sorted((tmp_path / "output/tiny").glob("*/metrics.jsonl")):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        found[file.parent.name] = [
            {key: value for key, value in line.items() if key not in ("seconds", "images_per_second")} for line in lines
        ]
    return found


def folder(tmp_path, name):
    return tmp_path / "output/tiny" / portable(name)


def record(tmp_path, name):
    return json.loads((folder(tmp_path, name) / "record.json").read_text())


def wait_for(path, process):
    deadline = time.monotonic() + 300
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The study made in one go, with its bar on a terminal."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write(folder)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 160, 0, 0))
    process = start(folder, stderr=theirs, env={"TERM": "xterm"})
    os.close(theirs)
    drawn = b""
    while True:
        try:
            drawn += (read := os.read(ours, 4096))
        except OSError:  # Linux's way to say that a terminal was closed
            break
        if not read:
            break
    assert process.wait() == 0, drawn
    return folder, drawn.decode()


def test_a_student_learns_from_the_teacher_of_its_seed_and_a_bar_tells_how_far_it_is(undisturbed):
    folder, drawn = undisturbed
    assert list(results(folder)) == [portable(STUDENT), portable(TEACHER)]
    assert all(len(lines) == 3 for lines in results(folder).values())
    teacher, student = record(folder, TEACHER), record(folder, STUDENT)
    assert teacher["status"] == student["status"] == "finished"
    assert student["teacher"]["digest"] == teacher["digest"] and student["teacher"]["kind"] == "icc"
    assert (folder / "teachers/tiny/digits/resnet8_icc_seed0.pth").is_file()
    assert "tiny 0/2 runs |" in drawn and f"{TEACHER} (" in drawn and "% done" in drawn and "left" in drawn
    assert "2 of 2 runs finished" in drawn


def test_finished_runs_are_not_repeated_and_the_plan_says_so(undisturbed):
    folder, _drawn = undisturbed
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}
    again = start(folder)
    told = again.communicate()[1]
    assert again.returncode == 0 and "2 of 2 runs finished (2 before)" in told
    plan = start(folder, "--plan", "--seeds", "0", "1", "DATASET.ROOT", "nowhere")
    told, error = plan.communicate()
    assert plan.returncode == 0, error
    assert f"finished  teacher  {TEACHER}" in told
    lines = {line.split()[2]: line for line in told.splitlines() if line.startswith("new ")}
    assert list(lines) == [TEACHER.replace(":0", ":1"), STUDENT.replace(":0", ":1")]
    assert all("unknown" not in line for line in lines.values()), "there are past records of these"
    assert lines[STUDENT.replace(":0", ":1")].endswith("after resnet8_icc,seed:1")
    assert "4 runs: 2 finished, 0 begun, 2 new" in told and "time" in told and "disk" in told
    assert before == {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("way", ["ctrl-c", "kill -9"])
def test_stopped_in_a_run_the_same_command_goes_on_to_the_same_results(tmp_path, undisturbed, way):
    write(tmp_path)
    process = start(tmp_path)
    wait_for(folder(tmp_path, TEACHER) / "latest", process)
    begun = record(tmp_path, TEACHER)["started"]
    if way == "ctrl-c":
        os.killpg(process.pid, signal.SIGINT)  # what a terminal does: everybody in the foreground is told
    else:
        process.kill()
    told = process.communicate(timeout=60)[1]  # the workers hold the pipe, so they have ended too
    if way == "ctrl-c":
        assert process.returncode == 130, told
        assert "0 of 2 runs finished; 2 left: the same command goes on" in told
    assert record(tmp_path, TEACHER)["status"] == ("interrupted" if way == "ctrl-c" else "running")
    assert record(tmp_path, TEACHER)["epoch"] < 3, "it was not stopped in a run"

    again = start(tmp_path)
    told = again.communicate()[1]
    assert again.returncode == 0, told
    assert record(tmp_path, TEACHER)["started"] == begun, "it began anew"
    assert results(tmp_path) == results(undisturbed[0])
    assert record(tmp_path, STUDENT)["teacher"]["digest"] == record(undisturbed[0], STUDENT)["teacher"]["digest"]


def test_a_failed_run_is_told_its_students_are_skipped_and_the_others_go_on(tmp_path):
    write(
        tmp_path,
        epochs={"full": 2, "short": 1},
        teachers={"vanilla": None, "icc": {"ICC": {"FEATURE": "feats.9"}}},  # seen only when the network is there
        methods={"KD": None, "FITNET": {"FITNET": {"HINT_LAYER": 9}}},
    )
    process = start(tmp_path, "--jobs", "2")
    told = process.communicate()[1]
    assert process.returncode == 1, told
    assert "2 of 5 runs finished" not in told  # there are six
    assert "2 of 6 runs finished; 2 failed; 2 skipped" in told
    assert "failed: resnet8_icc,seed:0: " in told and "no feature 'feats.9'" in told
    assert "skipped: KD,resnet8_icc,resnet8,seed:0: it needs resnet8_icc,seed:0" in told
    assert "failed: FITNET,resnet8_vanilla,resnet8,seed:0: FITNET.HINT_LAYER" in told
    assert "[2/6] KD,resnet8_vanilla,resnet8,seed:0: " in told, (
        "a line for each finished run where nothing can be drawn"
    )
    assert record(tmp_path, "KD,resnet8_vanilla,resnet8,seed:0")["status"] == "finished"


def workers(process):
    """Worker processes of a study, by their command line."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the worker through /proc")
def test_a_killed_worker_costs_its_run_and_nothing_else(tmp_path):
    write(
        tmp_path,
        methods={},
        alone=True,
        pairs=[{"teacher": "resnet8", "student": name} for name in ("resnet8", "vgg8")],
    )
    process = start(tmp_path, "--jobs", "1", "SOLVER.EPOCHS", "1")
    wait_for(folder(tmp_path, "resnet8_icc,SOLVER.EPOCHS:1,seed:0") / "config.yaml", process)
    (worker,) = workers(process)
    os.kill(worker, signal.SIGKILL)
    told = process.communicate()[1]
    assert process.returncode == 1
    assert "failed: resnet8_icc,SOLVER.EPOCHS:1,seed:0: its process was killed by SIGKILL (out of memory?)" in told
    assert "2 of 3 runs finished; 1 failed" in told


def test_mistakes_are_one_line_and_status_2(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, settings={"SOLVER": {"LRR": 1}})
    for arguments, told in (
        (["digit"], "error: no table 'digit' (did you mean 'digits'?)"),
        (["tiny.yaml"], "error: tiny.yaml: unknown key SOLVER.LRR (did you mean 'SOLVER.LR'?)"),
        (["digits", "SOLVER.LR"], "error: command line: 'SOLVER.LR' has no value"),
        (["digits", "SOLVER.LRR", "1"], "error: command line: unknown key SOLVER.LRR"),
        (["digits", "--address", "auto"], "error: --address is for --engine ray"),
        (["digits", "--device", "cuda:99"], "error: --device cuda:99: "),
        (["missing/tiny.yaml"], "error: missing/tiny.yaml: No such file or directory"),
    ):
        assert exit_status(lambda arguments=arguments: main(arguments)) == 2
        error = capsys.readouterr().err
        assert error.startswith(told) and error.count("\n") == 1, error
    for arguments in (["digits", "--jobs", "0"], ["digits", "--seeds", "-1"], ["digits", "--protocol", "long"]):
        assert exit_status(lambda arguments=arguments: main(arguments)) == 2
        assert capsys.readouterr().err.startswith(f"error: argument {arguments[1]}: ")
    assert not list(tmp_path.glob("output")), "nothing was begun"


def test_help_needs_no_torch():
    code = (
        "import sys; from mdistiller_icc.studies import analyze, reproduce, sweep; reproduce.parser().format_help(); "
        "print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout == "False\n"


def test_workers_do_not_outlive_a_parent_that_was_killed(tmp_path):
    (tmp_path / "orphan.py").write_text(
        "import multiprocessing, os, time\n"
        "from mdistiller_icc.studies.child import die_with_parent\n"
        "def child():\n"
        "    die_with_parent()\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    multiprocessing.get_context('spawn').Process(target=child).start()\n"
        "    time.sleep(600)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "orphan.py"], cwd=tmp_path, stdout=subprocess.PIPE, env=environment)
    assert parent.stdout.readline() == b"ready\n"
    parent.kill()
    assert parent.communicate(timeout=60)[0] == b"", "the child holds the pipe until it ends"


def test_the_same_command_twice_at_once_shares_the_runs(tmp_path, undisturbed):
    """As on several machines of a cluster."""
    write(tmp_path, seeds=[0, 1, 2])
    several = [start(tmp_path, "--jobs", "1") for _ in range(2)]
    told = [process.communicate(timeout=300)[1] for process in several]
    assert [process.returncode for process in several] == [0, 0], told
    for text in told:
        assert "6 of 6 runs finished" in text and "failed" not in text and "skipped" not in text
    assert "another process is at this run" in "".join(told), "else nothing was shared"
    assert len(results(tmp_path)) == 6 and results(tmp_path).items() >= results(undisturbed[0]).items()
    for console in (tmp_path / "output/tiny").glob("*/console.txt"):
        assert console.read_text().count("epoch 3/3") == 1, f"{console}: made twice"


def test_a_run_whose_other_process_is_killed_is_taken_up(tmp_path, undisturbed):
    write(tmp_path)
    run = plan(load(str(tmp_path / "tiny.yaml")))[0]
    lock = RunFolder(run.cfg, run.name).lock
    (tmp_path / lock).parent.mkdir(parents=True)
    with FileLock(tmp_path / lock):
        process = start(tmp_path)
        assert "elsewhere: resnet8_icc,seed:0: another process is at this run" in process.stderr.readline()
    _out, told = process.communicate(timeout=300)
    assert process.returncode == 0 and "2 of 2 runs finished" in told
    assert results(tmp_path) == results(undisturbed[0])


def test_what_another_process_left_with_other_settings_is_no_run_of_ours(tmp_path, monkeypatch, undisturbed):
    """It fails when its turn comes, and the other runs go on."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    run = plan(load("tiny.yaml"))[0]
    watch = Watch("tiny", [run], 0, 1, {})
    shutil.copytree(folder(undisturbed[0], TEACHER), run.folder)
    config = yaml.safe_load((run.folder / "config.yaml").read_text())
    config["SOLVER"]["LR"] = 0.07
    (run.folder / "config.yaml").write_text(yaml.safe_dump(config))
    watch.look()
    assert run in watch.going
    assert list(ready([run], [run], watch)) == [run] and not watch.outcomes


def test_a_run_that_another_process_is_at_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    run = plan(load("tiny.yaml"))[0]
    run.folder.mkdir(parents=True)
    with FileLock(RunFolder(run.cfg, run.name).lock):
        outcome = execute(run, "cpu")
    assert outcome.status == "failed" and "another process is at this run" in outcome.words
    assert not (run.folder / "config.yaml").exists()


def test_an_error_in_a_run_leaves_its_traceback_beside_it(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    run = plan(load("tiny.yaml"))[0]
    run.folder.mkdir(parents=True)
    (run.folder / "worklog.txt").mkdir()  # where a file has to be written
    with capfd.disabled():
        outcome = execute(run, "cpu")
    assert outcome.status == "failed" and f"traceback: {run.folder}/console.txt" in outcome.words
    assert "Traceback (most recent call last)" in (run.folder / "console.txt").read_text()
