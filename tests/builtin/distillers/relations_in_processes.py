"""Two steps on whole batches in one process and, halved, in two; print how far losses and gradients differ.

Run as ``python tests/builtin/distillers/relations_in_processes.py FOLDER``; the last line is JSON. Real processes.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mdistiller_icc.builtin.config import CFG
from mdistiller_icc.builtin.distillers import distiller_dict

METHODS = ("RKD", "SP", "PKT", "CRD")
IMAGES = 16


class Net(nn.Module):
    """Without batch norm, whose statistics would differ between half and whole batches."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, width), nn.Tanh())
        self.fc = nn.Linear(width, 5)

    def forward(self, image: Tensor) -> tuple[Tensor, dict[str, object]]:
        pooled = self.body(image)
        return self.fc(pooled), {"pooled_feat": pooled, "feats": [pooled[:, :, None, None]]}


def batch(step: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(step)
    index = torch.randperm(IMAGES, generator=generator)[:8]
    return {
        "image": torch.randn(8, 3, 4, 4, dtype=torch.float64, generator=generator),
        "target": torch.randint(5, (8,), generator=generator),
        "index": index,
        "contrastive_index": torch.cat([index[:, None], torch.randint(IMAGES, (8, 6), generator=generator)], dim=1),
    }


def distiller(method: str) -> nn.Module:
    torch.manual_seed(1)
    return distiller_dict[method](Net(6), Net(7), CFG.clone(), *[IMAGES] * (method == "CRD")).double().train()


def steps(model: nn.Module, rows: slice) -> dict[str, Tensor]:
    """Losses and gradients of two steps over these rows, with no update of the weights between."""
    found = {}
    for step in range(2):
        model.zero_grad()
        _logits, losses = model(**{name: value[rows] for name, value in batch(step).items()})
        loss = sum(losses.values())
        loss.backward()
        found[f"{step} loss"] = loss.detach()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                found[f"{step} {name.removeprefix('module.')}"] = parameter.grad.clone()
    return found


def worker(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    result = {}
    for method in METHODS:
        values = steps(DistributedDataParallel(distiller(method)), slice(4 * rank, 4 * rank + 4))
        for step in range(2):
            dist.all_reduce(values[f"{step} loss"])
            values[f"{step} loss"] /= 2
        result[method] = values
    torch.save(result, Path(folder) / f"{rank}.pt")
    dist.barrier()  # gloo's threads abort a process whose peer is gone
    dist.destroy_process_group()
    os._exit(0)  # they may outlive the group, and abort an interpreter that ends before them


def main(folder: str) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    mp.spawn(worker, (folder,), nprocs=2)
    ranks = [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(2)]
    differences = {}
    for method in METHODS:
        expected = steps(distiller(method), slice(None))
        for rank in ranks:
            assert rank[method].keys() == expected.keys()
        differences[method] = max(
            ((rank[method][key] - value).abs().max() / value.abs().max()).item()
            for rank in ranks
            for key, value in expected.items()
        )
    print(json.dumps(differences))


if __name__ == "__main__":
    main(sys.argv[1])
