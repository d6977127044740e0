"""Stop a run at a moment of its own choosing, go on with it, and see whether it comes to the same bits.

``python kills.py FOLDER WAY [FIRST EVERY]`` makes one run undisturbed; then it makes it again and again, each time
stopped before the n-th change of a file, n = FIRST, FIRST + EVERY, …, and resumed. WAY is ``KILL`` (SIGKILL),
``TERM`` (SIGTERM) or ``FULL`` (the disk is full from then on). The last line printed is JSON: how many were stopped,
and what was wrong.
"""

from __future__ import annotations

import builtins
import errno
import itertools
import json
import os
import pathlib
import shutil
import signal
import sys

import torch

from mdistiller_icc.engine.progress import Silent
from mdistiller_icc.errors import exit_status
from mdistiller_icc.run import configure, run
from mdistiller_icc.run_lock import held
from mdistiller_icc.tables.records import Unusable, read

RUN = [
    "DATASET.TYPE", "digits", "DATASET.FRACTION", "0.03", "DISTILLER.TYPE", "ICC", "SOLVER.TRAINER", "icc",
    "ICC.MARGIN", "-1", "ICC.QUEUE.SIZE", "2", "DISTILLER.STUDENT", "resnet8", "SOLVER.EPOCHS", "2",
    "SOLVER.BATCH_SIZE", "16", "EXPERIMENT.NAME", "run",
]  # fmt: skip
CHANGES = ((os, "replace"), (os, "rename"), (os, "unlink"), (os, "fsync"), (pathlib.Path, "mkdir"))


def disturb(at: int, way: str) -> None:
    """Have this process stopped before its ``at``-th change of a file."""
    count = itertools.count(1)

    def before(file=None) -> None:
        number = next(count)
        if way == "FULL" and number >= at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file)  # the system names what it cannot open
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL if way == "KILL" else signal.SIGTERM)

    for place, name in CHANGES:
        real = getattr(place, name)
        if way == "FULL" and name in ("unlink", "rename", "replace"):
            continue  # a full disk lets go of files
        named = name == "mkdir"
        setattr(place, name, lambda *a, _real=real, _n=named, **k: before(a[0] if _n else None) or _real(*a, **k))
    opened = builtins.open

    def open_(file, mode="r", *rest, **named):
        if set(mode) & set("wax") and isinstance(file, (str, os.PathLike)):
            before(file)
        return opened(file, mode, *rest, **named)

    builtins.open = open_


def child(do) -> int:
    """Do it in a process of its own and return its exit status, or minus the signal that ended it."""
    process = os.fork()
    if process == 0:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 2)
        status = 99
        try:
            status = exit_status(do)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def make(**asked) -> None:
    """Train the teacher."""
    torch.set_num_threads(1)
    run(configure(None, RUN), "teacher", device="cpu", progress=Silent(), **asked)


def outcome() -> dict[str, object]:
    """What the run came to, bit by bit."""
    folder, found = pathlib.Path("output/distill/run"), {}
    for name in ("latest", "best", "student_latest", "student_best"):
        found[name] = torch.load(folder / name, weights_only=True)["model"]
    found["published"] = torch.load("teachers/digits/resnet8_icc.pth", weights_only=True)["model"]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timed = ("seconds", "images_per_second")
    found["metrics"] = [{key: value for key, value in line.items() if key not in timed} for line in lines]
    record = json.loads((folder / "record.json").read_text())
    found["record"] = [record[key] for key in ("status", "epoch", "top1", "digest", "error")]
    found["record"][3] = bool(found["record"][3])  # the file also holds the run's times
    return found


def same(one, two) -> bool:
    """Whether two results agree to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    return one == two


def main(folder: str, way: str, first: int = 1, every: int = 1) -> None:
    """Stop and go on at every moment; see the file's own words."""
    os.chdir(folder)
    assert child(make) == 0, pathlib.Path("log.txt").read_text()
    whole, wrong, stopped, resumed = outcome(), [], 0, 0
    run_folder = pathlib.Path("output/distill/run")
    for at in itertools.count(first, every):
        for place in ("output", "teachers"):
            shutil.rmtree(place, ignore_errors=True)

        def disturbed(at=at):
            disturb(at, way)
            make()

        status = child(disturbed)
        said = pathlib.Path("log.txt").read_text()
        if status == 0:
            break
        stopped += 1
        expected = {"KILL": -signal.SIGKILL, "TERM": 143, "FULL": 2}[way]
        if status != expected:
            wrong.append((at, f"ended with {status}: {said[-300:]}"))
        if way == "FULL" and ("No space left on device" not in said or said.count(": ") < 2):
            wrong.append((at, f"no file named: {said[-300:]}"))
        if run_folder.exists():
            try:
                read(str(run_folder))
                if not same(whole, outcome()):
                    wrong.append((at, "tabulated before its end"))
            except Unusable as error:
                if "running" in str(error) or held(run_folder):
                    wrong.append((at, f"told as {error}"))
        resumed += (run_folder / "latest").exists()
        if child(lambda: make(resume=True, overwrite=True)) != 0:
            wrong.append((at, f"does not go on: {pathlib.Path('log.txt').read_text()[-300:]}"))
            continue
        if not same(whole, now := outcome()):
            wrong.append((at, f"differs in {[key for key in whole if not same(whole[key], now[key])]}"))
        left = [str(path) for path in pathlib.Path().rglob(".*.*") if path.is_file() and path.name[-1].isdigit()]
        left += [str(path) for path in (run_folder / "previous",) if path.exists()]
        if left:
            wrong.append((at, f"left behind {left}"))
    print(json.dumps({"way": way, "stopped": stopped, "with_a_checkpoint": resumed, "wrong": wrong}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
