"""The failure signatures of ICC: provoked in real training where they can be, and silent where all is well."""

from __future__ import annotations

import math
from contextlib import nullcontext

import pytest
import torch

from mdistiller_icc.engine.progress import Silent
from mdistiller_icc.icc.signatures import Signatures
from mdistiller_icc.icc.watch import Watch
from mdistiller_icc.plugin import register
from mdistiller_icc.run import configure, run

WELL = {"loss_ce": 0.5, "train_top1": 80.0, "icc/intra": 0.5, "icc/inter": 0.9, "icc/passed": 0.5, "icc/weight": 0.02,
        "icc/gradient_share": 0.05, "icc/feature_norm": 9.0}  # fmt: skip


def seen(*epochs, queue_bytes=0):
    signatures = Signatures(num_classes=10, queue_bytes=queue_bytes)
    return [signatures.see(WELL | {"epoch": number} | epoch) for number, epoch in enumerate(epochs, 1)]


def test_all_is_well():
    falling = [{"loss_ce": 2.0 / n, "train_top1": 10.0 * n} for n in range(1, 10)]
    assert seen(*falling) == [[]] * 9


def test_collapse_is_told_once_and_again_when_it_comes_back():
    point = {"icc/intra": 0.02, "icc/inter": 0.01}
    told = seen({}, point, point, {}, point)
    assert [len(lines) for lines in told] == [0, 1, 0, 0, 1]
    assert told[1][0].startswith("since epoch 2: mode collapse") and "ICC.WEIGHT" in told[1][0]


def test_stall():
    told = seen(*[{"loss_ce": 2.2}] * 5)
    assert [len(lines) for lines in told] == [0, 0, 0, 1, 0] and "convergence stall" in told[3][0]
    assert seen(*[{"loss_ce": 2.2, "icc/passed": 0.0}] * 5) == [[]] * 5  # ICC has no part in it
    assert seen(*[{"loss_ce": 0.1}] * 5) == [[]] * 5  # converged
    assert "has not fallen" in seen(*[{"loss_ce": loss} for loss in (1.5, 1.8, 2.0, 2.2)])[3][0]


def test_erosion():
    told = seen({"train_top1": 80.0}, {"train_top1": 60.0}, {"train_top1": 60.0, "icc/gradient_share": 3.0})
    assert [len(lines) for lines in told] == [0, 0, 1] and "fell from 80.0 to 60.0 %" in told[2][0]


def test_queues():
    assert "class queues take 2.0 GiB" in seen({}, queue_bytes=2**31)[0][0]


def test_runaway_features():
    told = seen(*[{"icc/feature_norm": length} for length in (5.0, 45.0, 51.0, 60.0)])
    assert [len(lines) for lines in told] == [0, 0, 1, 0] and "their length is 51 and was 5.0" in told[2][0]
    assert seen({"icc/feature_norm": None}, {"icc/feature_norm": 5.0}) == [[], []]  # ICC waited


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_figures_are_of_what_is_finite(bad):
    """A step that was left out does not blind the signatures for an epoch."""
    generator, watches = torch.Generator().manual_seed(0), (Watch(2), Watch(2))
    target, passed, valid = torch.arange(6) % 2, torch.ones(6, dtype=torch.bool), torch.ones(6, 3, dtype=torch.bool)
    for step in range(3):
        feature, each = torch.randn(6, 4, generator=generator), torch.rand(6, generator=generator)
        pulls = torch.tensor([1.0, 2.0])
        if step < 2:
            watches[0].step(feature, target, passed, each, valid, torch.tensor(0.02), pulls)
        else:
            feature, each, pulls = feature * bad, each * bad, pulls * bad
        watches[1].step(feature, target, passed, each, valid, torch.tensor(0.02), pulls)
    expected, told = (watch.figures() for watch in watches)
    assert told == pytest.approx(expected) and None not in told.values()


class Noted(Silent):
    """A progress that keeps the notes, and may interrupt."""

    def __init__(self, stop_after=None):
        self.lines, self.stop_after = [], stop_after

    def epoch(self, metrics):
        if metrics["epoch"] == self.stop_after:
            raise KeyboardInterrupt

    def note(self, line):
        self.lines.append(line)


def trained(monkeypatch, tmp_path, *options, resume=False, stop_after=None):
    monkeypatch.chdir(tmp_path)
    base = ["DATASET.TYPE", "digits", "DISTILLER.TYPE", "ICC", "DISTILLER.STUDENT", "resnet8", "SOLVER.TRAINER", "icc",
            "DATASET.FRACTION", "0.3", "EXPERIMENT.NAME", "run"]  # fmt: skip
    noted = Noted(stop_after)
    with pytest.raises(KeyboardInterrupt) if stop_after else nullcontext():
        record = run(configure(None, [*base, *options]), "teacher", resume=resume, progress=noted)
        assert record["status"] == "finished"  # it is told, and training goes on
    return noted.lines


def test_a_huge_weight_without_a_gate_stalls(monkeypatch, tmp_path):
    """λ = 100 and δ = −1 from a random start: noise enters the loss and drowns cross-entropy."""
    lines = trained(monkeypatch, tmp_path, "ICC.WEIGHT", "100", "ICC.MARGIN", "-1", "SOLVER.EPOCHS", "6")
    assert any("convergence stall" in line for line in lines)


def test_features_that_share_one_direction_collapse(monkeypatch, tmp_path):
    """A network whose pooled features all lie on one point of the sphere."""
    models = register(verbose=False).host.cifar_model_dict

    def on_one_point(num_classes):
        network = models["resnet8"][0](num_classes=num_classes)
        network.register_forward_hook(
            lambda module, inputs, output: (output[0], output[1] | {"pooled_feat": output[1]["pooled_feat"] + 100})
        )
        return network

    monkeypatch.setitem(models, "one_point", (on_one_point, None))
    options = ["DISTILLER.STUDENT", "one_point", "SOLVER.EPOCHS", "4"]
    lines = trained(monkeypatch, tmp_path, *options, stop_after=2)
    assert any("mode collapse" in line for line in lines)
    assert trained(monkeypatch, tmp_path, *options, resume=True) == []  # it was told already


def test_a_weight_raised_late_erodes_and_the_defaults_are_quiet(monkeypatch, tmp_path):
    """A network trained in peace loses its classes when λ jumps to 50."""
    assert trained(monkeypatch, tmp_path, "SOLVER.EPOCHS", "8") == []
    late = ["ICC.WARMUP", "8", "ICC.WEIGHT", "50", "ICC.MARGIN", "-1", "SOLVER.EPOCHS", "11", "EXPERIMENT.NAME", "late"]
    monkeypatch.setenv("MDISTILLER_ICC_TEACHERS", "other")
    assert any("inter-class erosion" in line for line in trained(monkeypatch, tmp_path, *late))
