"""One run in several processes of this machine, started by ``torchrun``'s own functions."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import uuid
from pathlib import Path

import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from mdistiller_icc.errors import stop_when_terminated
from mdistiller_icc.studies.child import die_with_parent, ended
from mdistiller_icc.studies.execute import Outcome, execute, no_folder, printing_to
from mdistiller_icc.studies.places import Place
from mdistiller_icc.studies.plan import PlannedRun


def execute_together(run: PlannedRun, place: Place, threads: int) -> Outcome:
    """Make the run in the processes of a place, or go on with it from its checkpoint; when one fails, all end.

    Args:
        threads: of each process.

    Raises:
        KeyboardInterrupt: it was stopped.
    """
    if failed := no_folder(run):
        return failed
    with tempfile.TemporaryDirectory() as folder, printing_to(run.console):
        config = LaunchConfig(
            1, 1, place.processes, run_id=uuid.uuid4().hex, rdzv_backend="c10d", rdzv_endpoint="localhost:0",
            max_restarts=0, logs_specs=DefaultLogsSpecs(log_dir=folder),
        )  # fmt: skip
        logging.disable(logging.ERROR)  # how a process ended is said in fewer words below
        try:
            outcomes: dict[int, Outcome] = elastic_launch(config, _process)(run, place.device, threads, folder)
            return outcomes[0]
        except SignalException:
            raise KeyboardInterrupt from None
        except ChildFailedError as error:
            number, failure = error.get_first_failure()
            told = Path(folder, str(number))
            words = told.read_text(encoding="utf-8") if told.is_file() else ""
            return Outcome("failed", words or f"process {number} of {place.processes} {ended(failure.exitcode)}")
        finally:
            logging.disable(logging.NOTSET)


def _process(run: PlannedRun, device: str, threads: int, folder: str) -> Outcome:
    """One of the processes; why it failed is told in a file of its number."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop_when_terminated()
    die_with_parent()
    torch.set_num_threads(threads)
    outcome = execute(run, device)
    if outcome.status != "finished":
        Path(folder, os.environ["RANK"]).write_text(outcome.words, encoding="utf-8")
        os._exit(1)  # at once: the others wait for it
    return outcome
