"""The strong view of a training image: its augmentation, then torchvision's RandAugment as a method names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mdistiller_icc.errors import UserError, nearest

from .augment import Augmentation
from .workers import training_transform

# It takes a second to import, which runs with one view need not spend.
if TYPE_CHECKING:
    from torchvision.transforms import v2

MAGNITUDES = 31
"""Of an operation, from nothing to as strong as RandAugment has it."""
GREY = 127


def strong_transform(name: str, augmentation: Augmentation, size: int) -> v2.Transform:
    """What makes the strong view of one image, PIL or uint8 tensor: uint8 (3, size, size).

    Args:
        name: a key of `STRONG`.
        augmentation: of the weak view, which the strong one has too, by numbers of its own.

    Raises:
        UserError: there is no such strong view.
    """
    from torchvision.transforms import v2

    if name not in STRONG:
        raise UserError(f"there is no strong view '{name}'{nearest(name, STRONG)}; there are {', '.join(STRONG)}")
    # Pillow takes half the time that torchvision's tensors take, except for the smallest images.
    return v2.Compose([training_transform(augmentation, size), v2.ToPILImage(), *STRONG[name](size)])


def _fixed(_size: int) -> list[v2.Transform]:
    """CRLD's: two operations of magnitude 10 [P]."""
    from torchvision.transforms import v2

    return [v2.RandAugment(num_ops=2, magnitude=10, num_magnitude_bins=MAGNITUDES), v2.ToImage()]


def _random(size: int) -> list[v2.Transform]:
    """MLKD's: two operations of random magnitudes, then a square cut out of random side, up to half the image's [A].

    Each operation's magnitude is one of RandAugment's, the square is grey and lies inside the image [R].
    """
    from torchvision.transforms import v2

    one = v2.RandomChoice(
        [v2.RandAugment(num_ops=1, magnitude=m, num_magnitude_bins=MAGNITUDES) for m in range(MAGNITUDES)]
    )
    sides = [(side / size) ** 2 for side in range(1, size // 2 + 1)]
    squares = [v2.RandomErasing(p=1.0, scale=(area, area), ratio=(1.0, 1.0), value=GREY) for area in sides]
    return [one, one, v2.ToImage(), v2.RandomChoice(squares)]


STRONG: dict[str, Callable[[int], list[v2.Transform]]] = {"randaugment-10": _fixed, "randaugment+cutout": _random}
"""The strong views that there are, as records name them: what is done for images of a size."""
