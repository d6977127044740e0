"""Random crop, flip and rotation of whole batches of uint8 images, distributed as torchvision's transforms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Augmentation:
    """Which random changes a training image undergoes, in this order.

    Attributes:
        resized_crop: cut a random part out and enlarge it (worker processes only: the images differ in size).
        degrees: rotate by an angle uniform in ±degrees, nearest pixel, corners filled with zeros; 0 for none.
        padding: zeros added on every side before a crop of the original size; 0 for no crop.
        flip: mirror every second image, on average.
    """

    resized_crop: bool = False
    degrees: float = 0.0
    padding: int = 0
    flip: bool = False

    def __str__(self) -> str:
        parts = {
            "resized-crop": self.resized_crop,
            "rotation": self.degrees,
            "crop": self.padding,
            "flip": self.flip,
        }
        return "+".join(name for name, used in parts.items() if used) or "none"


@dataclass(frozen=True)
class Draws:
    """The random numbers of N images: angles in degrees, crop offsets and flips, each (N,)."""

    angle: Tensor
    top: Tensor
    left: Tensor
    flip: Tensor

    def __len__(self) -> int:
        return len(self.flip)

    def __getitem__(self, rows: slice | Tensor) -> Draws:
        return Draws(self.angle[rows], self.top[rows], self.left[rows], self.flip[rows])

    def to(self, device: torch.device) -> Draws:
        """The same draws, on a device."""
        return Draws(self.angle.to(device), self.top.to(device), self.left.to(device), self.flip.to(device))


def draw(augmentation: Augmentation, count: int, generator: torch.Generator) -> Draws:
    """Draw the augmentation of ``count`` images from a CPU generator, so that every device sees the same images."""
    offsets = 2 * augmentation.padding + 1
    return Draws(
        angle=(torch.rand(count, generator=generator) * 2.0 - 1.0) * augmentation.degrees,
        top=torch.randint(offsets, (count,), generator=generator),
        left=torch.randint(offsets, (count,), generator=generator),
        flip=torch.rand(count, generator=generator) < (0.5 if augmentation.flip else 0.0),
    )


def apply(images: Tensor, augmentation: Augmentation, draws: Draws) -> Tensor:
    """Augment uint8 images (B, 3, H, W) as drawn; the shape stays."""
    if augmentation.degrees:
        images = rotate(images, draws.angle)
    if augmentation.padding:
        crop = crop_windows if images.device.type == "cpu" else crop_gather
        images = crop(images, augmentation.padding, draws.top, draws.left)
    if augmentation.flip:
        flip = flip_rows if images.device.type == "cpu" else flip_where
        images = flip(images, draws.flip)
    return images


def crop_windows(images: Tensor, padding: int, top: Tensor, left: Tensor) -> Tensor:
    """Crop every image (B, 3, H, W) at its own offset after padding with zeros, on a CPU.

    NumPy copies each window row by row; advanced indexing in torch would address every single pixel.
    """
    count, channels, height, width = images.shape
    padded = np.zeros((count, channels, height + 2 * padding, width + 2 * padding), dtype=np.uint8)
    padded[:, :, padding : padding + height, padding : padding + width] = images.numpy()
    cropped = np.empty(images.shape, dtype=np.uint8)
    for image, (row, column) in enumerate(zip(top.tolist(), left.tolist(), strict=True)):
        cropped[image] = padded[image, :, row : row + height, column : column + width]
    return torch.from_numpy(cropped)


def crop_gather(images: Tensor, padding: int, top: Tensor, left: Tensor) -> Tensor:
    """The same as `crop_windows`, as index arithmetic for the whole batch."""
    count, _, height, width = images.shape
    device = images.device
    padded = F.pad(images, (padding,) * 4).permute(0, 2, 3, 1)
    image = torch.arange(count, device=device).view(-1, 1, 1)
    row = top.view(-1, 1, 1) + torch.arange(height, device=device).view(1, -1, 1)
    column = left.view(-1, 1, 1) + torch.arange(width, device=device).view(1, 1, -1)
    return padded[image, row, column].permute(0, 3, 1, 2)


def flip_rows(images: Tensor, flip: Tensor) -> Tensor:
    """Mirror the images (B, 3, H, W) that ``flip`` (B,) names, in place: quickest on a CPU."""
    rows = flip.nonzero().squeeze(1)
    # NumPy writes a row as one copy, torch byte by byte.
    images.numpy()[rows.numpy()] = images.index_select(0, rows).flip(3).numpy()
    return images


def flip_where(images: Tensor, flip: Tensor) -> Tensor:
    """The same as `flip_rows`, without asking the device how many there are."""
    return torch.where(flip.view(-1, 1, 1, 1), images.flip(3), images)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate every image (B, 3, H, W) about its centre by its own angle (B,), counter-clockwise.

    An output pixel takes the input pixel under its centre, zero outside, as ``torchvision.transforms.RandomRotation``.
    """
    height, width = images.shape[2:]
    angle = degrees.deg2rad().view(-1, 1, 1)
    cosine, sine = angle.cos(), angle.sin()
    down = (torch.arange(height, device=images.device) + 0.5 - height / 2).view(1, -1, 1)
    right = (torch.arange(width, device=images.device) + 0.5 - width / 2).view(1, 1, -1)
    column = (cosine * right - sine * down + width / 2).floor().long()
    row = (sine * right + cosine * down + height / 2).floor().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place = torch.where(inside, row * width + column, 0)
    taken = images.flatten(2).gather(2, place.flatten(1).unsqueeze(1).expand(-1, images.shape[1], -1))
    return taken.view_as(images).mul_(inside.unsqueeze(1))
