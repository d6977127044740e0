"""Which stage of the student learns from which stage of the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mdistiller_icc.errors import UserError
from mdistiller_icc.probe import probe

Size = tuple[int, int]


def pair_stages(student: Sequence[Size], teacher: Sequence[Size], upstream: bool = False) -> list[tuple[int, int]]:
    """Pair stages, fine to coarse, given as their (height, width).

    Lists of one length pair in order. Otherwise every resolution that both networks have makes a pair, of the
    last stage each has there.

    Args:
        student: sizes of the student's stages.
        teacher: sizes of the teacher's.
        upstream: pair in order whatever the lengths, as mdistiller does.

    Returns:
        (student's position, teacher's position) of each pair.

    Raises:
        UserError: the networks have no resolution in common.

    >>> pair_stages([(32, 32), (16, 16), (8, 8)], [(32, 32), (16, 16), (8, 8), (4, 4)])
    [(0, 0), (1, 1), (2, 2)]
    """
    if upstream or len(student) == len(teacher):
        return list(zip(range(len(student)), range(len(teacher)), strict=False))
    last_student = {tuple(size): position for position, size in enumerate(student)}
    last_teacher = {tuple(size): position for position, size in enumerate(teacher)}
    pairs = [(position, last_teacher[size]) for size, position in last_student.items() if size in last_teacher]
    if not pairs:
        raise UserError(
            f"student and teacher have no stage of the same resolution to compare: {_listed(student)} "
            f"against {_listed(teacher)}; choose another pair or a method that needs no stages"
        )
    return pairs


def paired(
    student: Sequence[Tensor], teacher: Sequence[Tensor], upstream: bool = False
) -> tuple[list[Tensor], list[Tensor]]:
    """The maps of two networks that belong together, by `pair_stages`."""
    pairs = pair_stages(sizes(student), sizes(teacher), upstream)
    return [student[s] for s, _ in pairs], [teacher[t] for _, t in pairs]


def sizes(feats: Sequence[Tensor]) -> list[Size]:
    """(height, width) of each map (B, C, H, W)."""
    return [(feature.shape[2], feature.shape[3]) for feature in feats]


def pooled_size(features: dict[str, Any]) -> int:
    """Numbers in one image's pooled feature."""
    return features["pooled_feat"].flatten(1).shape[1]


def look(
    student: nn.Module, teacher: nn.Module, image_size: int, upstream: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The features of both networks for one image, for their shapes.

    Args:
        student: left as it is.
        teacher: left as it is.
        image_size: side of the image, in pixels.
        upstream: run a noise image in train mode, as mdistiller does, which moves the batch norms'
            statistics of both networks.

    Raises:
        UserError: such an image does not go through one of them.
    """
    try:
        if upstream:
            _disturb(student, teacher, image_size)
        return probe(student, image_size)[1], probe(teacher, image_size)[1]
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"an image of {image_size}×{image_size} does not go through this pair ({reason})") from error


@torch.no_grad()
def _disturb(student: nn.Module, teacher: nn.Module, image_size: int) -> None:
    noise = torch.randn(1, 3, image_size, image_size)
    for network in (student, teacher):
        parameter = next(network.parameters())
        mode = network.training
        network.train()(noise.to(parameter))
        network.train(mode)


def _listed(stages: Sequence[Size]) -> str:
    return ", ".join(f"{height}×{width}" for height, width in stages)
