"""Sums of methods: ``DISTILLER.TYPE DKD+CRD`` trains a student on the losses of both, with one pass of each network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.distillers.base import Distiller, build, checked
from mdistiller_icc.distillers.frozen_teacher import FrozenTeacher
from mdistiller_icc.distillers.last_map import OUTPUTS, outputs
from mdistiller_icc.errors import UserError


class SumOfMethods(Distiller):
    """The first method's cross-entropy, and every method's other loss, each with the weights of its own settings.

    Args:
        student: the network that is trained; it sees a batch once, whatever the number of methods.
        teacher: the network it learns from, likewise.
        cfg: reads every method's node.
        num_data: training images, for the methods that keep something of each.
    """

    methods: ClassVar[dict[str, type[Distiller]]]
    teacher: nn.Module

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode, num_data: int) -> None:
        super().__init__(student, teacher)
        self._frozen: TaughtOnce = TaughtOnce(teacher)
        self.parts = nn.ModuleDict()
        for name, method in self.methods.items():
            part = build(method, student, teacher, cfg, num_data)
            for network, module in (("student", student), ("teacher", teacher)):
                del part._modules[network]  # else they would be in checkpoints once more for every method
                object.__setattr__(part, network, module)
            part._frozen = self._frozen
            self.parts[name] = part
        settled = [part.settled for part in self._parts()]
        self.settled = None if None in settled else max(epoch or 1 for epoch in settled)

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        for method in cls.methods.values():
            method.check(cfg)

    @classmethod
    def strong_view(cls, cfg: CfgNode) -> str | None:
        """What those of the methods want that want one, which must be the same.

        Raises:
            UserError: it is not.
        """
        wanted = {name: view for name, method in cls.methods.items() if (view := method.strong_view(cfg)) is not None}
        if len(set(wanted.values())) > 1:
            told = ", ".join(f"{name} wants {view}" for name, view in wanted.items())
            raise UserError(f"DISTILLER.TYPE {cls.__name__}: there is one strong view of an image, and {told}")
        return next(iter(wanted.values()), None)

    def _parts(self) -> list[Any]:
        return list(self.parts.values())

    def attach(self, train_loader: Any) -> None:
        """Every method gets the loader."""
        for part in self._parts():
            part.attach(train_loader)

    def forward_train(self, image: Tensor, target: Tensor, **kwargs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        layers = {layer for part in self._parts() for layer in part.layers}
        with once(self.student, layers), self._frozen.once():
            found = [
                checked(part.forward_train(image=image, target=target, **kwargs), name, wants=("loss_ce", "loss_kd"))
                for name, part in zip(self.parts, self._parts(), strict=True)
            ]
        (logits, first), *others = found
        loss_kd = first["loss_kd"]
        for _logits, losses in others:
            loss_kd = loss_kd + losses["loss_kd"]
        return logits, {"loss_ce": first["loss_ce"], "loss_kd": loss_kd}

    def diagnostics(self) -> dict[str, float | None]:
        return {name: figure for part in self._parts() for name, figure in part.diagnostics().items()}

    def warnings(self, metrics: dict[str, Any]) -> list[str]:
        return [line for part in self._parts() for line in part.warnings(metrics)]


class TaughtOnce(FrozenTeacher):
    """A frozen teacher that several methods ask about the same images."""

    told: dict[int, Any] | None = None

    @contextlib.contextmanager
    def once(self) -> Iterator[None]:
        """What is asked again in here is not computed again."""
        self.told = {}
        try:
            yield
        finally:
            self.told = None

    def __call__(self, image: Tensor) -> Any:
        """What the teacher returns for ``image``, within rounding."""
        if self.told is None:
            return super().__call__(image)
        if id(image) not in self.told:
            self.told[id(image)] = image, super().__call__(image)  # with the image, whose id is then nobody else's
        return self.told[id(image)][1]


@contextlib.contextmanager
def once(network: nn.Module, layers: Iterable[str] = ()) -> Iterator[None]:
    """In here, a network that is called with the same images again returns what it returned.

    With that, among its features, what its ``layers`` made.
    """
    forward, told = network.forward, dict[int, Any]()

    def recalled(image: Tensor) -> Any:
        if id(image) not in told:
            logits, features = forward(image)
            told[id(image)] = image, (logits, features | {OUTPUTS: dict(made)} if made else features)
        return told[id(image)][1]

    network.__dict__["forward"] = recalled
    try:
        with outputs(network, layers) as made:
            yield
    finally:
        del network.__dict__["forward"]


def parts_of(name: str) -> list[str]:
    """The names of the methods in ``DISTILLER.TYPE``, each once.

    Raises:
        UserError: one of them stands there twice.
    """
    parts = name.split("+")
    for part in parts:
        if parts.count(part) > 1:
            raise UserError(
                f"DISTILLER.TYPE {name}: {part} is there {parts.count(part)} times; its weights are settings"
            )
    return parts


def sum_of(methods: dict[str, type[Any]]) -> type[SumOfMethods]:
    """The sum of methods, by their names.

    Raises:
        UserError: one of them is another host's, trains teachers, or predicts in its own way.
    """
    name = "+".join(methods)
    for method, kind in methods.items():
        if not issubclass(kind, Distiller) or kind.teacher_kind is not None:
            raise UserError(f"DISTILLER.TYPE {name}: {method} of this host cannot be part of a sum")
        if kind.forward_test is not Distiller.forward_test:
            raise UserError(f"DISTILLER.TYPE {name}: {method} predicts with another head, so it stands alone")
    traits = {
        "methods": methods,
        "channels_last": all(method.channels_last for method in methods.values()),
        "takes_standardised": any(method.takes_standardised for method in methods.values()),
    }
    return type(name, (SumOfMethods,), traits)
