"""The training loop, the same for every method."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from yacs.config import CfgNode

from mdistiller_icc import ranks
from mdistiller_icc.distillers.base import Distiller, Hooks, checked
from mdistiller_icc.engine import divergence, parallel, precision
from mdistiller_icc.engine.allocator import keep_freed_memory
from mdistiller_icc.engine.compiled import Compiled
from mdistiller_icc.engine.divergence import Diverged, Watch, as_number
from mdistiller_icc.engine.evaluate import Accuracy, correct, evaluate
from mdistiller_icc.engine.generators import random_state, restore_random_state
from mdistiller_icc.engine.logs import Logs
from mdistiller_icc.engine.progress import Bar, Progress, Silent
from mdistiller_icc.engine.resume import look_at_best, newest
from mdistiller_icc.engine.run_folder import BEST, LATEST, PREVIOUS, RunFolder
from mdistiller_icc.engine.schedule import learning_rate
from mdistiller_icc.epoch_means import EpochMeans
from mdistiller_icc.errors import UserError
from mdistiller_icc.teachers import checkpoint

BATCH = ("image", "target", "index", "contrastive_index", "strong")
WRAPPERS = (nn.DataParallel, DistributedDataParallel)


class Trainer:
    """Trains a distiller's student, epoch by epoch; mdistiller's trainer interface, with more to say.

    Checkpoints hold everything but the teacher, at epoch ends; a run that was stopped in an epoch repeats it from its
    start, with the same batches.

    Args:
        experiment_name: the run's name.
        distiller: the method around its student, of a class with `Hooks` (`adopt` gives them to any other); may be
            wrapped in DataParallel, of whose GPUs the first is used, or in DistributedDataParallel; training then goes
            through that. Of several processes all make a trainer alike; the first alone writes.
        train_loader: yields ``(image, target, index[, contrastive_index[, strong]])``; the fourth may be None.
        val_loader: the test images, yields ``(image, target)``.
        cfg: reads ``SOLVER``, ``LOG`` and ``EXPERIMENT``.
        holdout_loader: images kept apart from training, like ``val_loader``.
        progress: shows a person how far it is; a bar by default.
    """

    score: ClassVar[str] = "test_top1"
    """The figure that tells which epoch is the best."""

    def __init__(
        self,
        experiment_name: str,
        distiller: nn.Module,
        train_loader: Any,
        val_loader: Any,
        cfg: CfgNode,
        *,
        holdout_loader: Any = None,
        progress: Progress | None = None,
    ) -> None:
        self.cfg = cfg
        self.title = experiment_name
        self.folder = RunFolder(cfg, experiment_name)
        # Somebody else's class with the hooks has all that is used of ours.
        self.distiller = cast(Distiller, distiller.module if isinstance(distiller, WRAPPERS) else distiller)
        self.train_loader, self.val_loader, self.holdout_loader = train_loader, val_loader, holdout_loader
        self.device = next(self.distiller.parameters()).device
        self.precision = precision.resolve(cfg.SOLVER.PRECISION, self.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.progress = (progress or Bar()) if ranks.is_first() else Silent()
        if isinstance(distiller, nn.DataParallel) and len(distiller.device_ids) > 1:
            # Its replicas would each fill queues and memories of their own, and lose them after every step.
            distiller.device_ids = distiller.device_ids[:1]
            self.progress.about("of DataParallel's GPUs the first is used; torchrun trains on several")
        for method in self.distiller.modules():  # a sum of methods has several
            if isinstance(method, Hooks):
                method.gather = cfg.DISTILLER.GATHER
        self.distiller.attach(train_loader)
        self.distiller.to(self.device)
        if cfg.SOLVER.SYNC_BN:
            parallel.synchronise_batch_norms(self.distiller, self.device)
        self.optimizer = self.init_optimizer(cfg)
        compiled = cfg.SOLVER.COMPILE
        self.training_pass = Compiled(distiller, self.distiller, self.device) if compiled else distiller
        self.weight = 1.0
        self.watch = Watch(cfg.SOLVER.ON_NAN, 1, len(train_loader), cfg.SOLVER.LR, self.distiller)
        self.history: list[dict[str, Any]] = []
        self.best_acc = -1.0
        self.kept: dict[str, Any] = {}
        """What whoever runs it wants to find in the checkpoint when it is resumed; see ``on_resume``."""
        self.on_epoch: Callable[[], None] = lambda: None
        """Called when the run begins or goes on, and when an epoch is saved."""
        self.on_resume: Callable[[dict[str, Any]], None] = lambda kept: None

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        """Look at how ``SOLVER``'s settings fit together before anything is read or built.

        Raises:
            UserError: two of them do not.
        """

    @classmethod
    def settings(cls, cfg: CfgNode) -> dict[str, Any]:
        """What the trainer reads beyond what every run's record tells."""
        return {}

    @property
    def least_images(self) -> int:
        """How many images of a batch a process needs: a batch norm of its own needs two."""
        return 2 if parallel.has_batch_norms(self.distiller) and not self.cfg.SOLVER.SYNC_BN else 1

    def init_optimizer(self, cfg: CfgNode) -> torch.optim.Optimizer:
        """The optimiser ``SOLVER.TYPE`` names, over everything learnable."""
        parameters, solver = self.distiller.get_learnable_parameters(), cfg.SOLVER
        fused = self.device.type in ("cpu", "cuda")  # one pass over all weights
        if solver.TYPE == "SGD":
            sgd = torch.optim.SGD(
                parameters, lr=solver.LR, momentum=solver.MOMENTUM, weight_decay=solver.WEIGHT_DECAY, fused=fused
            )
            _begin_momenta(sgd)
            return sgd
        if solver.TYPE == "AdamW":
            return torch.optim.AdamW(parameters, lr=solver.LR, weight_decay=solver.WEIGHT_DECAY, fused=fused)
        raise ValueError(f"SOLVER.TYPE {solver.TYPE}: no such optimiser")

    def train(self, resume: bool = False, overwrite: bool = False) -> list[dict[str, Any]]:
        """Train to the last epoch and return the metrics of every epoch.

        Args:
            resume: go on with the run in the folder, if one is there.
            overwrite: start again even if one is there; it is back if this one ends before its first checkpoint.
        """
        try:
            self._train(self.load() if self.folder.open(resume, overwrite) else 0)
        except BaseException:
            self.folder.restore()
            raise
        return self.history

    def _train(self, done: int) -> None:
        logs = Logs(self.folder.path, self.cfg)
        epochs = self.cfg.SOLVER.EPOCHS
        self.progress.start(self.title, epochs, done, self._batches(epochs), self._batches(done))
        try:
            self.on_epoch()
            for epoch in range(done + 1, self.cfg.SOLVER.EPOCHS + 1):
                metrics = self.train_epoch(epoch)
                for line in self.distiller.warnings(metrics):
                    self.progress.note(line)
                    logs.note(line)
                self.save(metrics)
                self.folder.settle()
                self.folder.append_metrics(metrics)
                logs.epoch(metrics)
                self.on_epoch()
                self.progress.epoch(metrics)
            logs.best(self.best_acc)
            if ranks.is_first():
                (self.folder.path / PREVIOUS).unlink(missing_ok=True)
        finally:
            self.progress.close()
            logs.close()

    def _batches(self, epochs: int) -> int:
        """How many batches are trained and evaluated on until an epoch is over."""
        evaluations = sum(map(self._is_evaluated, range(1, epochs + 1)))
        held_out = 0 if self.holdout_loader is None else len(self.holdout_loader)
        return epochs * len(self.train_loader) + evaluations * (len(self.val_loader) + held_out)

    def _is_evaluated(self, epoch: int) -> bool:
        return epoch % self.cfg.SOLVER.EVAL_EVERY == 0 or epoch == self.cfg.SOLVER.EPOCHS

    def train_epoch(self, epoch: int) -> dict[str, Any]:
        """One pass over the training images and, when it is due, over the others; returns the epoch's metrics."""
        lr = learning_rate(epoch, self.cfg.SOLVER)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.train_loader.set_epoch(epoch)
        self.distiller.train()
        begun = time.perf_counter()
        means = EpochMeans()
        self.watch = Watch(self.cfg.SOLVER.ON_NAN, epoch, len(self.train_loader), lr, self.distiller)
        self.hits, count = torch.zeros(2, device=self.device), 0
        for batch in self.train_loader:
            inputs = self.inputs(batch)
            self.watch.begin()
            size = len(inputs["target"])
            self.weight = parallel.weight(size, last=self.watch.step == len(self.train_loader))
            logits, losses = self.step(inputs, epoch)
            self.progress.step()
            if not self.watch.taken:
                continue
            with torch.no_grad():
                for name, loss in losses.items():
                    means.add(name, as_number(loss).float() * size, size)
                self.tally(logits, inputs["target"])
            count += size
        parallel.settle(self.distiller, self.device)
        self.watch.end()
        count = sum(ranks.of_all(count))
        parts = {name: _finite(value) for name, value in means.read().items()}
        seconds = time.perf_counter() - begun
        metrics: dict[str, Any] = {
            "epoch": epoch,
            "lr": lr,
            "train_loss": None if None in parts.values() else sum(parts.values()),
            **parts,
            **self.tallied(count),
            "images_per_second": count / seconds,
        }
        if self.watch.skips:
            metrics["skipped_steps"] = self.watch.skipped
        if self._is_evaluated(epoch):
            metrics |= self.tested(epoch)
        metrics |= {name: _finite(value) for name, value in self.distiller.diagnostics().items()}
        metrics["seconds"] = time.perf_counter() - begun
        return metrics

    def inputs(self, batch: Any) -> dict[str, Any]:
        """What the loader yields, by the names that the distiller takes it under, on the device."""
        return {
            name: tensor.to(self.device, non_blocking=True)
            for name, tensor in zip(BATCH, batch, strict=False)
            if tensor is not None
        }

    def tally(self, logits: Tensor, target: Any) -> None:
        """Count the hits of a training step."""
        self.hits += correct(logits, target)

    def tallied(self, count: int) -> dict[str, float]:
        """The training accuracies of an epoch of ``count`` images, in percent."""
        top1, top5 = (ranks.summed(self.hits) * (100.0 / count)).tolist()
        return {"train_top1": top1, "train_top5": top5}

    def tested(self, epoch: int) -> dict[str, Any]:
        """The figures of the test images, and of those held out, after an epoch."""
        test = self.evaluate(self.val_loader)
        if not math.isfinite(test.loss):
            raise Diverged(f"epoch {epoch}: the test loss is {test.loss} {self.watch.at}")
        metrics = {"test_top1": test.top1, "test_top5": test.top5, "test_loss": test.loss}
        if self.holdout_loader is not None:
            metrics["holdout_top1"] = self.evaluate(self.holdout_loader).top1
        return metrics

    def step(self, inputs: dict[str, Tensor], epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """One optimisation step on one batch; returns the student's logits and the losses.

        Raises:
            UserError: the compiled step failed. It is not taken again: queues and batch norms have moved by then.
        """
        try:
            return self._step(inputs, epoch)
        except UserError:
            raise
        except Exception as error:
            if not self.cfg.SOLVER.COMPILE:
                raise
            reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            raise UserError(f"a compiled step failed ({reason}); train with SOLVER.COMPILE False") from error

    def _step(self, inputs: dict[str, Tensor], epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        self.optimizer.zero_grad(set_to_none=True)  # before the forward pass, which needs most memory
        with precision.autocast(self.precision, self.device):
            logits, losses = checked(self.training_pass(**inputs, epoch=epoch), self.cfg.DISTILLER.TYPE)
        # Their sum's gradient, without the sum. A method may have a loss that is a constant at present.
        torch.autograd.backward([self.weighed(loss) for loss in losses.values() if loss.requires_grad])
        if self.training_pass is self.distiller:  # from its second step on, what several processes run averages itself
            parallel.average_gradients(self.distiller.get_learnable_parameters())
            self.training_pass = parallel.distributed(self.distiller, self.device)
        if self.watch.takes(losses, self.optimizer):
            self.optimizer.step()
        return logits, losses

    def weighed(self, loss: Tensor) -> Tensor:
        """A loss as a number, which counts for as much as this process's share of the batch."""
        return as_number(loss) if self.weight == 1 else as_number(loss) * self.weight

    def evaluate(self, loader: Any) -> Accuracy:
        """The student's accuracy on the images of ``loader``."""
        self.distiller.eval()
        return evaluate(lambda image: self.distiller(image=image), self._watched(loader), self.device, self.precision)

    def _watched(self, loader: Any) -> Iterator[Any]:
        for batch in loader:
            yield batch
            self.progress.step()

    def save(self, metrics: dict[str, Any]) -> None:
        """Write the checkpoints that are due after an epoch, each whole at every moment; with them it counts."""
        epoch, score = metrics["epoch"], metrics.get(self.score)
        score = -1.0 if score is None else score
        improved = score > self.best_acc
        state = {
            "epoch": epoch,
            "model": {k: v for k, v in self.distiller.state_dict().items() if not k.startswith("teacher.")},
            "optimizer": self.optimizer.state_dict(),
            "best_acc": max(self.best_acc, score),
            "random": random_state(self.device),
            "run": {"config": self.folder.configuration(), "history": [*self.history, metrics], "kept": self.kept},
        }
        if own := parallel.own_state(self.distiller):
            state["ranks"] = ranks.of_all(own)
        self._write(state, improved)
        self.best_acc = max(self.best_acc, score)
        self.history.append(metrics)

    @ranks.first_alone
    def _write(self, state: dict[str, Any], improved: bool) -> None:
        epoch, student = state["epoch"], {"model": self.distiller.student.state_dict()}
        for suffix in [LATEST] + [BEST] * improved:
            checkpoint.save(student, self.folder.path / f"student_{suffix}")
        if epoch % self.cfg.LOG.SAVE_CHECKPOINT_FREQ == 0:
            checkpoint.save(student, self.folder.path / f"student_{epoch}")
            checkpoint.save(state, self.folder.path / f"epoch_{epoch}")
        if improved:
            checkpoint.save(state, self.folder.path / BEST)
        # What a resumed run trusts comes last of all.
        checkpoint.save(state, self.folder.path / LATEST, before=self.folder.path / PREVIOUS)

    def load(self) -> int:
        """Take up the state of the newest whole checkpoint and return the epoch it was written after.

        Raises:
            UserError: there is none, or not one of this run, or its weights are not finite.
        """
        path, state = ranks.from_first(lambda: newest(self.folder, self.progress.note))
        try:
            done = len(state["run"]["history"])
            self.folder.check_configuration(state["run"]["config"], done, self.distiller.teacher_kind)
            self._check_length(state["run"]["config"]["SOLVER"]["EPOCHS"], done)
            self.on_resume(state["run"]["kept"])
            own = self.distiller.state_dict()
            teacher = {k: v for k, v in own.items() if k.startswith("teacher.")}
            kept = dict(enumerate(state.get("ranks", []))).get(ranks.rank(), {}) if not self.distiller.gather else {}
            self.distiller.load_state_dict(state["model"] | kept | teacher)
            self.optimizer.load_state_dict(state["optimizer"])
            _begin_momenta(self.optimizer)  # of layers that had no gradient yet
            self.best_acc = state["best_acc"]
            restore_random_state(state["random"], self.device)
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            what = " ".join(line.strip() for line in str(error).splitlines()[:2])  # torch's first names the class alone
            raise UserError(f"{path}: not a checkpoint of this run ({type(error).__name__}: {what})") from None
        if not divergence.finite(self.distiller.student.state_dict().values()):
            raise Diverged(f"{path}: its weights are not finite: the run has diverged, and cannot go on")
        ranks.from_first(lambda: look_at_best(self.folder, self.progress.note))
        self.history = state["run"]["history"]
        self.folder.write_metrics(self.history)
        self.folder.write_configuration()
        for metrics in self.history:  # told when they were new; what is to come is seen against them
            self.distiller.warnings(metrics)
        return len(self.history)

    def _check_length(self, before: int, done: int) -> None:
        """Refuse more epochs where the method looks at their number, and has done so."""
        for method in self.distiller.modules():  # a sum of methods has several
            if isinstance(method, Hooks) and method.length_counts_after < done and before != self.cfg.SOLVER.EPOCHS:
                raise UserError(
                    f"{self.folder.path}: cannot be resumed with SOLVER.EPOCHS {self.cfg.SOLVER.EPOCHS}: it was begun "
                    f"with {before}, which {type(method).__name__} looks at after epoch {method.length_counts_after}"
                )


def _begin_momenta(optimizer: torch.optim.Optimizer) -> None:
    """Give every weight the momentum 0 that it begins with: the fused SGD wants all of them to have one, or none."""
    if not isinstance(optimizer, torch.optim.SGD):
        return
    for group in optimizer.param_groups:
        for parameter in group["params"] if group["momentum"] else ():
            optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
