"""The logs of a run that is stopped while it writes them."""

from __future__ import annotations

import gc
import random
import signal
import threading
import time

import pytest

from mdistiller_icc.engine.logs import Logs
from mdistiller_icc.run import configure

FIGURES = {"lr": 0.1, "loss_ce": 1.0, "train_top1": 10.0, "test_top1": 10.0, "test_loss": 1.0, "seconds": 1.0}


@pytest.fixture
def no_collector():
    """Python drops an interrupt that comes in a callback of the garbage collector, and hypothesis has one."""
    gc.disable()
    yield
    gc.enable()


def stop(main):
    signal.pthread_kill(main.ident, signal.SIGINT)


def test_ctrl_c_while_they_are_written_leaves_logs_that_close(tmp_path, no_collector):
    """TensorBoard's thread and queue: one interrupt in four left a lock that was never let go of."""
    cfg, drawn = configure(None, ["DATASET.TYPE", "digits"]), random.Random(0)
    for attempt in range(60):
        (folder := tmp_path / str(attempt)).mkdir()
        logs, stopped, epoch = Logs(folder, cfg), False, 0
        timer = threading.Timer(drawn.uniform(0, 0.003), stop, [threading.current_thread()])
        try:
            timer.start()
            while timer.is_alive():
                epoch += 1
                logs.epoch(FIGURES | {"epoch": epoch})
            time.sleep(0.1)
        except KeyboardInterrupt:
            stopped = True
        assert stopped
        closing = threading.Thread(target=logs.close, daemon=True)
        closing.start()
        closing.join(30)
        assert not closing.is_alive(), f"attempt {attempt} hangs"
