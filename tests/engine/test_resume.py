"""What a resume believes: a checkpoint that is whole, and none of the text beside it."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading

import pytest
import torch
import yaml

from mdistiller_icc import whole_file
from mdistiller_icc.engine.progress import Silent
from mdistiller_icc.errors import UserError
from mdistiller_icc.run import configure, run
from mdistiller_icc.run_lock import held
from mdistiller_icc.teachers import checkpoint

RUN = [
    "DATASET.TYPE", "digits", "DATASET.FRACTION", "0.05", "DISTILLER.TYPE", "NONE", "DISTILLER.STUDENT", "resnet8",
    "SOLVER.EPOCHS", "3", "EXPERIMENT.NAME", "run",
]  # fmt: skip
TIMED = ("seconds", "images_per_second")


class Notes(Silent):
    """Keeps the notes, and is interrupted after an epoch if one is named."""

    def __init__(self, stop_after=None):
        self.notes, self.stop_after = [], stop_after

    def note(self, line):
        self.notes.append(line)

    def epoch(self, metrics):
        if metrics["epoch"] == self.stop_after:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run that was interrupted after its second of three epochs, and the same one whole."""
    before = os.getcwd()
    made = {}
    for name, stop_after in (("stopped", 2), ("whole", None)):
        made[name] = tmp_path_factory.mktemp(name)
        os.chdir(made[name])
        try:
            run(configure(None, RUN), "student", device="cpu", progress=Notes(stop_after))
        except KeyboardInterrupt:
            assert stop_after
        finally:
            os.chdir(before)
    return made


@pytest.fixture
def stopped(runs, tmp_path, monkeypatch):
    """A copy of the run that was stopped; ``go_on()`` resumes it and returns the notes."""
    shutil.copytree(runs["stopped"], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)

    class Stopped:
        folder, whole = tmp_path / "output/distill/run", runs["whole"] / "output/distill/run"
        record = None

        def go_on(self, *options):
            progress, cfg = Notes(), configure(None, [*RUN, *options])
            self.record = run(cfg, "student", device="cpu", progress=progress, resume=True)
            return progress.notes

    return Stopped()


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMED} for line in lines]


def equal(stopped):
    """The run came to the same as one that nothing happened to."""
    for name in ("latest", "student_latest", "student_best"):
        one, two = (torch.load(folder / name, weights_only=True)["model"] for folder in (stopped.folder, stopped.whole))
        assert all(torch.equal(one[key], two[key]) for key in one)
    assert metrics(stopped.folder) == metrics(stopped.whole)
    told, whole = (json.loads((folder / "record.json").read_text()) for folder in (stopped.folder, stopped.whole))
    for key in ("status", "epoch", "top1", "top5", "protocol", "best_epoch", "error"):
        assert told[key] == whole[key], key
    return True


def flip(path, seed):
    """Turn one bit of what a file holds over."""
    content = bytearray(path.read_bytes())
    at = random.Random(seed).randrange(2000, len(content) - 8000)
    content[at] ^= 1 << random.Random(seed).randrange(8)
    path.write_bytes(content)


@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_in_latest_is_told_and_the_checkpoint_before_serves(stopped, seed):
    assert (stopped.folder / "previous").exists()
    flip(stopped.folder / "latest", seed)
    (note, *_rest) = stopped.go_on()
    assert note.startswith("output/distill/run/latest: damaged") and " serves instead, saved after epoch " in note
    assert equal(stopped)
    assert not (stopped.folder / "previous").exists(), "a run that is finished needs none"


def test_where_latest_is_gone_the_checkpoint_before_serves_and_that_is_told(stopped):
    for name in ("latest", "best"):
        (stopped.folder / name).unlink()
    (note, *_rest) = stopped.go_on()
    assert re.search(r"/latest: is gone; previous serves instead, saved after epoch \d+$", note)
    assert equal(stopped)


def test_another_loader_is_told_for_it_draws_other_augmentations(stopped, monkeypatch):
    monkeypatch.setattr("mdistiller_icc.data.loading.fits", lambda *_: False)  # there is less room than before
    assert any(note.startswith("the loader was resident and is workers now") for note in stopped.go_on())


def test_of_a_finished_run_the_best_serves(stopped):
    assert stopped.go_on() == []
    flip(stopped.folder / "latest", 1)
    epoch = stopped.record["best_epoch"]
    assert stopped.go_on()[0].endswith(f"; best serves instead, saved after epoch {epoch}")
    assert equal(stopped)


def test_where_none_is_whole_nothing_goes_on_and_nothing_is_lost(stopped):
    for name in ("latest", "previous", "best"):
        flip(stopped.folder / name, 2)
    before = {path: path.read_bytes() for path in stopped.folder.iterdir() if path.is_file()}
    with pytest.raises(UserError, match="latest: damaged.*no other checkpoint is left.*--overwrite starts again"):
        stopped.go_on()
    assert before == {path: path.read_bytes() for path in stopped.folder.iterdir() if path.is_file()}


def test_a_damaged_best_is_told_and_a_damaged_student_is_written_again(stopped):
    (stopped.folder / "student_latest").unlink()
    flip(stopped.folder / "student_best", 3)
    (note,) = stopped.go_on()
    assert "student_best: damaged" in note and note.endswith("; written again from best")
    assert equal(stopped)
    flip(stopped.folder / "best", 3)
    flip(stopped.folder / "student_best", 3)
    notes = stopped.go_on()
    assert ["/best: damaged" in notes[0], "/student_best: damaged" in notes[1]] == [True, True]


@pytest.mark.slow
def test_of_many_flipped_bits_none_goes_unnoticed(runs, tmp_path):
    told, whole = 0, runs["whole"] / "output/distill/run"
    content = checkpoint.read(whole / "latest")["model"]
    for seed in range(500):
        shutil.copy(whole / "latest", tmp_path / "latest")
        data = bytearray((tmp_path / "latest").read_bytes())
        data[random.Random(seed).randrange(len(data))] ^= 1 << seed % 8
        (tmp_path / "latest").write_bytes(data)
        try:
            now = checkpoint.read(tmp_path / "latest")["model"]
        except UserError:
            told += 1
        else:
            assert now.keys() == content.keys() and all(torch.equal(now[key], content[key]) for key in now), seed
    print(f"500 bits flipped: {told} told, {500 - told} where nothing of the content lies")


EDITS = {
    "digit": lambda folder: _replace(folder / "metrics.jsonl", '"test_top1": ', '"test_top1": 9'),
    "cut": lambda folder: (folder / "metrics.jsonl").write_text('{"epoch": 1'),
    "gone": lambda folder: [(folder / name).unlink() for name in ("metrics.jsonl", "record.json", "config.yaml")],
    "precision": lambda folder: _replace(folder / "record.json", '"precision": "fp32"', '"precision": "fp16"'),
    "record": lambda folder: (folder / "record.json").write_text('{"epoch": "x", "teacher": 3, "protocol": []}'),
    "config": lambda folder: _config(folder, {"SOLVER": {"LR": 0.3}}),
    "half_config": lambda folder: _replace(folder / "config.yaml", "SOLVER:", "SOLVER"),
    "mixed_up": lambda folder: os.replace(folder / "metrics.jsonl", folder / "config.yaml"),
}


def _replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def _config(folder, changed):
    content = yaml.safe_load((folder / "config.yaml").read_text())
    content["SOLVER"] |= changed["SOLVER"]
    (folder / "config.yaml").write_text(yaml.safe_dump(content))


@pytest.mark.parametrize("edit", EDITS)
def test_text_beside_a_checkpoint_is_written_and_never_believed(stopped, edit):
    EDITS[edit](stopped.folder)
    assert stopped.go_on() == []
    assert equal(stopped)


def test_other_settings_are_refused_whatever_config_says(stopped):
    _config(stopped.folder, {"SOLVER": {"LR": 0.3}})
    with pytest.raises(UserError, match="cannot be resumed with SOLVER.LR 0.3: it was begun with 0.05"):
        stopped.go_on("SOLVER.LR", "0.3")


def test_what_changes_no_result_may_change(stopped):
    stopped.go_on("DATASET.TEST.BATCH_SIZE", "7", "DATASET.NUM_WORKERS", "1")
    assert stopped.record["status"] == "finished"
    assert configure(None, ["DATASET.TEST.BATCH_SIZE", "7"]).DATASET.TEST.BATCH_SIZE == 7


def test_an_epoch_counts_when_it_is_saved(stopped, monkeypatch):
    real = checkpoint.save

    def save(content, path, before=None):
        if path.name == "latest":
            raise OSError(28, "No space left on device", str(path))
        real(content, path, before)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save", save)
        with pytest.raises(OSError, match="No space left"):
            stopped.go_on()
    record = json.loads((stopped.folder / "record.json").read_text())
    assert (record["status"], record["epoch"], len(metrics(stopped.folder))) == ("failed", 2, 2)
    assert stopped.go_on() == [] and equal(stopped)


def test_the_lock_tells_a_run_that_goes_on(stopped):
    seen = []

    class Looking(Silent):
        def epoch(self, metrics):
            with open(stopped.folder / "record.json") as file:
                seen.append((held(stopped.folder), json.load(file)["status"]))

    run(configure(None, RUN), "student", device="cpu", progress=Looking(), resume=True)
    assert seen == [(True, "running")] and not held(stopped.folder)


def test_looking_at_a_lock_never_stops_a_run_from_beginning(stopped):
    ended = threading.Event()

    def look():
        while not ended.is_set():
            held(stopped.folder)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        stopped.go_on()
    finally:
        ended.set()
        looking.join()
    assert stopped.record["status"] == "finished"


def test_temporary_files_of_processes_that_are_gone_are_cleared(tmp_path):
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    host = socket.gethostname().replace(".", "-")
    names = {f".t.pth.{host}.{gone.stdout.strip()}": False, f".t.pth.{gone.stdout.strip()}": False}
    names |= {f".t.pth.{host}.{os.getppid()}": True, ".t.pth.elsewhere.1": True, f".u.pth.{host}.1": True}
    for name in names:
        (tmp_path / name).write_text("half")
    checkpoint.save({"model": {}}, tmp_path / "t.pth")
    assert {name: (tmp_path / name).exists() for name in names} == names


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, _real=real, _name=name: done.append(_name) or _real(*a))
    checkpoint.save({"model": {}}, tmp_path / "t.pth")
    assert done == ["fsync", "replace", "fsync"], "the file, its name, the folder that holds the name"


def test_an_error_of_the_disk_names_the_file(tmp_path):
    with pytest.raises(OSError) as error, whole_file.replacing(tmp_path / "latest"):
        raise OSError(28, "No space left on device")
    assert error.value.filename == str(tmp_path / "latest") and not list(tmp_path.iterdir())


def test_half_of_what_torchrun_tells_is_told_in_one_line(command):
    done = command("tools/train.py", *RUN, env={"WORLD_SIZE": "2", "RANK": "0"})
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "WORLD_SIZE is 2, but MASTER_ADDR, MASTER_PORT are not set" in done.stderr
