"""What an unmodified mdistiller script needs around it: the plugin, our teachers, and what its age has made wrong."""

from __future__ import annotations

import contextlib
import functools
import getpass
import importlib.util
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc import plugin, settings
from mdistiller_icc.calling import call
from mdistiller_icc.config import ADDED, load_config
from mdistiller_icc.data import data_set, data_sets
from mdistiller_icc.distillers.base import check_one_view, check_standardised
from mdistiller_icc.engine.generators import seed_everything
from mdistiller_icc.engine.run_folder import flat
from mdistiller_icc.errors import UserError, nearest
from mdistiller_icc.host import Host, lookup
from mdistiller_icc.plugin import Registered, register, with_weights
from mdistiller_icc.shipped import find_config
from mdistiller_icc.teachers import checkpoint, pretrained, resolve, store, weights

ANY_NUMBER = 100
"""Of classes, for a data set of a fork's, of which only the names of a network's weights are looked at."""
NOBODY = "none"
"""The teacher's name in a recipe that has no teacher."""
READ = ("EXPERIMENT.SEED", "DISTILLER.TEACHER_CKPT", "DISTILLER.TEACHER_SEED", "DISTILLER.LOGIT_STAND")
"""Of the settings we add to a host, those that have an effect in its own scripts."""
UNKNOWN = (
    "{}: mdistiller's own scripts do not know it; leave it out, or train with "
    f"MDISTILLER_ICC_HOST=mdistiller {call('train')}"
)


def prepare() -> Host:
    """Register in the host and make its configuration read files as ours does; returns the host."""
    registered = register(verbose=False)
    cfg = registered.host.CFG
    cfg.LOG.WANDB = False  # mdistiller turns it on for everybody, and fails where it is not installed
    torch.serialization.add_safe_globals(checkpoint.HARMLESS)
    try:
        getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name; mdistiller only asks
        os.environ["LOGNAME"] = str(os.getuid())
    LaunchedConfig.registered = registered
    object.__setattr__(cfg, "__class__", LaunchedConfig)  # yacs takes a plain assignment for a new key
    return registered.host


class LaunchedConfig(CfgNode):
    """mdistiller's ``CFG`` with our way of merging; when it is frozen, its names are checked and its teacher is ready.

    Numbers are widened, mistakes are told in one line, ``EXPERIMENT.SEED`` seeds the process, and the registry's
    entry of the teacher is re-pointed to the checkpoint that ``DISTILLER.TEACHER_CKPT`` or ``TEACHER_SEED`` names.
    """

    registered: Registered

    def merge_from_file(self, cfg_filename: str) -> None:
        """Merge a YAML file.

        Raises:
            UserError: it cannot be read, or holds an unknown key or a wrong type.
        """
        self._take(load_config(self, find_config(cfg_filename)))

    def merge_from_list(self, cfg_list: Sequence[str] | None) -> None:
        """Merge ``KEY VALUE`` pairs.

        Raises:
            UserError: a key is unknown, or a value of a wrong type.
        """
        self._take(load_config(self, None, cfg_list or ()))

    def freeze(self) -> None:
        """Check what the configuration names, make its teacher ready, and seed the process.

        Raises:
            UserError: a name is unknown, or mdistiller's scripts cannot do what is asked for.
        """
        host, node, dataset = self.registered.host, self.DISTILLER, self.DATASET.TYPE
        _refuse_unread(self, self.registered.added["config nodes"])
        known = data_sets().get(dataset)
        if known is not None and known.known_to == "us":
            raise UserError(UNKNOWN.format(f"DATASET.TYPE {dataset}"))
        distiller = lookup(host.distiller_dict, node.TYPE, "DISTILLER.TYPE", "distiller")
        check_standardised(self, distiller, host.distiller_dict)
        check_one_view(self, distiller, "mdistiller's own loaders have")
        lookup(host.trainer_dict, self.SOLVER.TRAINER, "SOLVER.TRAINER", "trainer")
        if self.LOG.WANDB and importlib.util.find_spec("wandb") is None:
            raise UserError("LOG.WANDB True: wandb is not installed (pip install wandb)")
        described = plugin.settings(host)
        solver = {key: one for key, one in described["SOLVER"].items() if key != "TYPE"}  # a fork has other optimisers
        settings.check(self, {**described, "SOLVER": solver})
        models = host.cifar_model_dict if known is None else host.models(dataset)  # a fork has data sets of its own
        try:
            resolve.architecture(models, node.STUDENT, "DISTILLER.STUDENT", dataset)
            if node.TYPE not in store.KINDS:
                _point_to_teacher(models, self)
        except UserError as error:
            if known is not None:
                raise
            meant = nearest(dataset, data_sets())
            raise UserError(f"DATASET.TYPE {dataset} is none of ours{meant}; with a fork's own: {error}") from None
        if node.TYPE in store.KINDS and node.TYPE != "NONE":
            node.TEACHER = NOBODY
            bare = resolve.loads_itself(models[node.STUDENT])
            models[NOBODY] = nobody if bare else (nobody, _in_mdistillers_layout({}))
        super().freeze()
        register()  # says which host there is, now that nothing is amiss
        if self.EXPERIMENT.SEED is not None:
            seed_everything(self.EXPERIMENT.SEED)

    def clone(self) -> CfgNode:
        """A plain copy, which merges as yacs does."""
        return CfgNode(super().clone())

    def _take(self, merged: CfgNode) -> None:
        merged.defrost()  # a script may still set things itself
        for key, value in merged.items():
            self[key] = value


def nobody(**_: Any) -> nn.Module:
    """The teacher of recipes that have none; mdistiller's script builds and loads one for all but ``NONE``."""
    return nn.Identity()


def _point_to_teacher(models: dict[str, Any], cfg: CfgNode) -> None:
    name, dataset = cfg.DISTILLER.TEACHER, cfg.DATASET.TYPE
    architecture, _kind, file = resolve.find(models, cfg)
    if file is None:
        resolve.check_classes(models, architecture, dataset, data_set(dataset).num_classes or ANY_NUMBER)
        models[name] = functools.partial(pretrained.build, models[architecture], architecture)
        return
    if resolve.loads_itself(models[architecture]):
        models[name] = with_weights(models[architecture], file, architecture)
        return
    factory, known, content = models[architecture][0], data_sets().get(dataset), checkpoint.read(file)
    network = factory(num_classes=(known and known.num_classes) or ANY_NUMBER)
    state = weights.find(network, content, file, architecture, any_shapes=known is None)
    resolve.tell_training(file, resolve.training(content), cfg)
    models[name] = (factory, _in_mdistillers_layout(state))


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="mdistiller_icc_")


def _in_mdistillers_layout(state: dict[str, Tensor]) -> str:
    """A file that lives as long as this process, from which mdistiller's script can load ``state``."""
    file = Path(_scratch().name) / "teacher.pth"
    checkpoint.save({"model": state}, file)
    return str(file)


def _refuse_unread(cfg: CfgNode, added: Sequence[str]) -> None:
    """A setting that the host's own scripts would pass over in silence is an error.

    Args:
        cfg: the whole configuration.
        added: dotted keys the host did not have before us.
    """
    defaults, given = flat(ADDED), flat(cfg)
    for key in added:
        if key in defaults and key not in READ and given[key] != defaults[key]:
            raise UserError(UNKNOWN.format(f"{key} {given[key]}"))


@contextlib.contextmanager
def told_as_user_error(cfg: CfgNode) -> Iterator[None]:
    """Tell in one line what a script finds missing or does not know.

    Args:
        cfg: what the script was configured with.
    """
    try:
        yield
    except FileNotFoundError as error:
        file = Path(str(error.filename))
        teacher = store.parse(file.stem)
        if teacher is not None and file.parent.parent == store.root():
            trained = store.command(file.parent.name, teacher)
            raise UserError(f"{file}: no such teacher; train it: {trained}") from None
        if file.name == "latest":
            raise UserError(f"{file}: there is no run to resume; its overrides are part of its name") from None
        raise
    except NotImplementedError as error:
        for key, value in {"DATASET.TYPE": cfg.DATASET.TYPE, "SOLVER.TYPE": cfg.SOLVER.TYPE}.items():
            if str(error) == value:
                raise UserError(UNKNOWN.format(f"{key} {value}")) from None
        raise
