from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from mdistiller_icc.data.augment import (
    Augmentation,
    apply,
    crop_gather,
    crop_windows,
    draw,
    flip_rows,
    flip_where,
    rotate,
)

COUNT = 8100


def numbers(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def chi_square(counts: torch.Tensor) -> float:
    expected = counts.double().mean()
    return float(((counts - expected) ** 2 / expected).sum())


def generous(cells: int) -> float:
    """Six standard deviations above the mean of a chi-square variable."""
    return cells - 1 + 6 * (2 * (cells - 1)) ** 0.5


def test_crops_and_flips_are_distributed_like_torchvisions():
    # Each pixel carries its place (never 0), so a crop tells its offset and whether it was mirrored.
    place = torch.arange(1, 65, dtype=torch.uint8).view(1, 1, 8, 8).expand(COUNT, 3, 8, 8)
    augmentation = Augmentation(padding=4, flip=True)
    cropped = apply(place, augmentation, draw(augmentation, COUNT, numbers()))
    padded = torch.nn.functional.pad(place[0, 0], (4,) * 4)
    candidates = torch.stack(
        [padded[y : y + 8, x : x + 8].flip(1) if mirrored else padded[y : y + 8, x : x + 8]
         for mirrored in (False, True) for y in range(9) for x in range(9)]
    )  # fmt: skip
    equal = (cropped[:, :1].flatten(1)[:, None] == candidates.flatten(1)[None]).all(2)
    assert equal.any(1).all(), "a crop is no crop of the padded image"
    assert (cropped == cropped[:, :1]).all(), "the channels are cropped differently"
    counts = equal[equal.sum(1) == 1].sum(0)
    assert chi_square(counts) < generous(162)


def test_every_second_image_is_mirrored():
    flips = draw(Augmentation(flip=True), 40_000, numbers()).flip
    assert abs(float(flips.float().mean()) - 0.5) < 6 * 0.5 / 200
    assert not draw(Augmentation(padding=4), 1000, numbers()).flip.any()


def test_offsets_cover_what_torchvision_draws():
    crop = transforms.RandomCrop(8, padding=4)
    image = torch.zeros(3, 16, 16)
    theirs = {crop.get_params(image, (8, 8))[:2] for _ in range(3000)}
    draws = draw(Augmentation(padding=4), 3000, numbers())
    assert set(zip(draws.top.tolist(), draws.left.tolist(), strict=True)) == theirs


def test_crops_are_padded_with_zeros_before_normalisation():
    white = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    corner = crop_windows(white, 4, torch.tensor([0]), torch.tensor([0]))
    assert (corner[0, :, :4] == 0).all() and (corner[0, :, :, :4] == 0).all() and (corner[0, :, 4:, 4:] == 255).all()


def test_what_a_cpu_does_is_what_an_accelerator_does():
    images = torch.randint(0, 256, (50, 3, 32, 24), dtype=torch.uint8, generator=numbers())
    draws = draw(Augmentation(padding=4, flip=True), 50, numbers())
    assert torch.equal(crop_windows(images, 4, draws.top, draws.left), crop_gather(images, 4, draws.top, draws.left))
    assert torch.equal(flip_rows(images.clone(), draws.flip), flip_where(images, draws.flip))


def test_without_augmentation_images_stay_as_they_are():
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=numbers())
    draws = draw(Augmentation(), 5, numbers())
    assert torch.equal(apply(images, Augmentation(), draws), images)


def test_rotation_agrees_with_pil():
    angles = torch.tensor([-20.0, -7.3, -0.4, 0.0, 3.9, 12.5, 20.0])
    image = torch.randint(1, 256, (3, 64, 64), dtype=torch.uint8, generator=numbers())
    ours = rotate(image.expand(len(angles), -1, -1, -1), angles)
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    for rotated, angle in zip(ours, angles.tolist(), strict=True):
        theirs = torch.from_numpy(np.array(picture.rotate(angle))).permute(2, 0, 1)
        # Fixed-point arithmetic there, floating point here: pixels on an edge may fall either way.
        assert (rotated == theirs).all(0).float().mean() > 0.995


def test_rotation_angles_are_uniform():
    angles = draw(Augmentation(degrees=20.0), COUNT, numbers()).angle
    counts = torch.histc(angles, bins=20, min=-20, max=20)
    assert counts.sum() == COUNT
    assert chi_square(counts) < generous(20)


@pytest.mark.parametrize(
    ("augmentation", "words"),
    [
        (Augmentation(), "none"),
        (Augmentation(padding=4), "crop"),
        (Augmentation(padding=4, flip=True), "crop+flip"),
        (Augmentation(degrees=20.0, flip=True), "rotation+flip"),
        (Augmentation(resized_crop=True, flip=True), "resized-crop+flip"),
    ],
)
def test_augmentation_in_words(augmentation, words):
    assert str(augmentation) == words
