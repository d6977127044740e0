"""What a person watching a run sees: in a terminal of 80 columns, in a file, and with -q."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from mdistiller_icc.engine.progress import Silent
from mdistiller_icc.run import configure, run

ROOT = Path(__file__).parents[2]
RUN = [
    "DATASET.TYPE", "digits", "DATASET.FRACTION", "0.2", "DISTILLER.TYPE", "NONE", "DISTILLER.STUDENT", "resnet8",
    "SOLVER.EPOCHS", "2", "EXPERIMENT.NAME", "my run",
]  # fmt: skip
EPOCH = r"  epoch {}/2: loss [\d.]+, train [\d.]+ %, test [\d.]+ %"


def in_a_terminal(folder, *line):
    """What a process wrote to a terminal of 80 columns."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")} | {"TERM": "xterm"}
    with subprocess.Popen(line, cwd=folder, env=environment, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        read = b""
        while True:
            try:
                read += (more := os.read(ours, 65536))
            except OSError:  # it has closed the terminal
                break
            if not more:
                break
    os.close(ours)
    assert process.returncode == 0, read.decode()
    return read.decode()


def test_a_terminal_shows_the_name_a_line_an_epoch_and_a_bar_below(tmp_path):
    written = in_a_terminal(tmp_path, sys.executable, str(ROOT / "tools/train.py"), *RUN)
    drawn = [re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", piece).rstrip() for piece in re.split(r"[\r\n]+", written)]
    bars = [piece for piece in drawn if "%|" in piece.replace(" ", "") or re.match(r" *\d+ % \|", piece)]
    assert "my run" in drawn
    for i in (1, 2):
        assert any(re.fullmatch(EPOCH.format(i), piece) for piece in drawn), written
    assert len({bar.partition("%")[0] for bar in bars}) > 2
    assert all(len(bar) <= 80 for bar in bars)
    assert any(re.search(r"\| epoch 1/2, [\d:?]+ left$", bar) for bar in bars)
    assert any(re.search(r"\| epoch 2/2, test [\d.]+ %, [\d:?]+ left$", bar) for bar in bars)
    assert drawn[-2].startswith("run: output/") and not drawn[-1]


def test_a_file_has_the_same_lines_without_a_bar_and_quiet_has_none(command, tmp_path):
    done = command("tools/train.py", *RUN)
    host, registered, *rest = done.stderr.splitlines()
    assert host.startswith("host: built-in ") and registered.startswith("registered: ")
    assert rest[0] == "my run" and len(rest) == 3
    assert all(re.fullmatch(EPOCH.format(i), line) for i, line in enumerate(rest[1:], 1))
    assert "host" not in done.stdout

    (checkpoint,) = tmp_path.glob("output/distill/*/student_latest")
    for words in (["tools/train.py", *RUN, "--overwrite"], ["tools/eval.py", checkpoint, "DATASET.TYPE", "digits"]):
        done = command(*words, "-q")
        assert done.returncode == 0 and done.stderr == "" and "test top-1" in done.stdout


@pytest.mark.parametrize("every, held_out", [("1", "0.2"), ("2", "0.0")])
def test_evaluations_move_the_bar_too(tmp_path, monkeypatch, every, held_out):
    class Counting(Silent):
        told, counted = None, 0

        def start(self, title, epochs, done, steps, taken):
            self.told = steps - taken

        def step(self):
            self.counted += 1

    monkeypatch.chdir(tmp_path)
    for epochs in ("2", "5"):  # the second goes on with the first
        counting = Counting()
        options = ["SOLVER.EPOCHS", epochs, "SOLVER.EVAL_EVERY", every, "DATASET.HOLDOUT", held_out]
        cfg = configure(None, [*RUN, *options])
        run(cfg, "student", device="cpu", progress=counting, resume=True)
        assert counting.told == counting.counted > 0
