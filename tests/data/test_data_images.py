"""Every mode that Pillow opens: the right RGB, or refused with file and mode."""

from __future__ import annotations

import struct
import warnings

import numpy as np
import pytest
from PIL import Image

from mdistiller_icc.data.images import open_rgb
from mdistiller_icc.errors import UserError

COLOURS = np.array([[(200, 100, 50), (0, 0, 0), (255, 255, 255), (10, 20, 30)]], dtype=np.uint8)
GREYS = np.array([[124, 0, 255, 18]], dtype=np.uint8)
LINEAR = GREYS.astype(np.uint16) * 257
OPAQUE_TO_CLEAR = Image.fromarray(np.array([[255, 128, 64, 200]], dtype=np.uint8))


def coloured(mode: str) -> Image.Image:
    image = Image.fromarray(COLOURS if mode not in ("LA", "La") else GREYS)
    if "A" in mode and mode != "LAB":
        image.putalpha(OPAQUE_TO_CLEAR)
    return image.convert(mode)


def pixels(file) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return np.asarray(open_rgb(file)).astype(int)


@pytest.mark.parametrize(
    ("mode", "suffix", "wanted"),
    [
        ("RGB", "png", COLOURS),
        ("RGBA", "png", COLOURS),
        ("RGBA", "tif", COLOURS),
        ("CMYK", "tif", COLOURS),
        ("YCbCr", "tif", COLOURS),
        ("LAB", "tif", COLOURS),
        ("L", "png", GREYS[..., None]),
        ("LA", "png", GREYS[..., None]),
        ("LA", "tif", GREYS[..., None]),
        ("1", "png", GREYS[..., None] // 200 * 255),
        ("1", "bmp", GREYS[..., None] // 200 * 255),
    ],
)
def test_what_was_painted_is_read(mode, suffix, wanted, tmp_path):
    file = tmp_path / f"image.{suffix}"
    coloured(mode).save(file)
    with Image.open(file) as image:
        assert image.mode == mode, "the file is of another mode"
    assert abs(pixels(file) - wanted).max() <= 2


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "gif"])
def test_palettes(suffix, tmp_path):
    file = tmp_path / f"image.{suffix}"
    Image.fromarray(COLOURS).quantize(4).save(file)
    with Image.open(file) as image:
        assert image.mode == "P"
    assert np.array_equal(pixels(file), COLOURS)


def test_a_palette_with_transparent_colours_is_read_without_a_warning(tmp_path):
    file = tmp_path / "image.png"
    Image.fromarray(COLOURS).quantize(4).save(file, transparency=bytes([0, 128, 255, 7]))
    with Image.open(file) as image:
        assert image.mode == "P" and isinstance(image.info["transparency"], bytes)
    assert np.array_equal(pixels(file), COLOURS)


def test_a_palette_with_transparency_beside_it(tmp_path):
    file = tmp_path / "image.tif"
    image = Image.fromarray(COLOURS).quantize(4)
    image.putalpha(OPAQUE_TO_CLEAR)
    assert image.mode == "PA"
    image.save(file)
    assert np.array_equal(pixels(file), COLOURS)


@pytest.mark.parametrize("suffix", ["png", "tif", "ppm"])
def test_sixteen_bits_are_brought_to_eight(suffix, tmp_path):
    file = tmp_path / f"image.{suffix}"
    Image.fromarray(LINEAR).save(file)
    with Image.open(file) as image:
        assert image.mode in ("I;16", "I")
    assert np.array_equal(pixels(file), np.repeat(GREYS[..., None], 3, axis=2))


def tiff(bits: tuple[int, ...], photometric: int, data: bytes, order: str = "<", extra: int | None = None) -> bytes:
    """An uncompressed TIFF of one row of four pixels, as Pillow itself does not write it."""
    count = len(bits)
    tags = [(256, 3, 1, 4), (257, 3, 1, 1), (259, 3, 1, 1), (262, 3, 1, photometric), (273, 4, 1, 8)]
    tags += [(277, 3, 1, count), (278, 3, 1, 1), (279, 4, 1, len(data)), (258, 3, count, bits)]
    tags += [(338, 3, 1, extra)] if extra is not None else []
    body = bytearray(data)
    entries = b""
    for tag, kind, number, value in sorted(tags, key=lambda one: one[0]):
        if isinstance(value, tuple):
            packed = struct.pack(f"{order}{number}H", *value)
            if len(packed) > 4:
                where = 8 + len(body)
                body += packed
                packed = struct.pack(f"{order}I", where)
        else:
            packed = struct.pack(f"{order}{'H' if kind == 3 else 'I'}", value)
        entries += struct.pack(f"{order}HHI", tag, kind, number) + packed.ljust(4, b"\0")
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(body))
    return start + bytes(body) + struct.pack(f"{order}H", len(tags)) + entries + b"\0\0\0\0"


@pytest.mark.parametrize(
    ("mode", "bits", "photometric", "data", "order", "wanted"),
    [
        ("I;16", (16,), 1, LINEAR.astype("<u2").tobytes(), "<", GREYS),
        ("I;16B", (16,), 1, LINEAR.astype(">u2").tobytes(), ">", GREYS),
        ("I;16", (16,), 0, LINEAR.astype("<u2").tobytes(), "<", 255 - GREYS),
        ("I;16", (12,), 1, bytes([0x7C, 0x00, 0x00, 0xFF, 0xF1, 0x20]), "<", GREYS),
    ],
)
def test_sixteen_bits_of_other_tiffs(mode, bits, photometric, data, order, wanted, tmp_path):
    file = tmp_path / "image.tif"
    file.write_bytes(tiff(bits, photometric, data, order))
    with Image.open(file) as image:
        assert image.mode == mode
    assert np.array_equal(pixels(file), np.repeat(wanted[..., None], 3, axis=2))


def test_colours_multiplied_by_their_transparency_are_divided_by_it(tmp_path):
    file = tmp_path / "image.tif"
    file.write_bytes(tiff((8, 8, 8, 8), 2, coloured("RGBa").tobytes(), extra=1))
    assert abs(pixels(file) - COLOURS).max() <= 2


@pytest.mark.parametrize("mode", ["I", "F"])
def test_values_whose_range_nobody_knows_are_refused(mode, tmp_path):
    file = tmp_path / "image.tif"
    Image.fromarray(GREYS).convert(mode).save(file)
    with pytest.raises(UserError, match=rf"image.tif: not a readable image \(mode {mode}: .*range is not known"):
        open_rgb(file)


def test_an_image_over_pillows_limit_is_one_line(tmp_path):
    file = tmp_path / "image.png"
    Image.new("1", (20_000, 20_000)).save(file)
    for size in (None, 32):
        with pytest.raises(UserError, match="image.png: not a readable image .*exceeds limit") as error:
            open_rgb(file, size)
        assert "\n" not in str(error.value)


def test_images_that_were_torn_or_damaged_are_one_line_or_an_image(tmp_path):
    numbers = np.random.default_rng(0)
    file = tmp_path / "image"
    refused = 0
    for suffix in ("png", "jpeg", "tiff", "webp", "bmp", "ppm"):
        Image.fromarray(numbers.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, suffix)
        whole = file.read_bytes()
        for _ in range(60):
            damaged = bytearray(whole)
            if numbers.random() < 0.3:
                del damaged[numbers.integers(len(whole)) :]
            else:
                for place in numbers.integers(0, min(200, len(whole)), 3):
                    damaged[place] = numbers.integers(256)
            file.write_bytes(damaged)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    open_rgb(file, 32)
                except UserError as error:
                    refused += 1
                    assert "\n" not in str(error) and str(error).startswith(str(file))
    print(f"360 damaged images: {refused} refused in one line, {360 - refused} read")
    assert refused > 150
