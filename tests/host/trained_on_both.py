"""Trains the same pair with the same seed on both hosts and prints how far apart they are, as JSON.

Run by test_both_hosts.py, with mdistiller importable.
"""

from __future__ import annotations

import json
import os
from typing import Any

import torch
from torch import Tensor

from mdistiller_icc import host

STEPS = {torch.float32: 1, torch.float64: 6}  # float32 drifts apart within a few steps, as any two kernels make it


def train(chosen: host.Host, method: str, dtype: torch.dtype) -> tuple[dict[str, Tensor], Tensor]:
    """The student's first weights, and the losses of the steps as ``(steps, 2)``."""
    torch.manual_seed(0)
    student, teacher = (chosen.cifar_model_dict[name][0](num_classes=10).to(dtype) for name in ("resnet8", "resnet14"))
    first = {key: value.clone() for key, value in student.state_dict().items()}
    distiller = chosen.distiller_dict[method](student, teacher, chosen.CFG).train()
    optimizer = torch.optim.SGD(distiller.get_learnable_parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    losses = []
    for step in range(STEPS[dtype]):
        image, target = torch.randn(8, 3, 32, 32, dtype=dtype), torch.randint(10, (8,))
        _, parts = distiller(image=image, target=target, epoch=1 + step)
        optimizer.zero_grad()
        sum(parts.values()).backward()
        optimizer.step()
        losses.append(torch.stack([parts[name].detach().squeeze() for name in ("loss_ce", "loss_kd")]))
    return first, torch.stack(losses)


torch.set_num_threads(1)
both = []
for name in host.NAMES:
    os.environ["MDISTILLER_ICC_HOST"] = name
    both.append(host.get_host.__wrapped__())
told: dict[str, Any] = {}
for method in ("KD", "DKD", "AT", "SP"):
    for dtype in STEPS:
        (first, ours), (theirs_first, theirs) = (train(chosen, method, dtype) for chosen in both)
        apart = ((ours - theirs).abs() / theirs.abs()).max(1).values
        told[f"{method} {str(dtype).removeprefix('torch.')}"] = {
            "same start": all(torch.equal(first[key], theirs_first[key]) for key in theirs_first),
            "apart": apart.max().item(),
        }
print(json.dumps(told))
