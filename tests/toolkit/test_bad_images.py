"""Each bad image really is what its name says."""

import io

import pytest
from PIL import Image

from toolkit.bad_images import bad_images

IMAGES = {image.name: image for image in bad_images()}


def opened(name: str) -> Image.Image:
    return Image.open(io.BytesIO(IMAGES[name].body))


def test_there_is_one_of_each_kind():
    assert len(IMAGES) == len(bad_images())
    assert {image.error for image in IMAGES.values()} == {"ImageNotFound", "ImageTooLarge", "ImageUnreadable"}


def test_only_the_missing_one_has_no_bytes_to_upload():
    assert [name for name, image in IMAGES.items() if image.body is None] == ["missing.png"]
    assert IMAGES["empty.png"].body == b""


def test_the_text_is_a_text():
    assert IMAGES["text.png"].body.decode().isprintable() is False  # for its line end
    with pytest.raises(Image.UnidentifiedImageError):
        opened("text.png")


def test_the_truncated_one_begins_well_and_breaks_off():
    assert opened("truncated.png").format == "PNG"
    with pytest.raises((OSError, SyntaxError)):
        opened("truncated.png").load()


def test_the_large_one_has_sixty_megapixels_in_few_bytes(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # a handler that was imported by another test has its own
    with opened("60-megapixels.png") as image:
        assert image.width * image.height == 60_000_000
    assert len(IMAGES["60-megapixels.png"].body) < 1_000_000  # what is refused are its pixels, not its bytes


def test_the_animated_one_moves():
    with opened("animated.gif") as image:
        assert (image.format, image.is_animated, image.n_frames) == ("GIF", True, 3)


def test_the_heavy_one_has_twenty_megabytes():
    assert len(IMAGES["20-megabytes.jpg"].body) == 20_000_000


def test_two_calls_give_the_same_bytes():
    assert bad_images() == bad_images()
