"""Several processes for one run, as ``torchrun`` starts them: how they find each other, and who speaks for them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import cast

import torch
import torch.distributed as dist
from yacs.config import CfgNode

from mdistiller_icc import ranks
from mdistiller_icc.errors import UserError, shown

UNPACKING = timedelta(days=1)
"""How long the first process may take to download, decode and measure images; torch gives up after 30 minutes."""
SECONDS_TO_TELL = 10
"""How long one process has to tell why the run ends, before the others do; ``torchrun`` then ends them."""


def several() -> int:
    """How many processes there are, as ``torchrun`` tells each of them; 1 without it.

    Raises:
        UserError: what is told is no number.
    """
    if not os.environ.get("WORLD_SIZE", "").strip():
        return 1
    return _number("WORLD_SIZE") or 1


def _number(name: str) -> int:
    told = os.environ[name].strip()
    if not told.isdecimal():
        raise UserError(f"{name} is {shown(told)}, no number: start several processes with torchrun, or unset {name}")
    return int(told)


def refuse(what: str) -> None:
    """Refuse several processes for what is for one.

    Raises:
        UserError: ``torchrun`` has started several.
    """
    if several() > 1:
        with one_voice():
            raise UserError(f"torchrun has started {several()} processes, and {what} is for one: start it with python")


def check(cfg: CfgNode, count: int | None = None) -> None:
    """Look at what several processes cannot do.

    Args:
        count: of the processes; those there are by default.

    Raises:
        UserError: they cannot share a batch evenly, or were to compile.
    """
    count, size = count or several(), cfg.SOLVER.BATCH_SIZE
    if size % count:
        nearby = [near for near in (size - size % count, size - size % count + count) if near]
        raise UserError(
            f"SOLVER.BATCH_SIZE {size}: the whole batch, which {count} processes cannot share evenly; "
            f"try {' or '.join(map(str, nearby))}"
        )
    if cfg.SOLVER.COMPILE and count > 1:
        raise UserError(f"SOLVER.COMPILE True: not for {count} processes; train with SOLVER.COMPILE False")


def check_smallest(images: int, least: int) -> None:
    """Refuse batches of which a process would have too few images.

    Args:
        images: of the smallest batch.
        least: that each process needs.

    Raises:
        UserError: there are not enough.
    """
    if ranks.world() > 1 and images < least * ranks.world():
        raise UserError(
            f"SOLVER.BATCH_SIZE: a batch of an epoch has {images} images for {ranks.world()} processes, and each needs "
            f"{least}; try another size, fewer processes" + (" or SOLVER.SYNC_BN True" if least > 1 else "")
        )


def own_device(name: str) -> str:
    """The device of this process: of the GPUs of its machine the one with its number.

    Raises:
        UserError: one GPU is named for all processes.
    """
    if several() == 1 or name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return name
    if name not in ("auto", "cuda"):
        raise UserError(f"--device {name}: {several()} processes cannot share it; --device cuda gives each its own")
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


@contextlib.contextmanager
def group(device: torch.device) -> Iterator[None]:
    """Join the processes that ``torchrun`` has started, if it has: NCCL between GPUs, gloo between processors."""
    if several() == 1 or dist.is_initialized():
        yield
        return
    if missing := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise UserError(
            f"WORLD_SIZE is {several()}, but {', '.join(missing)} are not set: start several processes with torchrun, "
            "or unset WORLD_SIZE"
        )
    for name in ("RANK", "MASTER_PORT"):
        _number(name)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    except Exception as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):  # another has gone, and knows why
            time.sleep(SECONDS_TO_TELL)
        raise
    # Nobody leaves, and no connection closes, before all are done; after an error torchrun ends them all.
    dist.barrier()
    dist.destroy_process_group()


@contextlib.contextmanager
def first_here() -> Iterator[None]:
    """The first process of every machine does what is inside before the others do, and fills the caches they read."""
    if ranks.world() == 1:
        yield
        return
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    waiting = cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=UNPACKING))
    if not first:
        dist.barrier(waiting)
    try:
        yield
    finally:
        if first:
            dist.barrier(waiting)


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
    """The first process speaks for all: the others print nothing, and tell a mistake only if the first has not."""
    if several() == 1 or os.environ.get("RANK", "0") == "0":
        yield
        return
    with open(os.devnull, "w", encoding="utf-8", errors="replace") as nowhere, contextlib.redirect_stdout(nowhere):
        try:
            try:
                yield
            except UserError:
                time.sleep(SECONDS_TO_TELL)
                raise
        except KeyboardInterrupt:
            raise SystemExit(130) from None
