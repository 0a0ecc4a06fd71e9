"""Whatever is uploaded becomes the same kind of input that the network was trained on, or is refused by name."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Callable

import images
import numpy as np
import pytest
from errors import ImageTooLarge, ImageUnreadable
from PIL import Image

Encode = Callable[..., bytes]


def test_a_view_sized_png_stays_as_it_is(encoded: Encode) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert (images.square(images.decode(encoded(Image.fromarray(pixels))), 32) == pixels).all()


@pytest.mark.parametrize("size", [(224, 112), (112, 224), (1, 1), (1, 2000), (33, 32), (7, 5)])
def test_any_shape_becomes_square_without_distortion(size: tuple[int, int]) -> None:
    view = images.square(Image.new("RGB", size, (10, 200, 30)), 32)
    assert view.shape == (32, 32, 3)
    assert (view == (10, 200, 30)).all()


def test_a_wide_image_keeps_its_proportions() -> None:
    image = Image.new("RGB", (200, 100), "white")
    image.paste((0, 0, 0), (80, 0, 120, 100))  # a black bar, a fifth of the width
    middle = images.square(image, 100)[50, :, 0]
    assert (middle < 128).sum() == pytest.approx(20, abs=1)


def test_transparency_becomes_white(encoded: Encode) -> None:
    assert images.decode(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0)))).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16"])
def test_other_color_modes_become_rgb(encoded: Encode, mode: str) -> None:
    assert images.decode(encoded(Image.new(mode, (5, 4)))).mode == "RGB"


def test_sixteen_bits_become_eight(encoded: Encode) -> None:
    deep = Image.fromarray(np.full((4, 4), 77 * 257, np.uint16))
    assert images.decode(encoded(deep)).getpixel((0, 0)) == (77, 77, 77)


def test_whatever_is_damaged_is_refused_by_name(encoded: Encode) -> None:
    dice = np.random.default_rng(1)
    for kind in ("PNG", "JPEG"):
        whole = np.frombuffer(encoded(Image.effect_noise((24, 24), 90), kind), np.uint8)
        for _ in range(400):
            damaged = whole.copy()
            damaged[dice.integers(0, len(whole), 4)] = dice.integers(0, 256, 4)
            with contextlib.suppress(ImageTooLarge, ImageUnreadable):
                images.decode(damaged.tobytes())


def test_a_cameras_rotation_is_applied(encoded: Encode) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    assert images.decode(encoded(Image.new("RGB", (40, 20)), "JPEG", exif=exif)).size == (20, 40)


def test_too_many_bytes_are_refused() -> None:
    with pytest.raises(ImageTooLarge, match="bytes"):
        images.decode(b"\0" * (images.MAX_BYTES + 1))


@pytest.mark.parametrize("side", [6_000, 60_000])  # below and above the limit at which Pillow itself refuses
def test_too_many_pixels_are_refused_before_decoding(side: int) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    body += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    with pytest.raises(ImageTooLarge, match="pixels"):
        images.decode(body)


def test_what_is_no_png_or_jpeg_is_refused(encoded: Encode) -> None:
    whole = encoded(Image.effect_noise((64, 64), 90))
    for body in (b"", b"hello", whole[: len(whole) // 2], encoded(Image.new("RGB", (4, 4)), "GIF")):
        with pytest.raises(ImageUnreadable):
            images.decode(body)


def test_the_networks_input_is_normalized_and_large_enough() -> None:
    views = np.stack([np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)])
    batch = images.network_input(views, 128)
    assert batch.shape == (2, 128, 128, 3)
    assert batch.dtype == np.float32
    assert (batch.min(), batch.max()) == (-127 / 128, 1.0)


def test_serving_looks_at_the_whole_and_at_its_middle() -> None:
    for side in (128, 160, 224):
        whole, close = images.looks(side)
        assert whole.part == 1
        assert whole.side > side
        assert whole.side % images.STRIDE == 0
        assert close == (side, images.CLOSE_UP)


def test_a_close_up_shows_the_middle() -> None:
    view = np.zeros((1, 32, 32, 3), np.uint8)
    view[:, 8:24, 8:24] = 255  # a white square, half the side
    assert (images.network_input(view, 128, 0.5)[:, 8:-8, 8:-8] > 0.9).all()
    whole, close = images.network_input(view, 128), images.network_input(view, 128, images.CLOSE_UP)
    assert (close > 0).mean() == pytest.approx((whole > 0).mean() / images.CLOSE_UP**2, rel=0.03)


@pytest.mark.parametrize(("view", "side"), [(16, 128), (32, 128), (128, 128), (129, 160), (224, 224)])
def test_input_side_is_a_multiple_of_the_stride(view: int, side: int) -> None:
    assert images.input_side(view) == side
