"""What parity of a method means, measured on any host: losses and gradients on seeded networks, weights and images.

Measured in float64, where rounding is far below any real difference; ``compare`` does it live in float32.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import unittest.mock
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PAIRS = {"same": ("resnet14", "resnet8"), "mixed": ("vgg8", "MobileNetV2")}
"""Teacher and student: of one family, and of two with other channels, resolutions and no common stage."""

METHODS = ["NONE", "KD", "AT", "OFD", "RKD", "FITNET", "KDSVD", "CRD", "NST", "PKT", "SP", "VID", "REVIEWKD", "DKD"]
CLASSES, BATCH, IMAGES, EPOCH = 10, 6, 48, 3

# What the real host cannot find out by itself.
OPTIONS = {
    "same/CRD": ["CRD.FEAT.STUDENT_DIM", 64, "CRD.FEAT.TEACHER_DIM", 64, "CRD.NCE.K", 24],
    "mixed/CRD": ["CRD.FEAT.STUDENT_DIM", 1280, "CRD.FEAT.TEACHER_DIM", 512, "CRD.NCE.K", 24],
    "same/REVIEWKD": ["REVIEWKD.IN_CHANNELS", [16, 32, 64, 64], "REVIEWKD.OUT_CHANNELS", [16, 32, 64, 64]],
    "mixed/REVIEWKD": [
        *("REVIEWKD.SHAPES", [1, 2, 4, 8, 16], "REVIEWKD.OUT_SHAPES", [1, 4, 4, 8, 16]),
        *("REVIEWKD.IN_CHANNELS", [12, 16, 48, 160, 1280], "REVIEWKD.OUT_CHANNELS", [128, 256, 512, 512, 512]),
    ],
}

TOLERANCE = 1e-6
TOLERANCES = {"KDSVD": 1e-4}
"""Of the recorded figures; mdistiller's KDSVD decomposes in float32 whatever it is given."""


def names() -> list[str]:
    return [f"{pair}/{method}" for pair in PAIRS for method in METHODS] + ["optimizer/DOT"]


def tolerance(name: str) -> float:
    return TOLERANCES.get(name.split("/")[1], TOLERANCE)


@contextlib.contextmanager
def without_cuda(host: Any) -> Iterator[None]:
    """Make ``.cuda()`` do nothing where there is none: the real host calls it in constructors."""
    with contextlib.ExitStack() as patches:
        if host.name == "mdistiller" and not torch.cuda.is_available():
            for kind in (torch.Tensor, nn.Module):
                patches.enter_context(unittest.mock.patch.object(kind, "cuda", lambda self, *_, **__: self))
        yield


def create(host: Any, name: str, dtype: torch.dtype) -> nn.Module:
    """The method around its pair of networks, every weight and buffer seeded by its place."""
    pair, method = name.split("/")
    # float32 first: the real host probes its networks with a float32 image
    teacher, student = (_network(host, architecture) for architecture in PAIRS[pair])
    cfg = host.cfg()
    cfg.merge_from_list(OPTIONS.get(name, []))
    factory = host.distillers.distiller_dict[method]
    arguments = [student] if method == "NONE" else [student, teacher, cfg] + [IMAGES] * (method == "CRD")
    distiller = factory(*arguments).to(dtype)
    for network in (student, teacher):
        _seed(network)
    with torch.no_grad():
        for position, (key, value) in enumerate(extras(distiller)):
            kind = "weight" if key.endswith("weight") else "other"
            value.copy_(seeded(f"{position}.{kind}", value))
    return distiller.train()


def _network(host: Any, architecture: str) -> nn.Module:
    network = host.build(host.models.cifar_model_dict[architecture][0], num_classes=CLASSES)
    _seed(network)
    return network


def _seed(network: nn.Module) -> None:
    network.load_state_dict({key: seeded(key, value) for key, value in network.state_dict().items()})


def seeded(key: str, value: Tensor) -> Tensor:
    """Numbers for one entry of a state dict that depend on its key and shape alone."""
    if not value.is_floating_point():
        return torch.zeros_like(value)
    # RandomState's stream is frozen for good, unlike torch's and numpy's newer generators.
    uniform = np.random.RandomState(zlib.crc32(key.encode())).uniform(-1, 1, tuple(value.shape))
    if value.dim() > 1:
        numbers = uniform * math.sqrt(6 * value.shape[0] / value.numel())
    elif key.endswith("weight"):
        numbers = 0.7 + 0.3 * uniform
    elif key.endswith("running_var"):
        numbers = 1 + 0.5 * uniform
    else:
        numbers = 0.1 * uniform
    return torch.from_numpy(numbers).to(value.dtype)


def extras(distiller: nn.Module) -> list[tuple[str, Tensor]]:
    """What the method adds to its networks: parameters that learn, then memories."""
    own = [
        (key, value)
        for key, value in distiller.named_parameters()
        if value.requires_grad and not key.startswith(("student.", "teacher."))
    ]
    return own + [(key, value) for key, value in distiller.named_buffers() if value.shape[:1] == (IMAGES,)]


def batch(step: int, dtype: torch.dtype) -> dict[str, Any]:
    draw = np.random.RandomState(step)
    image = (draw.random_sample((BATCH, 3, 32, 32)) - 0.5) * 4
    index = draw.permutation(IMAGES)[:BATCH]
    candidates = np.concatenate([index[:, None], draw.randint(0, IMAGES, (BATCH, 24))], axis=1)
    return {
        "image": torch.from_numpy(image).to(dtype),
        "target": torch.from_numpy(draw.randint(0, CLASSES, BATCH)).long(),
        "index": torch.from_numpy(index).long(),
        "contrastive_index": torch.from_numpy(candidates).long(),
        "epoch": EPOCH,
    }


def run(distiller: nn.Module, dtype: torch.dtype) -> dict[str, list[float]]:
    """Losses and gradients' norms over two batches (the second sees what the first left in a memory)."""
    student = [p for p in distiller.student.parameters() if p.requires_grad]
    added = [value for _, value in extras(distiller) if value.requires_grad]
    found: dict[str, list[float]] = {}
    for step in range(2):
        _, losses = distiller(**batch(step, dtype))
        for name, loss in losses.items():
            name = name.removeprefix("loss_")
            gradients = torch.autograd.grad(loss.sum(), student + added, retain_graph=True, allow_unused=True)
            found.setdefault(f"loss_{name}", []).append(loss.sum().item())
            found.setdefault(f"gradient_{name}", []).append(_norm(gradients[: len(student)]))
            if added and name == "kd":
                found.setdefault("gradient_added", []).append(_norm(gradients[len(student) :]))
    return {key: [float(f"{value:.12g}") for value in values] for key, values in found.items()}


def _norm(gradients: tuple[Tensor | None, ...]) -> float:
    return torch.stack([g.norm() for g in gradients if g is not None]).norm().item()


def measure_one(host: Any, name: str, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """The figures of one method, or ``{"error": …}`` where the host cannot compute them."""
    with without_cuda(host):
        if name == "optimizer/DOT":
            return dot(host, dtype)
        try:
            distiller = create(host, name, dtype)
            added = sum(value.numel() for _, value in extras(distiller) if value.requires_grad)
            return {"added": added, **run(distiller, dtype)}
        except (AttributeError, KeyError, IndexError, NotImplementedError, RuntimeError) as error:
            return {"error": f"{type(error).__name__}: {error}".splitlines()[0]}


def dot(host: Any, dtype: torch.dtype) -> dict[str, list[float]]:
    """Parameters after each of four steps: one that both losses reach, one of either, and one they take turns at."""
    if host.name == "mdistiller":
        optimizer_class = importlib.import_module("mdistiller.engine.dot").DistillationOrientedTrainer
    else:
        optimizer_class = importlib.import_module("mdistiller_icc.builtin.dot").DOT
    parameters = [torch.full((1,), float(n), dtype=dtype, requires_grad=True) for n in range(1, 5)]
    both, task, kd, turns = parameters
    optimizer = optimizer_class(parameters, lr=0.05, momentum=0.825, momentum_kd=0.975, weight_decay=0.01)
    found: dict[str, list[float]] = {}
    for step in range(4):
        optimizer.zero_grad(set_to_none=True)
        ((both - kd).square() + (turns.sin() if step % 2 else 0)).sum().backward()
        optimizer.step_kd()
        optimizer.zero_grad(set_to_none=True)
        (both * task + (turns.cos() if step > 1 else 0)).sum().backward()
        optimizer.step()
        found[f"step {step + 1}"] = [float(f"{p.item():.12g}") for p in parameters]
    return found


def measure(host: Any) -> dict[str, Any]:
    """The figures of every method of a host."""
    return {name: measure_one(host, name) for name in names()}


def apart(recorded: dict[str, Any], measured: dict[str, Any]) -> float:
    """The largest difference between two measurements, relative to the recorded figure."""
    assert recorded.keys() == measured.keys(), sorted(recorded.keys() ^ measured.keys())
    largest = 0.0
    for key, values in recorded.items():
        theirs, ours = np.atleast_1d(values), np.atleast_1d(measured[key])
        largest = max(largest, float(np.max(np.abs(theirs - ours) / np.maximum(np.abs(theirs), 1e-9))))
    return largest


def compare(real: Any, builtin: Any, name: str) -> float | None:
    """The largest difference live and in float32; None where the real host cannot compute the method."""
    theirs, ours = (measure_one(host, name, torch.float32) for host in (real, builtin))
    return None if "error" in theirs else apart(theirs, ours)


def table(recorded: dict[str, Any], real: Any, builtin: Any) -> str:
    """The documentation's page on method parity, measured now on both hosts."""
    rows = []
    for name, facts in recorded["measured"].items():
        if "error" in facts:
            figures = ["crashes there"] * 2
        else:
            figures = [f"{apart(facts, measure_one(builtin, name)):.1e}", f"{compare(real, builtin, name):.1e}"]
        rows.append(f"| {name} | {figures[0]} | {figures[1]} |")
    pairs = "; ".join(f"*{kind}* is {teacher} → {student}" for kind, (teacher, student) in PAIRS.items())
    return PAGE.format(commit=recorded["commit"], rows="\n".join(rows), pairs=pairs)


PAGE = """# Methods: parity with mdistiller

The built-in host against mdistiller {commit:.7}, with `COMPAT.UPSTREAM True`: the same networks, the same weights
(those a method adds included), the same images. The pairs: {pairs}.

Compared are, on two batches one after the other:

- both losses;
- the norm of each loss's gradient, in the student and in what the method adds;
- how many learnable numbers the method adds.

Of the DOT optimiser it is the parameters after each of four steps.

The columns:

- **recorded**: the largest difference from the committed figures, relative to the figure, computed in float64.
  mdistiller's KDSVD decomposes in float32; its CRD, PKT and VID add or store constants slightly otherwise.
- **live**: the same, computed side by side in float32. PKT's is rounding of a sum that cancels, in both hosts.

```
python tests/parity/record.py --root PATH/TO/mdistiller --only methods            # the committed figures
python tests/parity/record.py --root PATH/TO/mdistiller --only methods --table    # this page
python -m pytest tests/parity                                                     # holds the built-in host to them
MDISTILLER_ROOT=PATH/TO/mdistiller python -m pytest tests/parity                  # and runs both side by side
```

| pair/method | recorded | live |
|---|---|---|
{rows}

## Different on purpose

In this group `COMPAT.UPSTREAM True` brings back what mdistiller does.

| method | mdistiller | built-in host |
|---|---|---|
| FITNET, VID | find shapes by running noise through both networks in train mode, which moves their batch norms' \
statistics | a look in eval mode, which leaves no trace |
| VID | the variances are neither learned, saved nor moved | they are parameters |
| OFD | the teacher is in train mode, as in its authors' code: it normalises by the batch, its statistics drift | \
eval mode, as for every method; see below |
| AT, NST, KDSVD, VID | stage lists of different length are paired in order, the rest dropped | paired by \
resolution; refused where no resolution is shared |
| OFD | counted from the last stage | the same for lists of one length, else paired by resolution |
| REVIEWKD | `MAX_MID_CHANNEL` is ignored, the fused width is at most 512 | honoured |

This group needs no switch: mdistiller crashes, returns NaN, or returns the same up to rounding.

| method | mdistiller | built-in host |
|---|---|---|
| DKD | NaN where a probability underflows; leaks the target into the rest at logits beyond 1000·T | computed from \
log-probabilities, finite |
| KDSVD | crashes where stages differ in width | the larger is pooled |
| NST | a (B, C, C', H·W) tensor | matrix products, one matrix per image |
| CRD | gathers (B, K + 1, D) from both memories, waits for the device five times a step; the memory differs between \
devices | one matrix product where that moves less; no wait; one memory for all processes |
| REVIEWKD, CRD | shapes and channels are settings whose defaults fit one pair | follow from the networks; those that \
are set are checked |
| REVIEWKD | crashes on a last batch of one image | it joins the batch before it, as for every method |
| OFD | channels from `get_stage_channels`, wrong or missing in several networks; margins of the wrong stages where a \
list is longer | both from the networks |
| FITNET, VID | `INPUT_SIZE` is 32×32 whatever the data set | follows from `DATASET.TYPE` unless set |
| RKD, SP, PKT | relations inside each device's part of the batch | over all processes' rows |
| RKD, PKT | NaN for a batch of one image, or for a feature of zeros | 0 and finite |
| AT | a negative activation has the sign of its power (odd `AT.P`) | its size, as in the paper |
| DKD, REVIEWKD | a warm-up of 0 epochs divides by zero | no warm-up |
| DOT | one parameter group; a look-up in a list per parameter | any number; a few launches per step |
| NONE | the loss is called `ce` | `loss_ce` |

### OFD's teacher

OFD's authors and mdistiller keep the teacher in train mode. We depart from both: a teacher here is frozen for every
method. So all students of one teacher learn from the same network, and a resumed run from the one it began with.

Measured on digits, resnet20 → resnet8, 8 epochs each, seeds 0 to 2, test top-1 in %, last epoch:

| seed | student, eval mode | student, train mode | teacher before | teacher after a run in train mode |
|---|---|---|---|---|
| 0 | 97.22 | 97.78 | 99.72 | 99.72 |
| 1 | 96.67 | 95.83 | 99.17 | 98.89 |
| 2 | 96.67 | 96.11 | 98.61 | 98.61 |

- Train mode changes the student by −0.28 points, 95 % interval [−2.10, +1.55] over three seeds. No effect is shown, and
  none below two points is excluded.
- The teacher's own accuracy drifts by one test image at most.
- Longer runs and larger images were not measured.

```
OPTIONS="DATASET.TYPE digits SOLVER.EPOCHS 8 SOLVER.EVAL_EVERY 100 SOLVER.BATCH_SIZE 64 SOLVER.LR 0.05
         SOLVER.SCHEDULE cosine SOLVER.LR_DECAY_STAGES [] SOLVER.WEIGHT_DECAY 0.0005"
python tools/train_teacher.py --seed 0 $OPTIONS DISTILLER.TYPE NONE DISTILLER.STUDENT resnet20
python tools/train.py --seed 0 $OPTIONS DISTILLER.TYPE OFD DISTILLER.STUDENT resnet8 COMPAT.UPSTREAM False \\
    DISTILLER.TEACHER resnet20_vanilla DISTILLER.TEACHER_SEED 0    # and with COMPAT.UPSTREAM True; seeds 1 and 2
```
"""
