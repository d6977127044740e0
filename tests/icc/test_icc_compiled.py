"""The ICC recipe through torch.compile: the same losses, the network as one graph that any number of views fits."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from mdistiller_icc import data
from mdistiller_icc.builtin.models import cifar_model_dict
from mdistiller_icc.engine.generators import seed_everything
from mdistiller_icc.engine.progress import Silent
from mdistiller_icc.engine.trainer import BATCH, Trainer
from mdistiller_icc.icc import ICC
from mdistiller_icc.plugin import register
from mdistiller_icc.run import configure

STEPS = 3
RECIPE = ["ICC.MARGIN", "-1", "ICC.QUEUE.SIZE", "2", "ICC.WEIGHT", "0.5"]
DIGITS = ["DATASET.TYPE", "digits", "DATASET.FRACTION", "0.2", "DISTILLER.TYPE", "ICC", "DISTILLER.STUDENT", "resnet8"]


def train(options, compiled):
    """Three short epochs; returns every step's losses, the numbers of second views, the figures and the graphs."""
    register(verbose=False)
    cfg = configure(None, [*DIGITS, "SOLVER.PRECISION", "fp32", *RECIPE, *options])
    seed_everything(0)
    dataset = data.load(cfg, 0, torch.device("cpu"))
    recipe = ICC(cifar_model_dict["resnet8"][0](num_classes=10), None, cfg)
    trainer = Trainer("compiled", recipe, dataset.train, [], cfg, progress=Silent())
    backend = CompileCounterWithBackend("aot_eager")
    torch._dynamo.reset()
    if compiled:
        trainer.training_pass = torch.compile(recipe, backend=backend)
    recipe.train()
    losses, views, draw = [], [], recipe.views
    recipe.views = lambda index, rows: views.append(len(index)) or draw(index, rows)
    for epoch in (1, 2, 3):
        dataset.train.set_epoch(epoch)
        for _, batch in zip(range(STEPS), dataset.train, strict=False):
            parts = trainer.step(dict(zip(BATCH, batch, strict=False)), epoch)[1]
            losses.append([part.item() for part in parts.values()])
    return losses, views, recipe.diagnostics(), backend


@pytest.mark.parametrize(
    "options",
    [
        ["ICC.POSITIVE", "memory"],
        ["ICC.POSITIVE", "memory", "ICC.QUEUE.POLICY", "slide", "ICC.WEIGHT_MODE", "gradnorm"],
        ["ICC.POSITIVE", "twin"],
        [],
    ],
    ids=["memory", "gradnorm", "twin", "view"],
)
def test_the_losses_are_the_same(options):
    eager, compiled = train(options, compiled=False), train(options, compiled=True)
    assert compiled[3].frame_count > 0
    assert any(intra for _, intra in eager[0])
    for one, other in zip(eager[0], compiled[0], strict=True):
        assert other == pytest.approx(one, rel=0.01, abs=1e-3)
    for name in ("icc/passed", "icc/anchors", "icc/queue_fill", "icc/intra", "icc/weight"):
        assert compiled[2][name] == pytest.approx(eager[2][name], rel=0.02)


def test_the_network_is_one_graph():
    backend = train(["ICC.POSITIVE", "memory"], compiled=True)[3]
    names = [{str(node.target) for node in graph.graph.nodes} for graph in backend.graphs]
    convolutions = [calls for calls in names if any("conv2d" in call for call in calls)]
    assert len(convolutions) == 1 and any("linear" in call for call in convolutions[0])


def test_any_number_of_second_views_fits_the_same_code():
    """Code made anew for every size would soon use up torch's limit, after which it runs eagerly without a word."""
    _, views, _, backend = train([], compiled=True)
    assert len(set(views)) > 3, "else nothing is shown"
    names = [{str(node.target) for node in graph.graph.nodes} for graph in backend.graphs]
    assert sum(any("conv2d" in call for call in calls) for calls in names) <= 3
