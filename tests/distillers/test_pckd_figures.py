"""PCKD against figures of its authors' released code, run once in float64 on the inputs written out here.

Their commit 610b3e8: ``helper/losses.py`` and the ``pckd`` branch of ``helper/loops.py``, with three of the four
weights 0. They rotate each image where it is loaded; their 1e-7 inside a logarithm is below these tolerances.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.distillers.pckd import PCKD

TARGET = torch.tensor([0, 1, 2, 0, 1, 1])
EPOCH = 7  # three of the six images are held back

LOSS = {"KD": 2.563175467736586, "CC": 244.81518546015823, "CA": 3.997065112741162}
GRADIENT = {  # norms at the student's first layer and its classifier, at E_s and E_t
    "KD": [1.1409844121518475, 1.6198159978316609, 0.0, 0.0],
    "CC": [2.509263599270203, 2.9940234476056604, 1.3434970268787652, 1.4983520959907677],
    "CA": [0.0, 0.9506467256118454, 0.0, 0.0],
}
TEACHER_WIDTH = {"KD": 5, "CC": 5, "CA": 4}  # centres align where the widths agree


def wave(*shape: int, start: float) -> Tensor:
    steps = torch.arange(math.prod(shape), dtype=torch.float64)
    return (1.5 * torch.sin(start + 1.7 * steps)).reshape(shape)


def fill(module: nn.Module, start: float) -> None:
    for number, parameter in enumerate(module.parameters()):
        parameter.data = wave(*parameter.shape, start=start + number)


class Net(nn.Module):
    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(12, width), nn.Tanh())
        self.fc = nn.Linear(width, 3)
        fill(self, start)

    def forward(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        pooled = self.body(image)
        return self.fc(pooled), {"pooled_feat": pooled}


def distiller(only: str) -> PCKD:
    node = PCKD.defaults()
    for name in ("KD", "CC", "CA", "FA"):
        node.LOSS[f"{name}_WEIGHT"] = float(name == only)
    model = PCKD(Net(4, 0.0), Net(TEACHER_WIDTH[only], 10.0), CfgNode({"PCKD": node})).double()
    fill(nn.ModuleList([model.embed_student, model.embed_teacher]), 20.0)
    return model.train()


@pytest.mark.parametrize("term", LOSS)
def test_losses_and_gradients_are_the_authors(term: str) -> None:
    model = distiller(term)
    image = wave(6, 3, 2, 2, start=30.0)
    _logits, losses = model(image=image, target=TARGET, epoch=EPOCH)
    assert losses["loss_ce"].item() == pytest.approx(2.343761857998445)
    assert losses["loss_kd"].item() == pytest.approx(LOSS[term], rel=1e-6)
    losses["loss_kd"].backward()
    layers = (model.student.body[1], model.student.fc, model.embed_student, model.embed_teacher)
    norms = [0.0 if layer.weight.grad is None else layer.weight.grad.norm().item() for layer in layers]
    assert norms == pytest.approx(GRADIENT[term], rel=1e-6)
