"""Two processes of a group fill the class queues; prints what each saw as JSON.

Run as ``python tests/icc/icc_two_processes.py FOLDER``. Real processes, gloo, DistributedDataParallel.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from mdistiller_icc import data
from mdistiller_icc.icc import ICC
from mdistiller_icc.icc.queue import ClassQueues
from mdistiller_icc.icc.recipe import ICCLoss
from mdistiller_icc.icc.watch import Watch
from mdistiller_icc.losses.gather import gather_rows
from mdistiller_icc.run import configure

STEPS, BATCH, CLASSES, DIM = 6, 12, 3, 4


def batch(step: int) -> tuple[torch.Tensor, ...]:
    source = torch.Generator().manual_seed(step)
    features = torch.randn(BATCH, DIM, generator=source)
    target = torch.randint(CLASSES, (BATCH,), generator=source)
    passed = torch.rand(BATCH, generator=source) < 0.8
    return features, target, torch.arange(BATCH) + step * BATCH, passed


def fill(policy: str, gather: bool, rows: slice) -> tuple[dict[str, list], list]:
    queues, met = ClassQueues(CLASSES, 4, DIM, policy), []
    for step in range(STEPS):
        own = [tensor[rows] for tensor in batch(step)]
        seen = queues.meet(*(gather_rows(*own) if gather else own))
        met.append([seen.valid.tolist(), (seen.negatives * seen.valid[..., None]).tolist()])
    return {name: tensor.tolist() for name, tensor in queues.state_dict().items()}, met


def wrapped(rank: int) -> dict[str, list]:
    """The queues of each rank after two steps of a recipe inside DistributedDataParallel."""
    options = ["DATASET.TYPE", "digits", "DISTILLER.TYPE", "ICC", "ICC.MARGIN", "-1", "DATASET.FRACTION", "0.2"]
    cfg = configure(None, options)
    dataset = data.load(cfg, rank, torch.device("cpu"))  # the ranks see different batches
    torch.manual_seed(0)
    from mdistiller_icc.builtin.models import cifar_model_dict

    icc = ICC(cifar_model_dict["resnet8"][0](num_classes=10), None, cfg)
    icc.gather = False
    icc.attach(dataset.train)
    model = DistributedDataParallel(icc)
    for step, (image, target, index) in enumerate(dataset.train):
        _, losses = model(image=image, target=target, index=index, epoch=1)
        sum(losses.values()).backward()
        if step == 1:
            break
    return {"index": icc.loss.queues.index.tolist()}


class Both(torch.nn.Module):
    """A network and its loss in one module, as a LightningModule has them."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.icc = torch.nn.Linear(DIM, CLASSES), ICCLoss(CLASSES, DIM, margin=-1, queue_size=2)
        self.icc.keep_ranks_apart(self)

    def forward(self, features: torch.Tensor, target: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        seen = torch.cat([features, features[: len(self.icc.second_views(index))]])
        logits = self.network(seen)
        return logits.sum() + self.icc(logits, seen, target, index)


def inside(rank: int) -> dict[str, list]:
    """The queues of each rank where the loss is inside of what DistributedDataParallel wraps."""
    torch.manual_seed(0)
    model = DistributedDataParallel(Both())
    for step in range(STEPS):
        features, target, index, _ = batch(step + rank * STEPS)  # the ranks see different batches
        model(features, target, index).backward()
    waiting = model.module.icc.second_views(index)
    return {"index": model.module.icc.queues.index.tolist(), "waiting": waiting.tolist()}


def watched(ranks: int) -> dict[str, float | None]:
    """The figures of an epoch in which this many ranks took a step."""
    watch = Watch(CLASSES)
    if dist.get_rank() < ranks:
        features, target, _, passed = batch(dist.get_rank())
        loss, valid = torch.ones(BATCH), torch.ones(BATCH, 1, dtype=torch.bool)
        watch.step(features, target, passed, loss, valid, torch.tensor(0.5), None)
    return watch.figures()


def work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    half = slice(rank * BATCH // 2, (rank + 1) * BATCH // 2)
    told = {
        f"{policy} {gather}": fill(policy, gather, half) for policy in ("clear", "slide") for gather in (True, False)
    }
    told["ddp"] = wrapped(rank)
    told["inside"] = inside(rank)
    told["watched"] = {ranks: watched(ranks) for ranks in (0, 1, 2)}
    Path(folder, f"{rank}.json").write_text(json.dumps(told))
    dist.barrier()  # gloo's threads abort a process whose peer is gone
    dist.destroy_process_group()
    os._exit(0)  # they may outlive the group, and abort an interpreter that ends before them


if __name__ == "__main__":
    folder = sys.argv[1]
    mp.spawn(work, args=(folder,), nprocs=2)
    ranks = [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in (0, 1)]
    whole = {policy: fill(policy, False, slice(None)) for policy in ("clear", "slide")}
    print(json.dumps({"ranks": ranks, "whole": whole}))
