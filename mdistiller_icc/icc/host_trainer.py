"""The ``icc`` trainer: any trainer of the host, which hands the ICC recipe what it needs beyond images and labels."""

from __future__ import annotations

from typing import Any


def icc_trainer(host: Any) -> type:
    """The host's plain trainer, made to tell a distiller about its loader and the indices of its images.

    The built-in host's trainer does both already. mdistiller's own passes no indices, so here its loop's
    call of the distiller is handed the indices of the batch it is at.

    Args:
        host: has ``name`` and ``trainer_dict``.
    """
    plain = host.trainer_dict["base"]
    if host.name == "builtin":
        return plain

    class ICCTrainer(plain):  # type: ignore[misc, valid-type]
        """mdistiller's trainer for the recipe ``ICC``."""

        def __init__(self, experiment_name: Any, distiller: Any, train_loader: Any, val_loader: Any, cfg: Any) -> None:
            method = distiller.module
            method.attach(train_loader)
            method.to(next(method.parameters()).device)
            super().__init__(experiment_name, distiller, train_loader, val_loader, cfg)

        def train_iter(self, data: Any, epoch: int, train_meters: Any) -> str:
            device = next(self.distiller.parameters()).device
            self.distiller.module.batch_index = data[2].to(device)
            return super().train_iter(data, epoch, train_meters)

    return ICCTrainer
