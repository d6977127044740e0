"""What a run leaves for people and their tools: worklog.txt, TensorBoard, and wandb for those who turn it on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter
from yacs.config import CfgNode

from mdistiller_icc import ranks
from mdistiller_icc.engine.run_folder import EVENTS
from mdistiller_icc.errors import UserError, undisturbed
from mdistiller_icc.whole_file import naming

RULE = "-" * 25
# mdistiller's names, which its users' scripts look for
WORKLOG = {"test_acc": "test_top1", "test_acc_top5": "test_top5", "train_acc": "train_top1"}


class Logs:
    """Writes every epoch's figures to all the logs of a run; of several processes the first alone does.

    Args:
        folder: the run's folder.
        cfg: reads ``LOG.WANDB`` and ``EXPERIMENT``.

    Raises:
        UserError: wandb is turned on and not installed.
    """

    def __init__(self, folder: Path, cfg: CfgNode) -> None:
        if not ranks.is_first():
            return
        self.worklog, self.events = folder / "worklog.txt", folder / EVENTS
        self.tensorboard = SummaryWriter(str(self.events))
        self.wandb: Any = None
        if cfg.LOG.WANDB:
            try:
                import wandb
            except ImportError:
                raise UserError("LOG.WANDB True: wandb is not installed (pip install wandb)") from None
            self.wandb = wandb.init(
                project=cfg.EXPERIMENT.PROJECT, name=folder.name, tags=cfg.EXPERIMENT.TAG.split(","), dir=str(folder)
            )

    @ranks.first_alone
    def epoch(self, metrics: dict[str, Any]) -> None:
        """Log an epoch's figures, those that mdistiller logs under its names."""
        figures = {key: value for key, value in metrics.items() if isinstance(value, (int, float))}
        for mdistillers, ours in WORKLOG.items():
            if ours in figures:
                figures[mdistillers] = figures.pop(ours)
        epoch = figures.pop("epoch")
        with naming(self.events), undisturbed():  # tensorboardX has a thread, and a queue to it
            for key, value in figures.items():
                self.tensorboard.add_scalar(key, value, epoch)
            self.tensorboard.flush()
        if self.wandb is not None:
            self.wandb.log(figures, step=epoch)
        lines = [f"{key}: {value:.6g}" for key, value in figures.items()]
        self._write("\n".join([RULE, f"epoch: {epoch}", *lines, RULE]) + "\n")

    @ranks.first_alone
    def note(self, line: str) -> None:
        """Keep a line that was shown to whoever watches."""
        self._write(f"{line}\n")

    @ranks.first_alone
    def best(self, top1: float) -> None:
        """Log the best test accuracy of the run, in percent."""
        self._write(f"best_acc\t{top1:.2f}\n")

    @ranks.first_alone
    def close(self) -> None:
        """Write what is still in memory, and end the run on W&B."""
        events = self.tensorboard.file_writer.event_writer
        try:
            with naming(self.events), undisturbed():
                self.tensorboard.close()
        except OSError:
            events._closed = True  # or it tries again when the process ends, with a traceback
            events._worker.stop()
            raise
        if self.wandb is not None:
            self.wandb.finish()

    def _write(self, text: str) -> None:
        with naming(self.worklog), open(self.worklog, "a", encoding="utf-8") as file:
            file.write(text)
