"""What an unmodified mdistiller script needs around it: the plugin, our teachers, and no GPU if there is none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn
from yacs.config import CfgNode

from mdistiller_icc.config import load_config
from mdistiller_icc.errors import UserError
from mdistiller_icc.host import Host
from mdistiller_icc.plugin import register
from mdistiller_icc.teachers import resolve, store


def prepare() -> Host:
    """Register in the host and make its configuration read files as ours does; returns the host.

    Without a GPU, ``.cuda()`` on tensors and modules returns them as they are: mdistiller calls it everywhere.
    """
    if not torch.cuda.is_available():
        torch.Tensor.cuda = nn.Module.cuda = lambda self, *_, **__: self  # type: ignore[method-assign, assignment]
        print("no GPU: .cuda() does nothing")
    host = register().host
    LaunchedConfig.host = host
    object.__setattr__(host.CFG, "__class__", LaunchedConfig)  # yacs takes a plain assignment for a new key
    return host


class LaunchedConfig(CfgNode):
    """mdistiller's ``CFG`` with our way of merging, and with our teachers chosen when it is frozen.

    Numbers are widened, mistakes are told in one line, and ``DISTILLER.TEACHER_SEED`` and
    ``DISTILLER.TEACHER_CKPT`` re-point the checkpoint that mdistiller's registry names for the teacher.
    """

    host: Host

    def merge_from_file(self, cfg_filename: str) -> None:
        self._take(load_config(self, cfg_filename))

    def merge_from_list(self, cfg_list: Sequence[str] | None) -> None:
        self._take(load_config(self, None, cfg_list or ()))

    def freeze(self) -> None:
        models, node = self.host.models(self.DATASET.TYPE), self.DISTILLER
        resolve.architecture(models, node.STUDENT, "DISTILLER.STUDENT", self.DATASET.TYPE)
        if node.TYPE != "NONE":
            resolve.architecture(models, node.TEACHER, "DISTILLER.TEACHER", self.DATASET.TYPE)
        stored = store.parse(node.TEACHER)
        if node.TEACHER in models and self.DATASET.TYPE != "imagenet":
            factory, file = models[node.TEACHER]
            if node.TEACHER_CKPT:
                file = node.TEACHER_CKPT
            elif stored:
                file = str(store.path(self.DATASET.TYPE, stored, node.TEACHER_SEED))
            models[node.TEACHER] = (factory, file)
        super().freeze()

    def clone(self) -> CfgNode:
        return CfgNode(super().clone())

    def _take(self, merged: CfgNode) -> None:
        for key, value in merged.items():
            self[key] = value


@contextlib.contextmanager
def told_as_user_error() -> Iterator[None]:
    """A teacher the script does not find is the user's to train: say with which command."""
    try:
        yield
    except FileNotFoundError as error:
        file = Path(str(error.filename))
        teacher = store.parse(file.stem.partition("_seed")[0])
        if teacher is None or file.parent.parent != store.root():
            raise
        seed = file.stem.partition("_seed")[2]
        trained = store.command(file.parent.name, teacher, int(seed) if seed else None)
        raise UserError(f"{file}: no such teacher; train it: {trained}") from None
