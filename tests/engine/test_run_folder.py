"""What may happen to a finished run: as long as nobody asks for it, nothing."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import shutil

import pytest
import torch
from filelock import FileLock

from mdistiller_icc.command_line import train
from mdistiller_icc.engine.progress import Silent
from mdistiller_icc.engine.run_folder import LONGEST, RunFolder, run_name
from mdistiller_icc.errors import UserError, exit_status
from mdistiller_icc.run import configure, run

RUN = [
    "DATASET.TYPE", "digits", "DATASET.FRACTION", "0.05", "DISTILLER.TYPE", "NONE", "DISTILLER.STUDENT", "resnet8",
    "SOLVER.EPOCHS", "2", "LOG.SAVE_CHECKPOINT_FREQ", "1",
]  # fmt: skip


class Stopping(Silent):
    """A progress that does something after an epoch."""

    def __init__(self, after, do):
        self.after, self.do = after, do

    def epoch(self, metrics):
        if metrics["epoch"] == self.after:
            self.do()


def interrupt():
    raise KeyboardInterrupt


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Make a run in an empty folder: ``made("KEY", "VALUE", …, resume=True)``; returns its record."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MDISTILLER_ICC_HOST", "builtin")

    def make(*options, name="run", role="student", progress=None, **asked):
        cfg = configure(None, [*RUN, "EXPERIMENT.NAME", name, *map(str, options)])
        return run(cfg, role, device="cpu", progress=progress or Silent(), **asked)

    make.folder = tmp_path / "output/distill/run"
    return make


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_whose_checkpoint_was_deleted_is_still_a_run(made):
    made()
    whole = {name: (made.folder / name).read_bytes() for name in ("student_latest", "best")}
    (made.folder / "latest").unlink()
    said = Silent()
    lines = []
    said.note = lines.append
    assert made(resume=True, progress=said)["status"] == "finished"
    best = torch.load(made.folder / "best", weights_only=True)["epoch"]
    assert lines == [f"output/distill/run/latest: is gone; best serves instead, saved after epoch {best}"]
    assert (made.folder / "student_latest").read_bytes() == whole["student_latest"]
    for name in ("latest", "best"):
        (made.folder / name).unlink(missing_ok=True)
    before = files(made.folder)
    with pytest.raises(UserError, match="holds a run already"):
        made("SOLVER.LR", 0.01)
    with pytest.raises(UserError, match="its checkpoints are gone"):
        made(resume=True)
    assert files(made.folder) == before


def test_an_overwrite_that_fails_brings_the_run_back(made, monkeypatch):
    made()
    before = files(made.folder)
    with pytest.raises(UserError, match="trains on no loss_kd"):  # found out in the first step
        made("SOLVER.TRAINER", "dot", overwrite=True)
    assert files(made.folder) == before

    def failing(*_):
        raise RuntimeError("no space")

    with monkeypatch.context() as patched:
        patched.setattr("mdistiller_icc.engine.trainer.Trainer.save", failing)  # after the first epoch
        with pytest.raises(RuntimeError, match="no space"):
            made(overwrite=True)
    assert files(made.folder) == before


def test_an_overwritten_run_goes_when_its_successor_has_a_checkpoint(made):
    made()
    with pytest.raises(KeyboardInterrupt):
        made(overwrite=True, progress=Stopping(1, interrupt))
    assert json.loads((made.folder / "record.json").read_text())["status"] == "interrupted"
    assert len((made.folder / "metrics.jsonl").read_text().splitlines()) == 1
    assert not (made.folder / "epoch_2").exists()
    assert [path.name for path in made.folder.parent.iterdir() if path.is_dir()] == ["run"]


def test_a_run_folder_that_is_a_link_stays_one(made, tmp_path):
    made()
    elsewhere = tmp_path / "disk/elsewhere"
    elsewhere.parent.mkdir()
    made.folder.rename(elsewhere)
    made.folder.symlink_to(elsewhere)
    made("SOLVER.EPOCHS", 1, overwrite=True)
    assert made.folder.is_symlink() and len((elsewhere / "metrics.jsonl").read_text().splitlines()) == 1
    assert [path.name for path in elsewhere.parent.iterdir() if path.is_dir()] == ["elsewhere"]
    assert made("SOLVER.EPOCHS", 2, resume=True)["epoch"] == 2
    with FileLock(elsewhere.with_name(".elsewhere.lock")), pytest.raises(UserError, match="another process is at this"):
        made("SOLVER.EPOCHS", 2, resume=True)


MOVES = (
    (pathlib.Path, "rename"), (pathlib.Path, "mkdir"), (pathlib.Path, "unlink"), (os, "replace"), (os, "rmdir"),
    (os, "unlink"),
)  # fmt: skip


def killed(do, at):
    """Do it in a process that is killed before its ``at``-th change of the file system; whether it came to that."""
    child = os.fork()
    if child == 0:
        calls = itertools.count()
        for place, name in MOVES:
            real = getattr(place, name)
            setattr(place, name, lambda *a, _real=real, **k: os._exit(9) if next(calls) == at else _real(*a, **k))
        do()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
@pytest.mark.parametrize("succeeds", [True, False])
def test_a_process_killed_between_any_two_moves_of_an_overwrite_loses_nothing(made, succeeds):
    made()
    (made.folder / "notes.txt").write_text("somebody's")
    (made.folder / "figures").mkdir()
    before, cfg = files(made.folder), configure(None, [*RUN, "EXPERIMENT.NAME", "run", "SOLVER.LR", "0.01"])
    whole = made.folder.with_name("whole")
    shutil.copytree(made.folder, whole)

    def overwrite():
        folder = RunFolder(cfg, "run")
        with folder.alone():
            folder.open(resume=False, overwrite=True)
            folder.append_metrics({"epoch": 1})
            if succeeds:
                (folder.path / "latest").write_text("new")
                folder.settle()
            else:
                folder.restore()

    for at in itertools.count():
        shutil.rmtree(made.folder, ignore_errors=True)
        shutil.copytree(whole, made.folder)
        came = killed(overwrite, at)
        folder = RunFolder(cfg, "run")
        with folder.alone():
            assert folder.begun()
        assert not folder.before.exists()
        if (made.folder / "latest").read_bytes() == b"new":
            assert succeeds
            assert {str(path) for path in files(made.folder)} == {"config.yaml", "latest", "metrics.jsonl", "notes.txt"}
            assert (made.folder / "notes.txt").read_text() == "somebody's" and (made.folder / "figures").is_dir()
        else:
            assert files(made.folder) == before
        if not came:
            break
    assert at > 4


def test_a_process_killed_in_its_first_epoch_gives_the_run_back_to_the_next(made):
    made()
    before = files(made.folder)
    made.folder.rename(made.folder.with_name(".run.before"))
    made.folder.mkdir()
    (made.folder / "config.yaml").write_text("begun: anew")
    (made.folder / ".latest.123").write_bytes(b"half")
    with pytest.raises(UserError, match="holds a run already"):
        made()
    assert files(made.folder) == before


def test_of_hidden_files_a_start_clears_those_alone_that_a_run_was_writing(made):
    made()
    (made.folder / ".cache.1").mkdir()
    for name in (".mine.2", ".latest.123", ".student_2.host.123"):
        (made.folder / name).write_bytes(b"half")
    before = files(made.folder)
    with pytest.raises(UserError, match="holds a run already"):
        made()
    assert files(made.folder) == before
    for how in ("resume", "overwrite"):
        made("SOLVER.EPOCHS", 2, **{how: True})
        assert sorted(path.name for path in made.folder.glob(".*")) == [".cache.1", ".mine.2"]


def test_one_process_at_a_time(made):
    made()
    before = files(made.folder)
    with (
        FileLock(made.folder.with_name(".run.lock")),
        pytest.raises(UserError, match="run: another process is at this run"),
    ):
        made(overwrite=True)
    assert files(made.folder) == before


def test_with_both_words_a_run_is_continued(made):
    with pytest.raises(KeyboardInterrupt):
        made(progress=Stopping(1, interrupt))
    begun = json.loads((made.folder / "record.json").read_text())["started"]
    first = (made.folder / "metrics.jsonl").read_text()
    record = made(resume=True, overwrite=True)
    assert (made.folder / "metrics.jsonl").read_text().startswith(first) and record["epoch"] == 2
    assert record["started"] == begun
    assert made(resume=True)["finished"] == record["finished"]  # there was nothing left to train


def test_a_run_keeps_the_precision_it_began_in(made, monkeypatch):
    options = ["SOLVER.PRECISION", "auto"]
    for begun_in, here in (("fp32", "bf16"), ("bf16", "fp32")):
        for place, how in (
            (begun_in, {"progress": Stopping(1, interrupt), "overwrite": True}),
            (here, {"resume": True}),
        ):
            monkeypatch.setattr(
                "mdistiller_icc.engine.precision._cpu_multiplies_bf16", lambda place=place: place == "bf16"
            )
            try:
                record = made(*options, **how)
            except KeyboardInterrupt:
                continue
        assert record["protocol"]["precision"] == begun_in


def test_a_student_goes_on_with_its_own_teacher_alone_wherever_it_lies(made, tmp_path):
    teacher = ["SOLVER.EPOCHS", 12, "DATASET.FRACTION", 0.5]
    made(*teacher, role="teacher", name="teacher")
    student = ["DISTILLER.TYPE", "KD", "DISTILLER.TEACHER", "resnet8_vanilla"]
    kept, moved = tmp_path / "kept.pth", tmp_path / "moved.pth"
    shutil.copy(tmp_path / "teachers/digits/resnet8_vanilla.pth", kept)
    for name, more in (("run", []), ("of a file", ["DISTILLER.TEACHER_CKPT", kept])):
        with pytest.raises(KeyboardInterrupt):
            made(*student, *more, name=name, progress=Stopping(1, interrupt))
    kept.rename(moved)
    made(*teacher, "SOLVER.LR", 0.04, role="teacher", name="teacher", overwrite=True)
    with pytest.raises(UserError, match="resnet8_vanilla.pth is no longer the teacher that it began with"):
        made(*student, resume=True)
    other = ["DISTILLER.TEACHER_CKPT", tmp_path / "teachers/digits/resnet8_vanilla.pth"]
    with pytest.raises(UserError, match="resnet8_vanilla.pth is no longer the teacher that it began with"):
        made(*student, *other, name="of a file", resume=True)
    record = made(*student, "DISTILLER.TEACHER_CKPT", moved, name="of a file", resume=True)
    assert record["status"] == "finished" and record["teacher"]["path"] == str(moved)


def test_of_two_teachers_trained_at_once_the_later_does_not_replace_the_first(made, tmp_path):
    def other():
        made(name="other", role="teacher")

    with pytest.raises(UserError, match="holds the teacher of distill/other"):
        made(role="teacher", progress=Stopping(1, other))
    record = json.loads((made.folder / "record.json").read_text())
    assert record["status"] == "failed" and (made.folder / "student_latest").is_file()
    stored = torch.load(tmp_path / "teachers/digits/resnet8_vanilla.pth", weights_only=True)
    assert stored["meta"]["run"] == "distill/other"
    made(role="teacher", resume=True, overwrite=True)  # trains nothing more


def test_names_that_are_no_folders_or_too_long():
    for name in (".", ".."):
        with pytest.raises(UserError, match="may not begin with a dot"):
            run_name(configure(None, ["EXPERIMENT.NAME", name]))
    names = {run_name(configure(None, ["EXPERIMENT.NAME", "ä" * 300 + end])) for end in "ab"}
    assert len(names) == 2 and all(LONGEST < len(name.encode()) < 255 for name in names)


@pytest.mark.parametrize("name", ["2024_11_21", "8885e2", "1.50", "1e5"])
def test_a_name_that_looks_like_a_number_stays_what_it_is(name):
    assert run_name(configure(None, ["EXPERIMENT.NAME", name])) == name


def told(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["tools/train.py", "-q", *RUN, *map(str, arguments)])
    status = exit_status(lambda: train("", role="student"))
    return status, capsys.readouterr().err


def test_a_place_that_cannot_be_written_to_is_told_in_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    status, stderr = told(monkeypatch, capsys, "LOG.PREFIX", "file", "EXPERIMENT.NAME", "run")
    assert (status, stderr) == (2, "error: file/distill/run: Not a directory\n")
    if pathlib.Path("/proc/self").is_dir():  # "no such file", says the system
        status, stderr = told(monkeypatch, capsys, "LOG.PREFIX", "/proc/x", "EXPERIMENT.NAME", "run")
        assert (status, stderr) == (2, "error: /proc/x/distill/run: no folder can be made there\n")


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a shell")
def test_a_full_disk_and_a_reader_that_has_gone(command, tmp_path):
    import subprocess
    import sys
    from pathlib import Path

    tool = Path(__file__).parents[2] / "tools/train.py"
    line = f"{sys.executable} {tool} {' '.join(RUN)}"
    full = subprocess.run(["sh", "-c", f"ulimit -f 100; {line}"], cwd=tmp_path, capture_output=True, text=True)
    assert full.returncode == 2 and full.stderr.count("error: ") == 1 and "File too large" in full.stderr, full.stderr
    assert "Traceback" not in full.stderr and "output/distill/" in full.stderr.splitlines()[-1], "names the file"
    again = subprocess.run(line.split(), cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0, "the run whose first checkpoint failed begins again: " + again.stderr
    gone = subprocess.run(["sh", "-c", f"{line} --overwrite | true"], cwd=tmp_path, capture_output=True, text=True)
    assert "Traceback" not in gone.stderr


@pytest.mark.parametrize("options, message", [
    (["SOLVER.LR", "nan"], "SOLVER.LR wants a number, got 'nan'"),
    (["SOLVER.LR", "-1e-2"], "SOLVER.LR must be at least 0, not -0.01"),
    (["LOG.SAVE_CHECKPOINT_FREQ", "0"], "LOG.SAVE_CHECKPOINT_FREQ must be at least 1, not 0"),
    (["SOLVER.TRAINER", "dot", "SOLVER.DOT.DELTA", "0.95"], "SOLVER.DOT.DELTA must be at most SOLVER.MOMENTUM 0.9"),
    (["SOLVER.LR_DECAY_STAGES", "[1,'x']"], "SOLVER.LR_DECAY_STAGES wants whole numbers, got [1, 'x']"),
    (["DISTILLER.TYPE", "KD", "KD.TEMPERATURE", "0"], "KD.TEMPERATURE must be between 0.001 and 1000, not 0.0"),
    (["DISTILLER.TYPE", "DKD", "DKD.T", "0"], "DKD.T must be between 0.001 and 1000, not 0.0"),
    (["EXPERIMENT.SEED", str(2**64)], f"EXPERIMENT.SEED must be at most {2**63 - 1}, not {2**64}"),
    (["--device", "meta"], "--device meta: holds no values"),
])  # fmt: skip
def test_numbers_out_of_range_are_told_before_anything_is_done(monkeypatch, capsys, tmp_path, options, message):
    monkeypatch.chdir(tmp_path)
    status, stderr = told(monkeypatch, capsys, *options)
    assert status == 2 and message in stderr and stderr.count("\n") == 1
    assert not (tmp_path / "output").exists()
