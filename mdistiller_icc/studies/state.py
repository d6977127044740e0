"""How far a planned run is, as its folder tells it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from mdistiller_icc import data, run_lock
from mdistiller_icc.config import read_yaml
from mdistiller_icc.engine.run_folder import RunFolder
from mdistiller_icc.errors import UserError
from mdistiller_icc.plugin import register
from mdistiller_icc.studies.plan import PlannedRun
from mdistiller_icc.teachers import resolve


@dataclass(frozen=True)
class State:
    """How far a run is: ``finished``, ``begun`` (with a checkpoint to continue from) or ``new``, after which epoch.

    ``now`` says of one that is begun whether it is ``running``, or was ``interrupted``, has ``failed`` or ``diverged``.
    """

    status: str
    epoch: int = 0
    now: str = ""


def state(run: PlannedRun) -> State:
    """Read from its folder how far a run is.

    Raises:
        UserError: the folder holds a run of other settings, or a teacher's place in the store is taken.
    """
    tree, folder = data.tree_there(run.cfg), RunFolder(run.cfg, run.name)
    if run.role == "teacher":
        try:
            whose = f"{run.cfg.EXPERIMENT.PROJECT}/{run.name}"
            resolve.check_place(run.teacher_file, whose, run.cfg, tree, folder.begun())
        except UserError as error:
            whose = str(error).partition(";")[0]
            shared = "tables of one project share teachers, others need a store each: MDISTILLER_ICC_TEACHERS"
            raise UserError(f"{whose}; move it away ({shared})") from None
    if not folder.begun():
        return State("new")
    config: dict[str, Any] = {}
    with contextlib.suppress(UserError):  # the checkpoint holds it too, and is what counts when the run goes on
        config = read_yaml(folder.path / "config.yaml")
    record = folder.record()
    protocol = record.get("protocol")
    if tree is not None and isinstance(protocol, dict) and protocol.get("tree", tree) != tree:
        raise UserError(
            f"{folder.path}: holds a run on other images than those in {run.cfg.DATASET.ROOT}; move it away"
        )
    status, epoch = record.get("status"), record.get("epoch")
    done: int | None = epoch if type(epoch) is int and 0 <= epoch <= run.cfg.SOLVER.EPOCHS else None
    method = register(verbose=False).host.distiller_dict.get(run.cfg.DISTILLER.TYPE)
    folder.check_configuration(config, done or 0, getattr(method, "teacher_kind", None))
    if run_lock.held(folder.path):
        status = "running"
    elif status not in ("finished", "failed", "diverged"):
        status = "interrupted"
    if done is None:
        return State("begun", now=status)
    published = run.role != "teacher" or ("digest" in record and run.teacher_file.is_file())
    if status == "finished" and done == run.cfg.SOLVER.EPOCHS and published:
        return State("finished", done)
    return State("begun", done, status if status != "finished" else "interrupted")  # before its teacher was published
