"""What is known of a zoo's trained weights before they are fetched."""

from __future__ import annotations

from typing import NamedTuple


class Weights(NamedTuple):
    """Trained weights of one network.

    Attributes:
        where: a URL, or a repository of a hub.
        num_classes: that they tell apart.
        mean: of the channels of the images that they were trained on, for values in [0, 1].
        std: likewise.
    """

    where: str
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def moments(self) -> tuple[float, ...]:
        """Mean, then deviation."""
        return (*self.mean, *self.std)
