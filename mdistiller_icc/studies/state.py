"""How far a planned run is, as its folder tells it."""

from __future__ import annotations

from dataclasses import dataclass

from mdistiller_icc.engine.run_folder import RunFolder
from mdistiller_icc.errors import UserError
from mdistiller_icc.studies.plan import PlannedRun
from mdistiller_icc.teachers import resolve


@dataclass(frozen=True)
class State:
    """How far a run is: ``finished``, ``begun`` (with a checkpoint to continue from) or ``new``, after which epoch."""

    status: str
    epoch: int = 0
    error: str | None = None


def state(run: PlannedRun) -> State:
    """Read from its folder how far a run is.

    Raises:
        UserError: the folder holds a run of other settings, or a teacher's place in the store is taken.
    """
    if run.role == "teacher":
        try:
            resolve.check_place(run.teacher_file, f"{run.cfg.EXPERIMENT.PROJECT}/{run.name}", run.cfg)
        except UserError as error:
            whose = str(error).partition(";")[0]
            raise UserError(f"{whose}; move it away, or give this study a store with MDISTILLER_ICC_TEACHERS") from None
    folder = RunFolder(run.cfg, run.name)
    if not folder.begun():
        return State("new")
    folder.check_configuration()
    record = folder.record()
    try:
        status, epoch, failure = record["status"], int(record["epoch"]), record.get("error")
    except (ValueError, KeyError, TypeError):
        return State("begun")
    published = run.role != "teacher" or ("digest" in record and run.teacher_file.is_file())
    if status == "finished" and epoch == run.cfg.SOLVER.EPOCHS and published:
        return State("finished", epoch)
    return State("begun", epoch, failure if status == "failed" else None)
