"""The theory's objective on real images: handwritten digits, resnet8."""

from __future__ import annotations

import pytest
import torch

from mdistiller_icc import data
from mdistiller_icc.engine.generators import seed_everything
from mdistiller_icc.errors import UserError
from mdistiller_icc.plugin import register
from mdistiller_icc.run import configure
from mdistiller_icc.studies.sweep import main
from mdistiller_icc.studies.theory import TheoryICC

DIGITS = ["DATASET.TYPE", "digits", "DISTILLER.TYPE", "ICC", "DISTILLER.STUDENT", "resnet8", "DATASET.FRACTION", "0.2"]


def test_it_moves_features_by_contrast_alone():
    cfg = configure(None, [*DIGITS, "ICC.POSITIVE", "twin", "ICC.WEIGHT", "0.5", "ICC.MARGIN", "-1"])
    seed_everything(0)
    dataset = data.load(cfg, 0, torch.device("cpu"))
    student = register(verbose=False).host.cifar_model_dict["resnet8"][0](num_classes=10)
    icc = TheoryICC(student, None, cfg).train()
    icc.attach(dataset.train)
    optimizer = torch.optim.SGD(icc.get_learnable_parameters(), lr=0.05, momentum=0.9)
    image, target, index = next(iter(dataset.train))
    _, parts = icc(image=image, target=target, index=index, epoch=1)
    classifier, body = icc.student.fc.weight, icc.student.conv1.weight
    of_classifier, of_body = torch.autograd.grad(parts["loss_ce"], [classifier, body])
    assert of_classifier.abs().sum() > 0 and of_body.abs().sum() > 0
    with torch.no_grad():
        classifier.zero_()  # cross-entropy no longer depends on the features, L_Inter still does
    _, again = icc(image=image, target=target, index=index, epoch=1)
    assert torch.autograd.grad(again["loss_ce"], body)[0].abs().sum() > 0
    losses = []
    for _ in range(8):
        _, parts = icc(image=image, target=target, index=index, epoch=1)
        optimizer.zero_grad()
        sum(parts.values()).backward()
        optimizer.step()
        losses.append(parts["loss_ce"].item())
    assert losses[-1] < losses[0]


def test_without_two_views_nothing_is_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="ICC.POSITIVE twin, not view"):
        main(["--theory", "--values", "0", "1", *DIGITS, "SOLVER.TRAINER", "icc"])
    assert not list(tmp_path.iterdir())
