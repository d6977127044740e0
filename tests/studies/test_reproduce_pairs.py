"""Every method of every shipped table takes the networks and the settings that the table gives it."""

from __future__ import annotations

import pytest
import torch

from mdistiller_icc.data import data_set
from mdistiller_icc.distillers.base import build
from mdistiller_icc.plugin import register
from mdistiller_icc.studies import table_file as tables
from mdistiller_icc.studies.plan import plan
from mdistiller_icc.teachers import resolve


@pytest.mark.slow
@pytest.mark.parametrize("name", tables.shipped())
def test_a_step_of_every_method_between_every_two_networks(name):
    host = register().host
    seen = set()
    for run in plan(tables.load(name), seeds=[0]):
        cfg, node = run.cfg, run.cfg.DISTILLER
        architecture = node.TEACHER.rpartition("_")[0]
        combination = node.TYPE, architecture, node.STUDENT
        if run.teacher is None or combination in seen:
            continue
        seen.add(combination)
        models, images = host.models(cfg.DATASET.TYPE), data_set(cfg.DATASET.TYPE)
        teacher, student = (
            resolve.build(models, which, cfg, images.num_classes) for which in (architecture, node.STUDENT)
        )
        distiller = build(host.distiller_dict[node.TYPE], student, teacher, cfg, num_data=200)
        size = images.image_size
        batch = {"image": torch.randn(4, 3, size, size), "target": torch.arange(4), "index": torch.arange(4)}
        if cfg.SOLVER.TRAINER == "crd":
            batch["contrastive_index"] = torch.randint(200, (4, 1 + cfg.CRD.NCE.K))
        distiller.train()
        _logits, losses = distiller.forward_train(**batch, epoch=1)
        loss = sum(losses.values())
        loss.backward()
        assert torch.isfinite(loss), combination
        assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None), combination
    assert seen
