"""Which runs may begin, where the same table may be at work in other processes too, also on other machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mdistiller_icc import run_lock
from mdistiller_icc.engine.run_folder import RunFolder
from mdistiller_icc.errors import UserError
from mdistiller_icc.studies.execute import Outcome
from mdistiller_icc.studies.plan import PlannedRun
from mdistiller_icc.studies.state import state
from mdistiller_icc.studies.watch import Watch


def ready(waiting: list[PlannedRun], left: Sequence[PlannedRun], watch: Watch) -> Iterator[PlannedRun]:
    """Those of the waiting runs whose teacher is there and that nobody else is at, in their order.

    Some wait no longer: those that somebody else has made meanwhile, and the students of a teacher that failed, which
    are told as skipped.

    Args:
        left: the runs of this call; a teacher that is not among them is there already.
    """
    for run in list(waiting):
        if run.teacher in watch.outcomes and watch.outcomes[run.teacher].status != "finished":
            waiting.remove(run)
            watch.end(run, Outcome("skipped", f"it needs {run.teacher.name}"))
        elif run.teacher in left and run.teacher not in watch.outcomes:
            continue
        elif run_lock.held(run.folder):
            watch.leave(run)
        elif run in watch.going and _made(run):
            waiting.remove(run)
            watch.end(run, Outcome("finished", top1=RunFolder(run.cfg, run.name).record()["top1"]["last"]))
        else:
            yield run


def another_is_at(run: PlannedRun, outcome: Outcome) -> bool:
    """Whether a run failed because another process was quicker to begin it; it is to wait again."""
    return outcome.status == "failed" and run_lock.held(run.folder)


def _made(run: PlannedRun) -> bool:
    """Whether the run is finished, by whomever."""
    try:
        return state(run).status == "finished"
    except UserError:
        return False  # whoever is to make it says what stands in its place
