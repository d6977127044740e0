"""The ``icc`` trainer around a trainer of mdistiller's shape, which passes no indices."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mdistiller_icc.builtin.models import cifar_model_dict
from mdistiller_icc.icc import ICC
from mdistiller_icc.icc.host_trainer import icc_trainer
from mdistiller_icc.plugin import register


class Plain:
    """What mdistiller's trainer does with a batch and with an epoch's figures."""

    def __init__(self, experiment_name, distiller, train_loader, val_loader, cfg):
        self.distiller, self.train_loader = distiller, train_loader
        self.logged = []

    def train_iter(self, data, epoch, train_meters):
        image, target, _index = data
        _, losses = self.distiller(image=image, target=target, epoch=epoch)
        sum(losses.values()).backward()
        return "message"

    def log(self, lr, epoch, log_dict):
        self.logged.append(log_dict)


class Noise(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.randn(3, 32, 32), index % 2, index


@pytest.fixture
def trainer():
    cfg = register(verbose=False).host.CFG.clone()
    cfg.ICC.MARGIN, cfg.ICC.QUEUE.SIZE, cfg.ICC.QUEUE.POLICY = -1.0, 2, "slide"
    torch.manual_seed(0)
    method = ICC(cifar_model_dict["resnet8"][0](num_classes=2), None, cfg)
    distiller = torch.nn.DataParallel(method)
    host = SimpleNamespace(name="mdistiller", trainer_dict={"base": Plain})
    distiller.device_ids = [0, 1]  # as where there are two GPUs
    trainer = icc_trainer(host)("name", distiller, DataLoader(Noise(), batch_size=4), None, cfg)
    assert distiller.device_ids == [0]
    distiller.device_ids = []
    return trainer


def test_the_method_is_told_the_indices_and_draws_second_views_from_the_data_set(trainer):
    trainer.distiller.train()
    for epoch in (1, 2):
        for data in trainer.train_loader:
            assert trainer.train_iter(data, epoch, None) == "message"
            assert trainer.method.batch_index.tolist() == data[2].tolist()
        trainer.log(0.1, epoch, {"train_acc": torch.tensor([50.0])})
    first, second = trainer.logged
    assert first["train_acc"].item() == 50.0
    assert second["icc/passed"] == 1.0 and second["icc/anchors"] == 1.0  # every image met its class and had a view
    assert second["icc/loss_intra"] > 0


def test_its_warnings_are_shown(trainer, capsys):
    trainer.distiller.train()
    for epoch in range(1, 5):
        for data in trainer.train_loader:
            trainer.train_iter(data, epoch, None)  # without an optimiser: the cross-entropy does not fall
        trainer.log(0.1, epoch, {"train_acc": torch.tensor([50.0])})
    assert "ICC, since epoch 4: convergence stall" in capsys.readouterr().out


def test_the_built_in_trainer_needs_nothing():
    assert icc_trainer(SimpleNamespace(name="builtin", trainer_dict={"base": Plain})) is Plain
