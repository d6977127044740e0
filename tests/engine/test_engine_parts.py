"""The engine's small parts: schedules, accuracies under each protocol, run names."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from yacs.config import CfgNode

from mdistiller_icc.engine.evaluate import evaluate
from mdistiller_icc.engine.run_folder import run_name
from mdistiller_icc.engine.schedule import learning_rate
from mdistiller_icc.run import check, configure, record
from mdistiller_icc.run.accuracies import PROTOCOLS, accuracies


def solver(**changes):
    defaults = {"SCHEDULE": "step", "LR": 0.05, "LR_DECAY_STAGES": [150, 180, 210], "LR_DECAY_RATE": 0.1, "EPOCHS": 240}
    return CfgNode(defaults | {"LR_MIN": 0.0} | changes)


@pytest.mark.parametrize("epoch, rate", [(1, 0.05), (150, 0.05), (151, 0.005), (181, 0.0005), (240, 0.00005)])
def test_step_schedule_drops_after_its_stages(epoch, rate):
    assert learning_rate(epoch, solver()) == pytest.approx(rate)


@given(st.integers(1, 500), st.sampled_from([0.0, 0.001]))
def test_cosine_schedule_equals_torchs(epochs, least):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.05)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs, eta_min=least)
    for epoch in range(1, min(epochs, 20) + 1):
        ours = learning_rate(epoch, solver(SCHEDULE="cosine", EPOCHS=epochs, LR_MIN=least))
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        theirs.step()


def test_a_record_tells_of_every_setting_that_changes_results():
    train = SimpleNamespace(num_data=3)
    dataset = SimpleNamespace(
        name="digits", num_classes=2, num_data=3, test=train, augmentation="none", strong=None, tree=None
    )

    def told(*options):
        cfg = configure(None, ["DISTILLER.TYPE", "VID", "DISTILLER.STUDENT", "resnet8", *options])
        made = record.begin(check(cfg), dataset, teacher=None)
        return made["protocol"], made["method_config"]

    plain = told()
    assert not {"upstream", "compile"} & set(plain[0]) and "DOT" not in plain[1]
    assert told("COMPAT.UPSTREAM", "True", "SOLVER.COMPILE", "True")[0] == plain[0] | {
        "upstream": True,
        "compile": True,
    }
    ends = {"schedule": "cosine", "lr_decay_stages": None, "lr_decay_rate": None, "lr_min": 0.001}
    assert told("SOLVER.SCHEDULE", "cosine", "SOLVER.LR_MIN", "0.001")[0] == plain[0] | ends
    assert told("SOLVER.TRAINER", "dot", "SOLVER.DOT.DELTA", "0.05")[1] == plain[1] | {"DOT": {"DELTA": 0.05}}


def epoch(number, test=None, holdout=None):
    return {"epoch": number, "test_top1": test, "test_top5": test, "holdout_top1": holdout}


def test_each_protocol():
    history = [epoch(n, test=float(n if n < 15 else 30 - n), holdout=float(n == 3)) for n in range(1, 21)]
    assert accuracies(history, "top1") == {
        "last": 10.0, "mean_last_10": sum([11, 12, 13, 14, 15, 14, 13, 12, 11, 10]) / 10, "best_test": 15.0,
        "heldout_selected": 3.0,
    }  # fmt: skip


def test_epochs_that_were_not_evaluated_do_not_count():
    history = [epoch(n, test=float(n) if n % 4 == 0 else None) for n in range(1, 13)]
    told = accuracies(history, "top1")
    assert told["last"] == 12.0 and told["mean_last_10"] == 8.0 and told["heldout_selected"] is None
    assert accuracies([], "top1") == dict.fromkeys(PROTOCOLS)


def test_the_first_of_equal_epochs_is_the_best():
    history = [epoch(1, 50.0) | {"test_top5": 60.0}, epoch(2, 50.0) | {"test_top5": 90.0}]
    assert accuracies(history, "top5")["best_test"] == 60.0


@given(st.integers(1, 40), st.integers(2, 9), st.integers(1, 17))
def test_accuracy_does_not_depend_on_the_batches(images, classes, batch):
    source = torch.Generator().manual_seed(images * 100 + classes)
    logits = torch.randn(images, classes, generator=source)
    target = torch.randint(classes, (images,), generator=source)
    rank = (logits > logits.gather(1, target[:, None])).sum(1)
    found = evaluate(lambda rows: rows, zip(logits.split(batch), target.split(batch), strict=True), torch.device("cpu"))
    assert found.top1 == pytest.approx(100 * (rank < 1).float().mean().item(), abs=1e-4)
    assert found.top5 == pytest.approx(100 * (rank < 5).float().mean().item(), abs=1e-4)
    assert found.loss == pytest.approx(torch.nn.functional.cross_entropy(logits, target).item(), abs=1e-4)


@pytest.mark.parametrize(
    "experiment, options, name",
    [
        ({"NAME": "", "TAG": "dkd,r,s", "SEED": None}, [], "dkd,r,s"),
        ({"NAME": "", "TAG": "dkd", "SEED": 2}, ["SOLVER.LR", "0.1"], "dkd,SOLVER.LR:0.1,seed:2"),
        ({"NAME": "mine", "TAG": "dkd", "SEED": None}, ["SOLVER.LR", "0.1"], "mine"),
        ({"NAME": "", "TAG": "a", "SEED": None}, ["DATASET.ROOT", "/data", "LOG.PREFIX", "x"], "a"),
        ({"NAME": "", "TAG": "a", "SEED": None}, ["DISTILLER.TEACHER_CKPT", "x/y"], "a,DISTILLER.TEACHER_CKPT:x_y"),
    ],
)
def test_run_names(experiment, options, name):
    assert run_name(CfgNode({"EXPERIMENT": experiment}), options) == name
