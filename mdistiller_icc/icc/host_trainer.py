"""The ``icc`` trainer: any trainer of the host, which hands the ICC recipe what it needs beyond images and labels."""

from __future__ import annotations

from typing import Any

from mdistiller_icc.epoch_means import EpochMeans


def icc_trainer(host: Any) -> type:
    """The host's plain trainer, made to tell a distiller about its loader and the indices of its images.

    The built-in host's trainer does both already. mdistiller's own passes no indices, so here its loop's
    call of the distiller is handed the indices of the batch it is at.

    Args:
        host: has ``name`` and ``trainer_dict``.
    """
    plain: type = host.trainer_dict["base"]
    if host.name == "builtin":
        return plain

    class ICCTrainer(plain):  # type: ignore[misc]
        """mdistiller's trainer for the recipe ``ICC``: logs its figures and shows its warnings too."""

        def __init__(self, experiment_name: Any, distiller: Any, train_loader: Any, val_loader: Any, cfg: Any) -> None:
            self.method = distiller.module
            if len(distiller.device_ids) > 1:
                # DataParallel gives every GPU the whole batch's indices and keeps the first GPU's queues alone
                distiller.device_ids = distiller.device_ids[:1]
                print("ICC trains on one GPU here; for more, start a process per GPU")
            self.method.attach(train_loader)
            self.method.to(next(self.method.parameters()).device)
            self.means = EpochMeans()
            self.method.register_forward_hook(self._watch)
            super().__init__(experiment_name, distiller, train_loader, val_loader, cfg)

        def train_iter(self, data: Any, epoch: int, train_meters: Any) -> str:
            self.method.batch_index = data[2].to(next(self.method.parameters()).device)
            message: str = super().train_iter(data, epoch, train_meters)
            return message

        def log(self, lr: float, epoch: int, log_dict: dict[str, Any]) -> None:
            figures = self.method.diagnostics()
            super().log(lr, epoch, log_dict | {name: value for name, value in figures.items() if value is not None})
            metrics = {"epoch": epoch, "train_top1": float(log_dict["train_acc"]), **self.means.read(), **figures}
            for line in self.method.warnings(metrics):
                print(line)

        def _watch(self, method: Any, _inputs: Any, output: Any) -> None:
            if method.training:
                self.means.add("loss_ce", output[1]["loss_ce"], 1)

    return ICCTrainer
