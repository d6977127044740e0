"""The weights that the network in training starts from: ``DISTILLER.STUDENT_CKPT``."""

from __future__ import annotations

from typing import Any

from torch import nn
from yacs.config import CfgNode

from mdistiller_icc.classifier import classifier_name
from mdistiller_icc.errors import UserError
from mdistiller_icc.paths import expand
from mdistiller_icc.teachers import checkpoint, resolve, weights

ANEW = "DISTILLER.NEW_CLASSIFIER True gives the network a new classifier"


def check(cfg: CfgNode) -> None:
    """Look at whether there is a file whose classifier could be left out.

    Raises:
        UserError: there is none.
    """
    if cfg.DISTILLER.NEW_CLASSIFIER and not cfg.DISTILLER.STUDENT_CKPT:
        raise UserError("DISTILLER.NEW_CLASSIFIER True: of which file? DISTILLER.STUDENT_CKPT names none")


def start(model: nn.Module, cfg: CfgNode, architecture: str, classes: tuple[str, ...]) -> dict[str, Any]:
    """Fill a network with the weights of ``DISTILLER.STUDENT_CKPT``; returns what a record tells of them.

    With ``DISTILLER.NEW_CLASSIFIER`` the classifier stays as it was drawn.

    Raises:
        UserError: there is no such file, or it is not of this network and, unless the classifier is new, these classes.
    """
    file = expand(cfg.DISTILLER.STUDENT_CKPT, "DISTILLER.STUDENT_CKPT")
    content, anew = checkpoint.read(file), cfg.DISTILLER.NEW_CLASSIFIER
    theirs = resolve.told_by(content).get("classes")
    if theirs and tuple(theirs) != classes and not anew:
        raise UserError(f"{file}: was trained on other classes, or on the same in another order; {ANEW}")
    try:
        own = weights.find(
            model, content, file, architecture, without=classifier_name(model, "student") if anew else ""
        )
    except UserError as error:
        raise error if anew else UserError(f"{error}; where its classes alone differ, {ANEW}") from None
    model.load_state_dict(model.state_dict() | own)
    print(f"start: {architecture}{' with a new classifier' if anew else ''} ({file})")
    return {"path": cfg.DISTILLER.STUDENT_CKPT, "digest": checkpoint.digest(file), "new_classifier": anew}
