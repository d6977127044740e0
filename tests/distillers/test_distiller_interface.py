"""What the engine asks of a distiller: declared for all, supplied to those that are not ours."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from mdistiller_icc.distillers.base import Distiller, Hooks, adopt, build
from mdistiller_icc.engine.trainer import Trainer
from mdistiller_icc.errors import UserError
from mdistiller_icc.plugin import register
from mdistiller_icc.run import check, configure, run

SMALL = [
    "DATASET.TYPE", "digits", "DATASET.FRACTION", "0.05", "DISTILLER.STUDENT", "resnet8", "SOLVER.EPOCHS", "1",
    "EXPERIMENT.NAME", "run",
]  # fmt: skip


class Theirs(nn.Module):
    """A method with mdistiller's interface, and nothing of ours but one hook that it has by itself."""

    def __init__(self, student, teacher, cfg):
        super().__init__()
        self.student, self.teacher, self.own = student, teacher, nn.Linear(2, 2)

    def get_learnable_parameters(self):
        return [*self.student.parameters(), *self.own.parameters()]

    def forward(self, image, target=None, **_):
        logits = self.student(image)[0]
        if not self.training:
            return logits
        return logits, {"loss_ce": nn.functional.cross_entropy(logits, target), "loss_kd": 0 * self.own.weight.sum()}

    def diagnostics(self):
        return {"theirs": 1.0}


class Alone(Theirs):
    """The same without a teacher."""

    def __init__(self, student):
        nn.Module.__init__(self)
        self.student, self.own = student, nn.Linear(2, 2)


def test_a_class_of_ours_is_taken_as_it_is():
    class Mine(Distiller):
        pass

    assert adopt(Mine) is Mine and Mine.teacher_kind is None and not Mine.channels_last


def test_a_foreign_class_gets_what_it_lacks_and_keeps_its_state_and_its_own_hooks():
    student, teacher = nn.Linear(1, 1), nn.Linear(1, 2)
    adopted = adopt(Theirs)
    assert adopted.teacher_kind is None and adopt(Alone).teacher_kind == "vanilla"
    method = build(adopted, student, teacher, None, num_data=3)
    assert isinstance(method, Theirs) and isinstance(method, Hooks)
    assert list(method.state_dict()) == list(Theirs(student, teacher, None).state_dict())
    assert method.diagnostics() == {"theirs": 1.0} and method.warnings({}) == [] and method.settled is None
    assert method.attach(None) is method.prepare(torch.zeros(1)) is adopted.check(None) is None
    assert adopt(adopted) is adopted


def test_the_engine_trains_a_foreign_method(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(register(verbose=False).host.distiller_dict, "THEIRS", Alone)
    record = run(configure(None, [*SMALL, "DISTILLER.TYPE", "THEIRS"]), "student", device="cpu")
    assert record["status"] == "finished" and record["epoch"] == 1 and record["teacher"] is None
    assert '"theirs": 1.0' in (tmp_path / "output/distill/run/metrics.jsonl").read_text()
    latest = torch.load(tmp_path / "output/distill/run/latest", weights_only=True)["model"]
    assert {key.partition(".")[0] for key in latest} == {"student", "own"}


def test_a_method_and_a_trainer_check_their_own_settings(monkeypatch):
    class Careful(Distiller):
        @classmethod
        def check(cls, cfg):
            raise UserError(f"not with {cfg.SOLVER.LR}")

    monkeypatch.setitem(register(verbose=False).host.distiller_dict, "CAREFUL", Careful)
    with pytest.raises(UserError, match=r"not with 0\.25"):
        check(
            configure(None, [*SMALL, "DISTILLER.TYPE", "CAREFUL", "DISTILLER.TEACHER", "resnet8", "SOLVER.LR", ".25"])
        )
    with pytest.raises(UserError, match="ICC.QUEUE.SIZE must be at least 1, not 0"):
        check(configure(None, [*SMALL, "DISTILLER.TYPE", "ICC", "ICC.QUEUE.SIZE", "0"]))
    delta = ["DISTILLER.TYPE", "NONE", "SOLVER.DOT.DELTA", "0.95"]
    assert check(configure(None, [*SMALL, *delta])).trainer is Trainer  # which does not read it
    with pytest.raises(UserError, match="SOLVER.DOT.DELTA must be at most"):
        check(configure(None, [*SMALL, *delta, "SOLVER.TRAINER", "dot"]))


def test_the_interface_and_the_built_in_methods_know_nothing_of_the_plugins():
    told = "import sys, mdistiller_icc.builtin.distillers; print(*[n for n in sys.modules if 'mdistiller_icc' in n])"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    ours = [
        name for name in done.stdout.split() if name.startswith(("mdistiller_icc.distillers.", "mdistiller_icc.icc"))
    ]
    assert sorted(name.rpartition(".")[2] for name in ours) == ["base", "frozen_teacher", "logits", "warmup"]
