"""A network's weights in anybody's checkpoint: which of its parts they are, and under which names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mdistiller_icc.errors import UserError
from mdistiller_icc.teachers import checkpoint

CONTAINERS = ("model", "state_dict", "model_state_dict", "net", "student")
"""Where weights lie first of all; any other part of a checkpoint is looked at after these, averages last."""
AVERAGES = {"ema", "swa", "averaged", "average"}
"""Words in the names of parts that hold the weights' average over training."""
WRAPPED = ("module", "_orig_mod")
"""What DataParallel and torch.compile put into names, before any part of them."""
OUTER = ("student", "model", "net", "network", "backbone")
"""What the training code around a network puts before its names."""
COUNT = "num_batches_tracked"
LEFT_BEHIND = ("total_ops", "total_params", "n_averaged")
"""Tensors that profilers (thop) and averages (torch.optim.swa_utils) add to a network."""
NAMED = 4
"""How many of a long list are named."""


@dataclass(frozen=True)
class Fit:
    """One part of a checkpoint, read under one prefix, against a network's own state."""

    state: dict[str, Tensor]
    """What the part has of the network, by the network's names."""
    faults: list[str]
    """Why it is not this network's; empty if it is."""
    said: list[str]
    """What a reader should know of it."""


def load(model: nn.Module, path: str | Path, architecture: str) -> None:
    """Load a file's weights into a network; see `checkpoint.read` and `find`."""
    load_into(model, checkpoint.read(path), path, architecture)


def load_into(model: nn.Module, content: Any, path: str | Path, architecture: str) -> None:
    """Load the weights in a checkpoint's content into a network, all of them or none; see `find`."""
    model.load_state_dict(find(model, content, path, architecture))


def find(
    model: nn.Module, content: Any, path: str | Path, architecture: str, any_shapes: bool = False, without: str = ""
) -> dict[str, Tensor]:
    """The network's state in a checkpoint's content, in any of the field's layouts, by the network's own names.

    The first part that is this network's in names and shapes is taken: `CONTAINERS`, the content itself, other parts,
    averages. What was taken and what was left is printed in one line, unless the file holds nothing else. Counts of
    batches, which torch has since 0.4.1, are 0 where they are missing.

    Args:
        any_shapes: names alone decide, for a network whose number of classes is not known.
        without: a layer whose weights are neither wanted nor returned.

    Raises:
        UserError: there are no weights, or they are of another architecture or number of classes, or not finite.
    """
    own = {key: value for key, value in model.state_dict().items() if not _within(key, without)}
    wrapped = [] if any(word in key.split(".") for key in own for word in WRAPPED) else WRAPPED
    best: Fit | None = None
    for where, named in _parts(content):
        tensors = _unwrapped(named, wrapped)
        if len(tensors) < len(named):
            raise UserError(f"{path}: holds weights under the same names with and without {' or '.join(wrapped)}")
        for root in _roots(tensors):
            fit = _fit(tensors, root, own, any_shapes, without)
            if not fit.faults:
                _refuse_infinite(fit.state, path)
                gone = [word for word in wrapped if any(word in key.split(".") for key in named)]
                _say(path, content, where, [*gone, *root.split(".")[:-1]], fit.said)
                return fit.state
            if best is None or len(fit.state) > len(best.state):
                best = fit
    if best is None:
        raise UserError(f"{path}: holds no network's weights (no 'model', no 'state_dict', no tensors)")
    raise UserError(f"{path}: not a checkpoint of {architecture}: {'; '.join(best.faults)}")


def _parts(content: Any, where: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Every dictionary in a checkpoint that holds named tensors, with its place, in the order they are tried."""
    if not isinstance(content, dict):
        return
    inner = [key for key, value in content.items() if isinstance(key, str) and isinstance(value, dict)]
    known = [key for key in CONTAINERS if key in inner]
    averages = [key for key in inner if _is_average(key)]
    if len(where) < 2:
        for key in known:
            yield from _parts(content[key], (*where, key))
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if tensors:
        yield where, tensors
    if len(where) < 2:
        for key in [*(key for key in inner if key not in known and key not in averages), *averages]:
            yield from _parts(content[key], (*where, key))


def _is_average(key: str) -> bool:
    return not AVERAGES.isdisjoint(key.lower().replace("-", "_").split("_"))


def _unwrapped(named: dict[str, Tensor], wrapped: Sequence[str]) -> dict[str, Tensor]:
    return {".".join(word for word in key.split(".") if word not in wrapped): value for key, value in named.items()}


def _roots(tensors: dict[str, Tensor]) -> list[str]:
    """The prefixes made of `OUTER` words that a part's names have, in the order they are tried."""
    roots = {""}
    for key in tensors:
        root = ""
        for word in key.split(".", 4)[:-1]:
            if word not in OUTER:
                break
            root += f"{word}."
            roots.add(root)
    return sorted(roots, key=lambda root: [OUTER.index(word) for word in root.split(".")[:-1]])


def _within(key: str, layer: str) -> bool:
    return layer != "" and key.startswith(f"{layer}.")


def _fit(tensors: dict[str, Tensor], root: str, own: dict[str, Tensor], any_shapes: bool, without: str) -> Fit:
    inner = {key.removeprefix(root): value for key, value in tensors.items() if key.startswith(root)}
    inner = {key: value for key, value in inner.items() if not _within(key, without)}
    outside = [key for key in tensors if not key.startswith(root)]
    left = [key for key in inner.keys() - own.keys() if key.rpartition(".")[2] in LEFT_BEHIND]
    counts = [key for key in own.keys() - inner.keys() if key.rpartition(".")[2] == COUNT]
    missing = sorted(own.keys() - inner.keys() - set(counts))
    foreign = sorted(inner.keys() - own.keys() - set(left))
    both = own.keys() & inner.keys()
    unlike = sorted(text for key in both if (text := _unlike(key, inner[key], own[key], any_shapes)))
    faults = []
    if missing:
        faults.append(f"{len(missing)} of {len(own)} keys missing, such as '{missing[0]}'")
    if foreign:
        faults.append(f"{len(foreign)} unknown keys, such as {foreign[0]!r:.80}")
    if unlike:
        faults.append(unlike[0] + (f" (and {len(unlike) - 1} more)" if len(unlike) > 1 else ""))
    said = []
    if counts:
        said.append(f"{COUNT} was missing and is 0")
    if unused := sorted(left + outside):
        said.append(f"{len(unused)} other tensor{'s' * (len(unused) > 1)} left, such as {unused[0]!r:.80}")
    state = {key: inner[key] for key in both} | {key: torch.zeros_like(own[key]) for key in counts}
    return Fit(state, faults, said)


def _unlike(key: str, given: Tensor, own: Tensor, any_shapes: bool) -> str | None:
    if given.is_meta or given.is_quantized or given.layout != torch.strided:
        return f"{key} is no plain tensor"
    if given.shape != own.shape and not any_shapes:
        return f"{key} is {tuple(given.shape)}, not {tuple(own.shape)}"
    return None


def _refuse_infinite(state: dict[str, Tensor], path: str | Path) -> None:
    for key, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value.float()).all()):
            raise UserError(f"{path}: '{key}' holds numbers that are not finite; it diverged, or is damaged")


def _say(path: str | Path, content: dict[Any, Any], where: Sequence[str], prefix: list[str], said: list[str]) -> None:
    """Print what was taken and what was left, unless it is a file with weights alone or one of our own."""
    rest, inner = [], content
    for key in where:
        rest += [other for other in inner if other != key]
        inner = inner[key]
    rest += [key for key, value in inner.items() if not isinstance(value, Tensor)]
    if not prefix and not said and rest in ([], ["meta"]):
        return
    taken = [f"weights from {_named(where[-1])}" if where else "weights"]
    if prefix:
        taken.append(f"names without {' and '.join(map(_named, prefix))}")
    if rest:
        rest.sort(key=lambda key: not _is_average(str(key)))
        more = f" and {len(rest) - NAMED} more" if len(rest) > NAMED else ""
        said = [*said, f"not read: {', '.join(map(_named, rest[:NAMED]))}{more}"]
    print(f"{path}: {'; '.join([*taken, *said])}")


def _named(key: Any) -> str:
    return f"{key!r:.80}" + (" (an average over training)" if _is_average(str(key)) else "")
