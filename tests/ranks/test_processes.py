"""What several processes cannot do, told before anything is read or built."""

from __future__ import annotations

import pytest
import torch

from mdistiller_icc.commands.entry import COMMANDS
from mdistiller_icc.errors import UserError
from mdistiller_icc.run import check, configure
from mdistiller_icc.run.processes import group, refuse

DIGITS = ["DATASET.TYPE", "digits", "DISTILLER.STUDENT", "resnet8"]


@pytest.mark.parametrize("options, device, told", [
    (["SOLVER.BATCH_SIZE", "64"], "cpu", "the whole batch, which 3 processes cannot share evenly; try 63 or 66"),
    (["SOLVER.BATCH_SIZE", "2"], "cpu", "the whole batch, which 3 processes cannot share evenly; try 3"),
    (["SOLVER.BATCH_SIZE", "66", "SOLVER.COMPILE", "True"], "cpu", "not for 3 processes"),
    (["SOLVER.BATCH_SIZE", "66"], "cuda:0", "3 processes cannot share it; --device cuda gives each its own"),
])  # fmt: skip
def test_what_three_processes_cannot_do_is_refused(monkeypatch, options, device, told):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match=told):
        check(configure(None, [*DIGITS, *options]), options=options, device=device)


def test_what_is_for_one_process_is_refused_too(monkeypatch):
    refuse("this")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="torchrun has started 2 processes, and this is for one"):
        refuse("this")


def test_what_is_no_number_is_told(monkeypatch):
    for one in ("", " ", "0", " 1"):
        monkeypatch.setenv("WORLD_SIZE", one)
        refuse("this")
    for words in ("abc", "2 processes", "-2", "²"):
        monkeypatch.setenv("WORLD_SIZE", words)
        with pytest.raises(UserError, match=f"^WORLD_SIZE is '{words}', no number: start several processes with"):
            refuse("this")
    for name, value in {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "RANK": "first"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="^RANK is 'first', no number"), group(torch.device("cpu")):
        pass


@pytest.mark.parametrize("command, words", [
    ("eval", ["a.pth"]), ("probe", ["a.pth"]), ("export", ["a.pth", "--out", "a.safetensors"]),
    ("analyze", ["a.pth"]), ("sweep", ["--values", "0.1"]), ("reproduce", ["digits"]), ("quickstart", []),
])  # fmt: skip
def test_commands_that_are_for_one_process_say_so(tmp_path, monkeypatch, command, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    name = {"quickstart": "reproduce"}.get(command, command)
    with pytest.raises(
        UserError, match=f"torchrun has started 2 processes, and {name} is for one: start it with python"
    ):
        COMMANDS[command].main(words, command)


@pytest.mark.parametrize("key", ["ICC.QUEUE.GATHER", "CKD.GATHER", "BICKD.GATHER", "PCKD.GATHER"])
def test_files_may_hold_the_keys_that_gather_has_replaced(tmp_path, key):
    file = tmp_path / "old.yaml"
    *groups, last = key.split(".")
    lines = [*(f"{group}:" for group in groups), f"{last}: true"]
    file.write_text("".join(f"{'  ' * depth}{line}\n" for depth, line in enumerate(lines)))
    assert configure(str(file)) == configure(None)
