"""The distiller interface: mdistiller's, and what a method may ask of the engine."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.distillers.frozen_teacher import FrozenTeacher
from mdistiller_icc.errors import UserError
from mdistiller_icc.losses.gather import WholeBatch
from mdistiller_icc.settings import Settings, node

Features = dict[str, Any]
"""What a model returns beside its logits: ``feats``, ``preact_feats`` (lists), ``pooled_feat`` (B, D)."""
TWO_VIEWS = "learns from two views of each image, a weak and a strong one; the loader gives one"
"""What a method that was handed no ``strong`` has to say."""


class Hooks:
    """What the engine asks of a distiller beyond mdistiller's interface; by default there is nothing to say or do."""

    settings: ClassVar[Settings] = {}
    """The method's own settings, whose node in the configuration has its name; each is checked before a run begins."""
    node: ClassVar[str]
    """That name, for a class that is handed to `mdistiller_icc.distill`; without it that is the class's own."""
    teacher_kind: ClassVar[str | None] = None
    """The kind of teacher that the method trains (``icc``, ``vanilla``); None if it distils into students."""
    channels_last: ClassVar[bool] = False
    """Whether it takes images and features in channels-last layout, so never calls ``view`` on them."""
    takes_standardised: ClassVar[bool] = False
    """Whether it compares logits, and standardised ones if ``DISTILLER.LOGIT_STAND`` is set."""
    settled: int | None = None
    """From this epoch on training passes no longer depend on the epoch; None if they always may."""
    length_counts_after: float = math.inf
    """The last epoch whose training is the same however many epochs the run has."""
    layers: tuple[str, ...] = ()
    """Of the student, whose outputs it takes beside what the student returns; a sum of methods keeps those too."""
    gather: bool = True
    """Whether images are related to those of all processes' batches, and remembered by all; ``DISTILLER.GATHER``."""

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        """Look at how settings fit together, each of them in its range, before anything is read or built.

        Raises:
            UserError: two of them do not.
        """

    @classmethod
    def strong_view(cls, cfg: CfgNode) -> str | None:
        """The strong view of each image that ``forward_train`` wants as ``strong``, a key of `data.strong.STRONG`."""
        return None

    def attach(self, train_loader: Any) -> None:
        """Called once, before training, with the loader of the training images."""

    def prepare(self, image: Tensor) -> None:
        """Called once, with the first batch, before the training pass is compiled."""

    def diagnostics(self) -> dict[str, float | None]:
        """Figures to log, called after each epoch; None where there was nothing to measure."""
        return {}

    def warnings(self, metrics: dict[str, Any]) -> list[str]:
        """Lines to show for an epoch's metrics; a resumed run hands in those of earlier epochs first."""
        return []


class Distiller(WholeBatch, Hooks, nn.Module):
    """A student, the frozen teacher it learns from, and the loss between them.

    A subclass defines ``forward_train(image, target, **kwargs)`` and returns
    ``(logits_student, {"loss_ce": …, "loss_kd": …})``; it declares its node in the configuration in
    ``settings``. Whatever needs a gradient and is not the teacher's is learnable, so a forgotten
    parameter cannot happen. The teacher needs no gradient and stays in eval mode, whatever is called.

    Args:
        student: the network that is trained.
        teacher: the network it learns from; None for recipes without one (plain training, ICC teachers).
    """

    def __init__(self, student: nn.Module, teacher: nn.Module | None = None) -> None:
        super().__init__()
        self.student = student
        self.teacher = teacher
        self._frozen = FrozenTeacher(teacher) if teacher is not None else None
        if teacher is not None:
            teacher.requires_grad_(False)
            teacher.eval()

    @classmethod
    def defaults(cls) -> CfgNode:
        """The method's node in the configuration."""
        return node(cls.settings)

    def prepare(self, image: Tensor) -> None:
        """Fold the teacher, so that the folded one is compiled."""
        if self.teacher is not None:
            self.teach(image)

    def train(self, mode: bool = True) -> Distiller:
        """Put the student and the method's own layers in train or eval mode; the teacher stays in eval mode."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def get_learnable_parameters(self) -> list[nn.Parameter]:
        """Every parameter that needs a gradient and is not the teacher's."""
        return [p for name, p in self.named_parameters() if p.requires_grad and not name.startswith("teacher.")]

    def get_extra_parameters(self) -> int:
        """How many learnable numbers the method adds to the student's own."""
        own = {id(p) for p in self.student.parameters()}
        return sum(p.numel() for p in self.get_learnable_parameters() if id(p) not in own)

    def teach(self, image: Tensor) -> tuple[Tensor, Features]:
        """The teacher's logits and features for a batch, without a graph; see `FrozenTeacher`.

        Methods call it before the student: what the student leaves in the processor's cache is read again at once,
        by the backward pass.
        """
        assert self.teacher is not None, f"{type(self).__name__} has no teacher"
        if self._frozen is None or self._frozen.teacher is not self.teacher:  # set since, or a replica of DataParallel
            with torch.no_grad():
                taught: tuple[Tensor, Features] = self.teacher(image)
        else:
            taught = self._frozen(image)
        return taught

    def forward_train(
        self, image: Tensor, target: Tensor, *, epoch: int, **kwargs: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The student's logits (B, C) and the weighted losses whose sum is trained on; a subclass defines it.

        Args:
            image: (B, 3, H, W), augmented and normalised.
            target: (B,) class numbers.
            epoch: counted from 1.
            kwargs: what else the loader yields: ``index`` (B,), the images' numbers, CRD's ``contrastive_index``, and
                ``strong``, a second view of the images, where `strong_view` asks for one.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no forward_train")

    def forward_test(self, image: Tensor) -> Tensor:
        """The student's logits (B, C)."""
        logits: Tensor = self.student(image)[0]
        return logits

    def forward(self, **kwargs: Any) -> Any:
        """``forward_train`` while training, else the student's logits for ``image``."""
        return self.forward_train(**kwargs) if self.training else self.forward_test(kwargs["image"])


def adopt(distiller: type[Any]) -> type[Any]:
    """A distiller class of somebody else's, such as mdistiller's own, with the hooks that the engine calls.

    What it defines itself stays; one that takes no teacher trains plain ones. A class with the hooks is returned as
    it is.
    """
    if issubclass(distiller, Hooks):
        return distiller
    alone = "teacher" not in inspect.signature(distiller.__init__).parameters
    return type(distiller.__name__, (distiller, Hooks), {"teacher_kind": "vanilla"} if alone else {})


def checked(output: Any, method: str, wants: Sequence[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
    """What a method's ``forward_train`` returned, if it is logits and losses, these among them.

    Args:
        output: of a training pass.
        method: the subject of the message.
        wants: names of losses.

    Raises:
        UserError: it is something else.
    """
    match output:
        case (Tensor() as logits, dict() as losses) if losses and all(isinstance(x, Tensor) for x in losses.values()):
            if missing := [name for name in wants if name not in losses]:
                raise UserError(f"{method} has no {missing[0]}, only {', '.join(losses)}")
            return logits, losses
    parts = output if isinstance(output, tuple) else (output,)
    got = ", ".join(type(part).__name__ for part in parts)
    raise UserError(
        f"{method}: its forward_train must return (logits, {{'loss_ce': …, 'loss_kd': …}}), tensors; it returned {got}"
    )


def check_standardised(cfg: CfgNode, distiller: type[Any], registry: dict[str, Any]) -> None:
    """Look at whether a method knows what ``DISTILLER.LOGIT_STAND`` asks for.

    Args:
        cfg: the whole configuration.
        distiller: the method in ``DISTILLER.TYPE``.
        registry: the host's distillers, of which a message names those that do.

    Raises:
        UserError: it does not, as a host's own and those that compare no logits.
    """

    def able(method: Any) -> bool:
        return isinstance(method, type) and issubclass(method, Hooks) and method.takes_standardised

    if cfg.DISTILLER.LOGIT_STAND and not able(distiller):
        what = f"{cfg.DISTILLER.TYPE} of this host takes no standardised logits"
        raise UserError(f"DISTILLER.LOGIT_STAND: {what}; {', '.join(filter(lambda n: able(registry[n]), registry))} do")


def check_one_view(cfg: CfgNode, distiller: type[Any], whose: str) -> None:
    """Look at whether a method can do with one view of each image.

    Args:
        cfg: the whole configuration.
        distiller: the method in ``DISTILLER.TYPE``.
        whose: images, or loaders, that have no strong view: the subject of the message.

    Raises:
        UserError: it wants a strong view.
    """
    name = cfg.DISTILLER.TYPE
    if isinstance(distiller, type) and issubclass(distiller, Hooks) and distiller.strong_view(cfg) is not None:
        ways = [f"{part}.STRONG_VIEW False" for part in name.split("+") if "STRONG_VIEW" in cfg.get(part, {})]
        otherwise = f" ({', '.join(ways)} does without)" if ways else ""
        raise UserError(f"DISTILLER.TYPE {name} wants a weak and a strong view of each image; {whose} one{otherwise}")


def build(distiller: type[Any], student: nn.Module, teacher: nn.Module | None, cfg: CfgNode, num_data: int) -> Any:
    """Call a distiller's constructor as mdistiller does: some take no teacher, some the number of images."""
    taken = inspect.signature(distiller.__init__).parameters
    arguments = {"student": student, "teacher": teacher, "cfg": cfg, "num_data": num_data}
    return distiller(**{name: value for name, value in arguments.items() if name in taken})
