"""Which runs may begin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mdistiller_icc.studies.execute import Outcome
from mdistiller_icc.studies.plan import PlannedRun
from mdistiller_icc.studies.watch import Watch


def ready(waiting: list[PlannedRun], left: Sequence[PlannedRun], watch: Watch) -> Iterator[PlannedRun]:
    """Those of the waiting runs whose teacher is there, in their order.

    The students of a teacher that failed wait no longer: they are told as skipped.

    Args:
        left: the runs of this call; a teacher that is not among them is there already.
    """
    for run in list(waiting):
        if run.teacher in watch.outcomes and watch.outcomes[run.teacher].status != "finished":
            waiting.remove(run)
            watch.end(run, Outcome("skipped", f"it needs {run.teacher.name}"))
        elif run.teacher not in left or run.teacher in watch.outcomes:
            yield run
