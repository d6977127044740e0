"""Losses that are not finite: they end a run, or the step is left out, and nothing of them is kept."""

from __future__ import annotations

import json
import math

import pytest
import torch

from mdistiller_icc.builtin.distillers.vanilla import Vanilla
from mdistiller_icc.builtin.dot import DOT
from mdistiller_icc.command_line import train
from mdistiller_icc.engine.divergence import LOOK_EVERY, Diverged, Watch, finite
from mdistiller_icc.engine.progress import Silent
from mdistiller_icc.engine.trainer import Trainer
from mdistiller_icc.errors import UserError, exit_status
from mdistiller_icc.run import configure, run
from mdistiller_icc.tables.records import Unusable, read

RUN = [
    "DATASET.TYPE", "digits", "DATASET.FRACTION", "0.05", "DISTILLER.TYPE", "NONE", "DISTILLER.STUDENT", "resnet8",
    "SOLVER.BATCH_SIZE", "16", "EXPERIMENT.NAME", "run",
]  # fmt: skip
STEPS = 5
"""Of an epoch: 71 images in batches of 16."""


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MDISTILLER_ICC_HOST", "builtin")

    def make(*options, role="student", **asked):
        cfg = configure(None, [*RUN, *map(str, options)])
        return run(cfg, role, device="cpu", progress=Silent(), **asked)

    make.folder = tmp_path / "output/distill/run"
    make.record = lambda: json.loads((make.folder / "record.json").read_text())
    return make


@pytest.fixture
def poisoned(monkeypatch):
    """Make the loss of some steps, counted from 1 over the run, NaN: ``poisoned({7})``; returns the steps taken."""

    def poison(steps, what="loss"):
        original, count = Trainer.step, []

        def step(self, inputs, epoch):
            count.append(epoch)
            if len(count) in steps:
                if what == "loss":
                    inputs["image"] = inputs["image"] * math.nan
                else:
                    hook = self.distiller.student.fc.weight.register_hook(lambda gradient: gradient * math.nan)
                    try:
                        return original(self, inputs, epoch)
                    finally:
                        hook.remove()
            return original(self, inputs, epoch)

        monkeypatch.setattr(Trainer, "step", step)
        return count

    return poison


def weights(path):
    state = torch.load(path, weights_only=True)["model"]
    return [value for value in state.values() if isinstance(value, torch.Tensor)]


def test_a_loss_that_is_not_finite_ends_the_run_with_step_term_and_rate(made, poisoned, capsys, monkeypatch):
    poisoned({STEPS + 3})
    monkeypatch.setattr("sys.argv", ["tools/train.py", *RUN, "SOLVER.EPOCHS", "3", "--device", "cpu"])
    assert exit_status(lambda: train("", role="student")) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    said = "epoch 2, step 3 of 5: loss_ce is nan at learning rate 0.05: the run has diverged"
    assert error == [f"error: {said}"]
    record = made.record()
    assert (record["status"], record["epoch"], record["error"]) == ("diverged", 1, said)
    for name in ("latest", "best", "student_latest", "student_best"):
        assert finite(weights(made.folder / name))
    assert torch.load(made.folder / "latest", weights_only=True)["epoch"] == 1
    with pytest.raises(Unusable, match="diverged at epoch 1 of 3: epoch 2, step 3 of 5: loss_ce is nan"):
        read(str(made.folder))


def test_in_the_first_epoch_nothing_is_kept_and_the_next_start_begins_again(made, poisoned, monkeypatch):
    with monkeypatch.context():
        poisoned({1})
        with pytest.raises(Diverged, match="epoch 1, step 1 of 5: loss_ce is nan"):
            made("SOLVER.EPOCHS", 2, role="teacher")
        assert made.record()["status"] == "diverged" and made.record()["epoch"] == 0
        assert not list(made.folder.glob("*latest")) and not list(made.folder.glob("*best"))
        assert not list(made.folder.parents[2].glob("teachers/*/*.pth"))
    assert made("SOLVER.EPOCHS", 2, role="teacher")["status"] == "finished"


def test_weights_that_the_last_step_destroys_are_not_saved(made, poisoned):
    poisoned({STEPS}, "gradient")
    with pytest.raises(Diverged, match="epoch 1, step 5 of 5: the weights are not finite at learning rate 0.05"):
        made("SOLVER.EPOCHS", 1)
    assert not (made.folder / "latest").exists()


def test_an_absurd_learning_rate_publishes_no_teacher(made):
    with pytest.raises(Diverged, match="the run has diverged"):
        made("SOLVER.EPOCHS", 3, "SOLVER.LR", 1e9, role="teacher")
    assert made.record()["status"] == "diverged"
    assert not list(made.folder.parents[2].glob("teachers/*/*.pth"))


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_step_that_is_skipped_leaves_nothing_behind_and_counts(made, poisoned, what):
    taken = poisoned({2, STEPS + 3, STEPS + 4}, what)
    record = made("SOLVER.EPOCHS", 2, "SOLVER.ON_NAN", "skip")
    assert record["status"] == "finished" and record["skipped_steps"] == 3 and len(taken) == 2 * STEPS
    epochs = [json.loads(line) for line in (made.folder / "metrics.jsonl").read_text().splitlines()]
    assert [epoch["skipped_steps"] for epoch in epochs] == [1, 2]
    assert all(math.isfinite(epoch[key]) for epoch in epochs for key in ("train_loss", "loss_ce", "test_loss"))
    state = torch.load(made.folder / "latest", weights_only=True)["model"]
    assert finite(value for value in state.values() if isinstance(value, torch.Tensor))
    assert state["student.bn1.num_batches_tracked"] == 2 * STEPS - 3


def test_the_gradients_that_dot_has_taken_are_looked_at(made, monkeypatch):
    taken, step_kd = [], DOT.step_kd

    def poisoned(optimizer):
        step_kd(optimizer)
        taken.append(len(optimizer.kd_gradients))
        if len(taken) == 2:
            for gradient in optimizer.kd_gradients.values():
                gradient.mul_(math.nan)

    monkeypatch.setattr(DOT, "step_kd", poisoned)
    options = ["DISTILLER.TYPE", "ICC", "ICC.POSITIVE", "twin", "SOLVER.TRAINER", "dot", "SOLVER.ON_NAN", "skip"]
    record = made(*options, "SOLVER.EPOCHS", 1)
    assert record["status"] == "finished" and record["skipped_steps"] == 1 and taken[1] > 0
    assert finite(weights(made.folder / "latest"))


@pytest.mark.parametrize("losses", [
    {"loss_ce": torch.zeros(()), "loss_kd": torch.ones((), requires_grad=True)},  # as SIMKD's
    {"loss_ce": torch.ones((), requires_grad=True)},
])  # fmt: skip
def test_dot_wants_two_losses(made, monkeypatch, losses):
    monkeypatch.setattr(Vanilla, "forward_train", lambda *_, **__: (torch.zeros(()), losses))
    missing = "loss_kd" if "loss_kd" not in losses else "loss_ce"
    with pytest.raises(UserError, match=f"SOLVER.TRAINER dot parts two losses, and NONE trains on no {missing}"):
        made("SOLVER.TRAINER", "dot")


def test_an_epoch_of_skipped_steps_alone_ends_the_run(made, poisoned):
    poisoned(set(range(STEPS + 1, 2 * STEPS + 1)))
    with pytest.raises(Diverged, match="epoch 2, step 5 of 5: all 5 steps were left out; loss_ce is nan at learning"):
        made("SOLVER.EPOCHS", 3, "SOLVER.ON_NAN", "skip")
    assert made.record()["status"] == "diverged" and made.record()["epoch"] == 1


def test_where_nothing_is_skipped_skip_changes_no_bit(made):
    made("SOLVER.EPOCHS", 2)
    stop = weights(made.folder / "latest")
    record = made("SOLVER.EPOCHS", 2, "SOLVER.ON_NAN", "skip", overwrite=True)
    assert record["skipped_steps"] == 0
    assert all(map(torch.equal, stop, weights(made.folder / "latest")))


def test_a_memory_bank_forgets_a_skipped_step():
    class Method(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.student = torch.nn.Linear(2, 2)
            self.register_buffer("bank", torch.ones(3))
            self.register_buffer("batch", torch.ones(1), persistent=False)

    method = Method()
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    watch = Watch("skip", 1, 2, 0.1, method)
    for loss in (math.nan, 1.0):
        watch.begin()
        method.bank.add_(1)
        method.batch = torch.zeros(4)
        assert watch.takes({"loss": torch.tensor(loss)}, optimizer) == math.isfinite(loss)
    assert method.bank.tolist() == [2.0] * 3 and len(method.batch) == 4 and watch.skipped == 1


def test_weights_that_are_not_finite_do_not_go_on_and_are_not_published(made):
    made("SOLVER.EPOCHS", 1)
    for path in (made.folder / "latest", made.folder / "best"):
        state = torch.load(path, weights_only=True)
        state["model"]["student.fc.bias"][0] = math.nan
        torch.save(state, path)
    with pytest.raises(Diverged, match="latest: its weights are not finite"):
        made("SOLVER.EPOCHS", 1, role="teacher", resume=True)
    assert not list(made.folder.parents[2].glob("teachers/*/*.pth"))


def test_the_losses_are_read_every_some_steps_alone(made, monkeypatch):
    """Each reading would make a GPU's host wait."""
    looks, losses = [], {"loss_ce": torch.tensor(1.0), "loss_kd": torch.tensor(2.0)}
    monkeypatch.setattr(Watch, "_look", lambda self: looks.append(self.step) or self.waiting.clear())
    watch = Watch("stop", 1, 200, 0.1, torch.nn.Linear(1, 1))
    for _ in range(200):
        watch.begin()
        assert watch.takes(losses, None)
    assert looks == [LOOK_EVERY, 2 * LOOK_EVERY, 3 * LOOK_EVERY]


def test_the_first_bad_step_is_told_wherever_it_is():
    for bad in (1, 63, 64, 65, 100):
        watch = Watch("stop", 4, 100, 0.1, torch.nn.Linear(1, 1))
        with pytest.raises(Diverged, match=f"epoch 4, step {bad} of 100: loss_kd is inf at learning rate 0.1"):
            for step in range(1, 101):
                watch.begin()
                watch.takes(
                    {"loss_ce": torch.tensor(1.0), "loss_kd": torch.tensor(math.inf if step >= bad else 0)}, None
                )
            watch.end()


@pytest.mark.parametrize("numbers, told", [
    ([[1.0, math.nan], [1.0]], False), ([[1.0], [-math.inf]], False), ([[3e38] * 4, [-3e38]], True),
    ([[], [0.0]], True),
])  # fmt: skip
def test_finite(numbers, told):
    assert finite(map(torch.tensor, numbers)) == told


def test_an_unknown_word_is_refused(made):
    with pytest.raises(UserError, match="SOLVER.ON_NAN is one of stop, skip, not 'skipp' .did you mean 'skip'"):
        made("SOLVER.ON_NAN", "skipp")
