"""One image file as RGB, whatever mode it is in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mdistiller_icc.errors import UserError

SIXTEEN_BITS = {("I", "PPM"), ("I", "PNG")}
"""Modes and formats whose 32-bit values are a file's 16 bits; PNG's until Pillow 11."""
BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262
"""Tags of a TIFF."""


def open_rgb(file: Path, size: int | None = None) -> Image.Image:
    """Read an image file as RGB; transparency is dropped, as torchvision's folders drop it.

    Args:
        size: height and width it must have; None for any.

    Raises:
        UserError: it cannot be decoded, has another size, or holds values whose range nobody knows.
    """
    try:
        with Image.open(file) as image:
            if size is None or image.size == (size, size):
                return _rgb(image)
    except Exception as error:  # bytes that are no image make decoders fail in any way at all
        raise UserError(f"{file}: not a readable image ({' '.join(str(error).split())})") from error
    width, height = image.size
    raise UserError(f"{file}: is {width}×{height} pixels, expected {size}×{size}")


def fitted(image: Image.Image, resize: int, size: int) -> Image.Image:
    """What torchvision's ``Resize(resize)`` and ``CenterCrop(size)`` make of an image: bilinear, antialiased."""
    from torchvision.transforms.v2 import (
        functional,  # a second to import, which images of the right size need not spend
    )

    return functional.center_crop(functional.resize(image, [resize], antialias=True), [size])


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode, image.format) in SIXTEEN_BITS:
        image = _eight_bits(image)
    elif image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode}: 32-bit values, whose range is not known; save it with 8 or 16 bits")
    elif "transparency" in image.info and image.mode == "P":
        image = image.convert("RGBA")  # else Pillow warns that it drops it
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """The upper eight of 16 bits, which is what Pillow takes of 16-bit colours too; it cuts grey values at 255."""
    tags: Any = image.tag_v2 if image.format == "TIFF" else {}  # type: ignore[attr-defined]
    upper = np.asarray(image).astype(np.int64) >> (tags.get(BITS_PER_SAMPLE, (16,))[0] - 8)
    white_is_zero = tags.get(PHOTOMETRIC) == 0
    return Image.fromarray((255 - upper if white_is_zero else upper).astype(np.uint8))
