"""How a teacher was trained, and how long, as its checkpoint tells it."""

from __future__ import annotations

from typing import Any, NamedTuple

from yacs.config import CfgNode


class Trained(NamedTuple):
    """Epochs, and the share of the training images.

    >>> str(Trained(2, 0.05))
    '2 epochs on 5 % of the images'
    """

    epochs: int
    fraction: float

    def __str__(self) -> str:
        epochs = f"{self.epochs} epoch{'' if self.epochs == 1 else 's'}"
        return f"{epochs} on {'all' if self.fraction == 1 else f'{100 * self.fraction:.3g} % of the'} images"

    def shorter_than(self, other: Trained) -> bool:
        """Whether it is less in one of the two and more in neither."""
        return self != other and self.epochs <= other.epochs and self.fraction <= other.fraction

    def is_trial(self) -> bool:
        """Whether it is too little of either for a teacher of use [R]: fewer than 10 epochs, or than a tenth."""
        return self.epochs < 10 or self.fraction < 0.1


def by_run(cfg: CfgNode) -> Trained:
    """What a run's own protocol is."""
    return Trained(cfg.SOLVER.EPOCHS, cfg.DATASET.FRACTION)


UNTOLD: dict[str, Any] = {"compile": False, "sync_bn": False, "upstream": False, "image_size": None, "lr_min": 0.0}
"""What a protocol tells only where it is otherwise."""


def protocol(cfg: CfgNode) -> dict[str, Any]:
    """What of a run's protocol its configuration says, `UNTOLD` with it."""
    solver = cfg.SOLVER
    steps, cosine = solver.SCHEDULE == "step", solver.SCHEDULE == "cosine"
    return {
        "epochs": solver.EPOCHS,
        "batch_size": solver.BATCH_SIZE,
        "optimizer": solver.TYPE,
        "trainer": solver.TRAINER,
        "lr": solver.LR,
        "momentum": solver.MOMENTUM,
        "weight_decay": solver.WEIGHT_DECAY,
        "schedule": solver.SCHEDULE,
        "lr_decay_stages": list(solver.LR_DECAY_STAGES) if steps else None,
        "lr_decay_rate": solver.LR_DECAY_RATE if steps else None,
        "fraction": cfg.DATASET.FRACTION,
        "holdout": cfg.DATASET.HOLDOUT,
        "compile": solver.COMPILE,
        "sync_bn": solver.SYNC_BN,
        "upstream": cfg.COMPAT.UPSTREAM,
        "image_size": cfg.DATASET.IMAGE_SIZE,
        "lr_min": solver.LR_MIN if cosine else 0.0,
    }


def by_protocol(protocol: dict[str, Any]) -> Trained | None:
    """What the protocol in a record or a checkpoint says; None if it does not."""
    epochs, fraction = protocol.get("epochs"), protocol.get("fraction")
    if isinstance(epochs, int) and isinstance(fraction, (int, float)):
        return Trained(epochs, fraction)
    return None
