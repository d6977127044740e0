"""What parity of a model means, measured on any host: keys, shapes, and outputs on seeded weights and images.

Measured in float64, where rounding is far below any real difference; ``compare`` does it live in float32.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdistiller_icc.errors import UserError

IMAGES = {"cifar": (2, 32, 100), "tiny_imagenet": (2, 64, 200), "imagenet": (1, 224, 1000)}
"""Per data set: images in the batch, pixels a side, classes."""

STAGE_CHANNELS = "mdistiller's list is wrong or one short; ours has one entry per feature"
DIFFERENCES = {
    ("cifar/ResNet18", "stage_channels"): STAGE_CHANNELS,
    ("cifar/ResNet50", "stage_channels"): STAGE_CHANNELS,
    ("tiny_imagenet/ResNet18", "stage_channels"): STAGE_CHANNELS,
    ("imagenet/ResNet18", "stage_channels"): STAGE_CHANNELS,
    ("imagenet/ResNet34", "stage_channels"): STAGE_CHANNELS,
    ("imagenet/ResNet50", "stage_channels"): STAGE_CHANNELS,
    ("imagenet/ResNet101", "stage_channels"): STAGE_CHANNELS,
    ("tiny_imagenet/MobileNetV2", "shapes.pooled_feat"): "mdistiller leaves it (B, 1280, 1, 1); ours is (B, 1280)",
}
"""Where the built-in host differs from the real one on purpose, upstream behaviour asked for or not."""


def names(host: Any) -> list[str]:
    return [
        f"{dataset}/{name}" for dataset in IMAGES for name in host.own(getattr(host.models, f"{dataset}_model_dict"))
    ]


def factory(host: Any, name: str) -> Callable[..., nn.Module]:
    dataset, architecture = name.split("/")
    entry = getattr(host.models, f"{dataset}_model_dict")[architecture]
    return entry[0] if isinstance(entry, tuple) else entry


def create(host: Any, name: str, dtype: torch.dtype) -> nn.Module:
    """The model with weights that depend on their key and shape alone."""
    dataset = name.split("/")[0]
    # mdistiller's ImageNet factories have their thousand classes fixed.
    arguments = {} if dataset == "imagenet" else {"num_classes": IMAGES[dataset][2]}
    model = host.build(factory(host, name), **arguments).to(dtype)
    weights = {key: seeded(key, value) for key, value in model.state_dict().items()}
    for key, value in weights.items():
        if value.dim() == 1 and key.endswith("weight"):
            # A few loud channels, so that ReLU6 has something to cut.
            value[::32] = 4
    model.load_state_dict(weights)
    return model


def seeded(key: str, value: Tensor) -> Tensor:
    """Numbers for one entry of a state dict, of a size that keeps activations alive through a hundred layers."""
    if not value.is_floating_point():
        return torch.zeros_like(value)
    # RandomState's stream is frozen for good, unlike torch's and numpy's newer generators.
    uniform = np.random.RandomState(zlib.crc32(key.encode())).random_sample(tuple(value.shape))
    if value.dim() > 1:
        fan_in = value.numel() // value.shape[0]
        numbers = (2 * uniform - 1) * math.sqrt(6 / fan_in)
    elif key.endswith("weight"):
        numbers = 0.4 + 0.6 * uniform
    elif key.endswith("running_var"):
        numbers = 0.5 + uniform
    else:
        numbers = 0.2 * uniform - 0.1
    return torch.from_numpy(numbers).to(value.dtype)


def batch(name: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    count, side, classes = IMAGES[name.split("/")[0]]
    draw = np.random.RandomState(zlib.crc32(name.encode()))
    image = (draw.random_sample((count, 3, side, side)) - 0.5) * 4
    return torch.from_numpy(image).to(dtype), torch.from_numpy(draw.randint(0, classes, count)).long()


def tensors(output: tuple[Tensor, dict[str, Any]]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor a model hands out, with its name."""
    logits, features = output
    yield "logits", logits
    yield "pooled_feat", features["pooled_feat"]
    for kind in ("feats", "preact_feats"):
        for number, feature in enumerate(features.get(kind, [])):
            yield f"{kind}.{number}", feature


def run(model: nn.Module, name: str, mode: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """What a model computes in ``"eval"`` or ``"train"`` mode; training adds gradients and running statistics."""
    image, target = batch(name, dtype)
    model.train(mode == "train")
    if mode == "eval":
        with torch.no_grad():
            return dict(tensors(model(image)))
    logits, features = output = model(image)
    found = dict(tensors(output))
    loss = F.cross_entropy(logits, target) + sum(f.square().mean() for f in features["feats"])
    first, *_ = parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss, parameters)
    found["gradient of first weight"] = gradients[0].view_as(first)
    found["gradient norms"] = torch.stack([g.norm() for g in gradients])
    found["running statistics"] = torch.cat([b.to(dtype).flatten() for b in model.buffers()])
    return {key: value.detach() for key, value in found.items()}


def fingerprint(value: Tensor) -> list[float]:
    """Mean, standard deviation, a fixed random projection, first and last number of a tensor."""
    flat = value.flatten().double()
    direction = torch.from_numpy(np.random.RandomState(0).random_sample(flat.numel()) - 0.5)
    numbers = [flat.mean(), flat.std(), flat @ direction / math.sqrt(flat.numel()), flat[0], flat[-1]]
    return [float(f"{number.item():.12g}") for number in numbers]


def named(model: nn.Module, question: str) -> list[Any] | None:
    """A model's answer to ``get_…``, modules as their names; None where it has none."""
    try:
        answer = getattr(model, question)()
    except (AttributeError, NotImplementedError, UserError):
        return None
    found = {id(module): name for name, module in model.named_modules()}
    return [found.get(id(part), part) for part in answer]


def measure_one(host: Any, name: str) -> dict[str, Any]:
    model = create(host, name, torch.float64)
    keys = [f"{key} {tuple(value.shape)}" for key, value in model.state_dict().items()]
    facts: dict[str, Any] = {
        "parameters": sum(p.numel() for p in model.parameters()),
        # In order, since an optimiser's saved state counts parameters instead of naming them.
        "keys": hashlib.sha256("\n".join(keys).encode()).hexdigest(),
        "feat_modules": named(model, "get_feat_modules"),
        "bn_before_relu": named(model, "get_bn_before_relu"),
        "stage_channels": named(model, "get_stage_channels"),
    }
    try:
        found = {mode: run(model, name, mode, torch.float64) for mode in ("eval", "train")}
    except RuntimeError as error:
        return {**facts, "error": str(error)}
    facts["shapes"] = {key: list(value.shape) for key, value in found["eval"].items()}
    for mode, values in found.items():
        facts[mode] = {key: fingerprint(value) for key, value in values.items()}
    return facts


def measure(host: Any) -> dict[str, Any]:
    """What every model of a host computes."""
    return {name: measure_one(host, name) for name in names(host)}


def numbers_apart(recorded: list[float], measured: list[float]) -> float:
    """The largest difference between two fingerprints, relative to the size of the tensor's numbers."""
    scale = abs(recorded[0]) + recorded[1]
    apart = max(abs(a - b) for a, b in zip(recorded, measured, strict=True))
    return apart / scale if scale else apart


def apart(recorded: dict[str, Any], measured: dict[str, Any]) -> tuple[float, list[str]]:
    """The largest relative difference between two measurements, and the facts that are not the same.

    What the recorded host lacks (a method, a feature, an output because it crashes) is not compared.
    """
    largest, unequal = 0.0, []
    for fact, value in recorded.items():
        if fact in ("eval", "train"):
            largest = max([largest, *(numbers_apart(value[key], measured[fact][key]) for key in value)])
        elif fact == "shapes":
            unequal += [f"shapes.{key}" for key in value if value[key] != measured[fact][key]]
        elif value is not None and fact != "error" and value != measured[fact]:
            unequal.append(fact)
    return largest, unequal


def compare(recorded: Any, measured: Any, name: str) -> float | None:
    """The largest difference, live and in float32, of any number both hosts compute, relative to its tensor's largest.

    None where the first host cannot compute anything.
    """
    largest = 0.0
    models = [create(host, name, torch.float32) for host in (recorded, measured)]
    for mode in ("eval", "train"):
        try:
            theirs = run(models[0], name, mode, torch.float32)
        except RuntimeError:
            return None
        ours = run(models[1], name, mode, torch.float32)
        for key, value in theirs.items():
            difference = (value.flatten() - ours[key].flatten()).abs().max()
            largest = max(largest, (difference / value.abs().max().clamp_min(1e-30)).item())
    return largest


def table(recorded: dict[str, Any], real: Any, builtin: Any) -> str:
    """The documentation's page on model parity, measured now on both hosts."""
    rows = []
    for name, facts in recorded["measured"].items():
        float64, unequal = apart(facts, measure_one(builtin, name))
        float32 = compare(real, builtin, name)
        if undeclared := [fact for fact in unequal if (name, fact) not in DIFFERENCES]:
            raise SystemExit(f"{name} differs in {', '.join(undeclared)}")
        figures = ["crashes there"] * 2 if float32 is None else [f"{float64:.1e}", f"{float32:.1e}"]
        rows.append(f"| {name} | {facts['parameters']:,} | {figures[0]} | {figures[1]} |")
    differences = [f"| {name} | {fact} | {why} |" for (name, fact), why in DIFFERENCES.items()]
    return PAGE.format(commit=recorded["commit"], rows="\n".join(rows), differences="\n".join(differences))


PAGE = """# Models: parity with mdistiller

The built-in host against mdistiller {commit:.7}, with `COMPAT.UPSTREAM True`: the same weights, the same images.
Compared are:

- logits, pooled feature, every feature and pre-activation feature, in eval and in train mode;
- after a training pass, every gradient's norm and the running statistics.

Parameter counts, state-dict keys, shapes and order are equal for all networks. The columns:

- **recorded**: the largest difference from the committed figures (float64, kept to 12 digits), relative to the tensor's
  mean plus standard deviation.
- **live**: the largest difference of any number, relative to the tensor's largest, computed side by side in float32.

```
python tests/parity/record.py --root PATH/TO/mdistiller --only models            # the committed figures
python tests/parity/record.py --root PATH/TO/mdistiller --only models --table    # this page
python -m pytest tests/parity                                                    # holds the built-in host to them
MDISTILLER_ROOT=PATH/TO/mdistiller python -m pytest tests/parity                 # and runs both side by side
```

| model | parameters | recorded | live |
|---|---|---|---|
{rows}

## Different on purpose

Where mdistiller runs at all, only the first row changes what training computes. `COMPAT.UPSTREAM True` brings it back.

| model | what | why |
|---|---|---|
| wrn_* | running statistics in training | mdistiller normalises three features twice, so that the statistics \
move twice a step; ours move once |
{differences}
| tiny_imagenet/ShuffleV2 | 64-pixel images | mdistiller's pooling has a fixed size and the classifier does not fit |
| wrn_*, resnet*, MobileNetV2, ShuffleV1, ShuffleV2, MobileNetV1 | other image sizes | pooling is over the whole map; \
mdistiller crashes or folds space into the batch |
| both MobileNetV2 | preact_feats | not there in mdistiller; ours are the stages' outputs before a ReLU |
| ShuffleV1, tiny_imagenet/MobileNetV2 | get_stage_channels | not there in mdistiller |
| tiny_imagenet/MobileNetV2 | get_bn_before_relu | not there in mdistiller |
| tiny_imagenet/MobileNetV2, imagenet/* | get_feat_modules | not there in mdistiller |
| imagenet/MobileNetV1 | num_classes, pretrained | mdistiller ignores both; ours honours the first, refuses the second |
"""
