"""Batch norms that see the images of all processes: which become such, and which are refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mdistiller_icc import ranks
from mdistiller_icc.distillers.base import Distiller
from mdistiller_icc.engine import parallel
from mdistiller_icc.errors import UserError


class WithActivation(nn.BatchNorm2d):
    """Like timm's ``BatchNormAct2d``."""

    def forward(self, image):
        return super().forward(image).relu()


def distiller(norm: type[nn.BatchNorm2d]) -> Distiller:
    return Distiller(nn.Sequential(nn.Conv2d(3, 4, 1), norm(4)), nn.Sequential(nn.BatchNorm2d(3)))


@pytest.mark.parametrize("device, wanted", [("cpu", parallel.SyncBatchNorm), ("cuda", nn.SyncBatchNorm)])
@pytest.mark.parametrize("before", [nn.BatchNorm2d, nn.SyncBatchNorm])
def test_the_students_become_such_and_keep_their_hooks(monkeypatch, device, wanted, before):
    monkeypatch.setattr(ranks, "world", lambda: 2)
    made, seen = distiller(before), []
    made.student[1].register_forward_hook(lambda *_: seen.append(1))
    parallel.synchronise_batch_norms(made, torch.device(device))
    assert type(made.student[1]) is wanted and type(made.teacher[0]) is nn.BatchNorm2d
    made.student.eval()(torch.rand(2, 3, 4, 4))
    assert seen == [1]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_one_that_does_more_than_normalise_is_refused(monkeypatch, device):
    monkeypatch.setattr(ranks, "world", lambda: 2)
    with pytest.raises(UserError, match="^SOLVER.SYNC_BN True: student.1 is a WithActivation, which does more"):
        parallel.synchronise_batch_norms(distiller(WithActivation), torch.device(device))
