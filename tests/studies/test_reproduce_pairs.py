"""Every method of every shipped table takes the networks and the settings that the table gives it."""

from __future__ import annotations

import pytest
import torch

from mdistiller_icc.plugin import register
from mdistiller_icc.probe import IMAGE_SIZE
from mdistiller_icc.run import _distiller
from mdistiller_icc.studies import table_file as tables
from mdistiller_icc.studies.plan import plan
from mdistiller_icc.teachers import resolve

CLASSES = {"digits": 10, "cifar100": 100, "tiny_imagenet": 200, "imagenet": 1000}


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
        models, classes = host.models(cfg.DATASET.TYPE), CLASSES[cfg.DATASET.TYPE]
        teacher, student = (resolve.build(models, which, cfg, classes) for which in (architecture, node.STUDENT))
        distiller = _distiller(host.distiller_dict[node.TYPE], student, teacher, cfg, num_data=200)
        size = IMAGE_SIZE[cfg.DATASET.TYPE]
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
