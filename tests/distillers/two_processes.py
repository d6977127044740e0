"""Train one step on a batch in one process and, halved, in two; print how far loss and gradients differ.

Run as ``python tests/distillers/two_processes.py FOLDER``; the last line is JSON. Real processes, gloo.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from yacs.config import CfgNode

from mdistiller_icc.distillers.base import Distiller
from mdistiller_icc.distillers.methods import distiller_dict
from mdistiller_icc.losses.ckd import ckd_loss
from mdistiller_icc.losses.gather import gather_rows

GATHERED = ["CKD", "BICKD", "PCKD", "DIST", "MLKD"]
"""Methods whose loss is one of the whole batch."""
CASES = [(method, "gathered") for method in GATHERED] + [(method, "apart") for method in distiller_dict]
UNEQUAL = (slice(0, 5), slice(5, 8))


class Net(nn.Module):
    """Without batch norm, whose statistics would differ between half and whole batches."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, width, 3)
        self.fc = nn.Linear(width, 5)

    def forward(self, image: Tensor) -> tuple[Tensor, dict[str, Any]]:
        feature = self.body(image)
        pooled = feature.relu().mean((2, 3))
        return self.fc(pooled), {"preact_feats": [feature], "pooled_feat": pooled}


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(8, 3, 4, 4, dtype=torch.float64, generator=generator)
    return image, torch.randint(5, (8,), generator=generator)


def distiller(method: str, gather: bool) -> Distiller:
    torch.manual_seed(1)
    node = distiller_dict[method].defaults()
    if method == "GDKD":
        node.K = 2
    cfg = CfgNode({method: node, "DATASET": {"TYPE": "cifar100"}})
    model = distiller_dict[method](Net(6), Net(7), cfg).double().train()
    model.gather = gather
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.eval()
    return model


def step(model: nn.Module, rows: slice) -> dict[str, Tensor]:
    """Loss and gradients of the learnable parameters after one backward pass over these rows."""
    image, target = batch()
    _logits, losses = model(image=image[rows], strong=image.flip(3)[rows], target=target[rows], epoch=3)
    loss = sum(losses.values())
    loss.backward()
    names = (name.removeprefix("module.") for name, _ in model.named_parameters())
    found = {name: p.grad for name, p in zip(names, model.parameters(), strict=True) if p.grad is not None}
    return {"loss": loss.detach(), **found}


def contrast_of(rows: slice) -> dict[str, Tensor]:
    """CKD's loss of these rows gathered from all processes, and the gradient at the rows of this one."""
    image, _target = batch()
    student = image.flatten(1)[rows].clone().requires_grad_()
    teacher = image.flatten(1)[rows].flip(1)
    loss = ckd_loss(*gather_rows(student, teacher), 0.2)
    loss.backward()
    return {"loss": loss.detach(), "rows": student.grad}


def worker(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    result = {"unequal": contrast_of(UNEQUAL[rank])}
    for method, way in CASES:
        model = DistributedDataParallel(distiller(method, way == "gathered"))
        values = step(model, slice(4 * rank, 4 * rank + 4))
        dist.all_reduce(values["loss"])
        values["loss"] /= 2
        result[f"{method} {way}"] = values
    torch.save(result, Path(folder) / f"{rank}.pt")
    dist.barrier()  # gloo's threads abort a process whose peer is gone
    dist.destroy_process_group()
    os._exit(0)  # they may outlive the group, and abort an interpreter that ends before them


def largest_difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert found.keys() == expected.keys()
    return max(((found[key] - value).abs().max() / value.abs().max()).item() for key, value in expected.items())


def main(folder: str) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    mp.spawn(worker, (folder,), nprocs=2)
    first, second = (torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(2))
    whole = contrast_of(slice(None))
    # Each rank's gradient is a sum over the two ranks, of which training takes the mean.
    split = {
        "loss": (first["unequal"]["loss"] + second["unequal"]["loss"]) / 2,
        "rows": torch.cat([first["unequal"]["rows"], second["unequal"]["rows"]]) / 2,
    }
    differences = {"unequal": largest_difference(split, whole)}
    for method, way in CASES:
        expected = step(distiller(method, gather=True), slice(None))
        key = f"{method} {way}"
        differences[key] = max(largest_difference(rank[key], expected) for rank in (first, second))
    print(json.dumps(differences))


if __name__ == "__main__":
    main(sys.argv[1])
