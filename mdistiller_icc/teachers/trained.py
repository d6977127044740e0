"""How long a teacher was trained, as its checkpoint tells it."""

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


def by_protocol(protocol: dict[str, Any]) -> Trained | None:
    """What the protocol in a record or a checkpoint says; None if it does not."""
    epochs, fraction = protocol.get("epochs"), protocol.get("fraction")
    if isinstance(epochs, int) and isinstance(fraction, (int, float)):
        return Trained(epochs, fraction)
    return None
