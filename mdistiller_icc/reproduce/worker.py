"""A process that takes runs one after another, so that importing torch is paid for once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection
from typing import Any

import torch

from mdistiller_icc.reproduce.execute import Reporter, execute


def serve(connection: Connection, device: str, threads: int) -> None:
    """Make every run that comes through ``connection`` until None comes; send back progress and outcomes.

    Sends ``("at", steps taken, all steps, metrics or None)`` during a run and its `Outcome` at its end. SIGTERM
    stops the run, whose record then says so; Ctrl-C is left to the parent, which sends SIGTERM.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=die_with_parent, daemon=True).start()
    torch.set_num_threads(threads)

    def tell(*message: Any) -> None:
        try:
            connection.send(("at", *message))
        except OSError:  # nobody is there any more
            os._exit(1)

    progress = Reporter(tell)
    try:
        while (run := connection.recv()) is not None:
            connection.send(execute(run, device, progress))
    except (KeyboardInterrupt, EOFError, BrokenPipeError):
        pass


def _stop(*_: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: the record is being written
    raise KeyboardInterrupt


def die_with_parent() -> None:
    """Wait for the parent's end and end too: one that was killed cannot stop its workers, and a second start would meet
    them in its folders."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
