from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from toolkit import dataset
from toolkit.dataset import folder
from toolkit.dataset.errors import EmptyClassError, UnknownClassError, UnreadableImageError

CLASSES = ("cat", "dog")


def save(path: Path, seed: int, size: tuple[int, int] = (40, 30), **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).save(path, **options)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for label, name in enumerate(CLASSES):
        for number in range(10):
            save(tmp_path / "photos" / name / f"IMG {number} ü.png", seed=100 * label + number)
    return tmp_path / "photos"


def load(path: Path, classes=CLASSES, photo_size: int = 16) -> dataset.Dataset:
    return dataset.load(str(path), classes, path / "unused", photo_size=photo_size)


def one(path: Path, size: int = 16) -> np.ndarray:
    """The pixels of the only photo of class cat."""
    images = load(path.parents[1], photo_size=size)
    (image,) = [image for image in (*images.train, *images.test) if image.file_name == path.name]
    return image.pixels


@pytest.fixture
def studio(photos):
    """Where to put one photo of class cat to look at."""
    return photos / "cat"


def test_a_fifth_of_each_class_is_for_testing(photos):
    loaded = load(photos)
    assert (loaded.source, loaded.image_shape, loaded.comparable) == ("folder", "3,16,16", True)
    assert [sum(image.label == label for image in loaded.train) for label in (0, 1)] == [8, 8]
    assert [sum(image.label == label for image in loaded.test) for label in (0, 1)] == [2, 2]


def test_photos_have_128_pixels_a_side_unless_told_otherwise(photos):
    assert dataset.load(str(photos), CLASSES, photos).image_shape == "3,128,128"


def test_the_split_follows_the_content_and_not_the_names(photos, tmp_path):
    before = {image.content_sha256 for image in load(photos).test}
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        path.rename(path.with_name(f"{(7 * number) % 20:03}.PNG"))
    assert {image.content_sha256 for image in load(photos).test} == before


def test_copies_of_a_photo_stay_on_one_side(photos):
    for path in list(photos.rglob("*.png")):
        for number in range(3):
            path.with_name(f"copy {number} of {path.name}").write_bytes(path.read_bytes())
    loaded = load(photos)
    assert len(loaded.train) + len(loaded.test) == 80
    assert not {image.content_sha256 for image in loaded.train} & {image.content_sha256 for image in loaded.test}


def test_a_split_of_the_users_is_kept(tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        for label, name in enumerate(CLASSES):
            for number in range(count):
                save(tmp_path / split / name / f"{split}{number}.png", seed=hash((split, label, number)) % 2**32)
    loaded = load(tmp_path)
    assert {image.file_name for image in loaded.test} == {"test0.png", "test1.png"}
    assert (len(loaded.train), len(loaded.test)) == (6, 4)


def test_exif_rotation_is_applied(studio):
    left_red = Image.new("RGB", (40, 40), "blue")
    left_red.paste("red", (0, 0, 20, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees clockwise
    left_red.save(studio / "turned.jpg", exif=exif, quality=95)
    pixels = one(studio / "turned.jpg").astype(int)
    assert (pixels[:6, :, 0] > pixels[:6, :, 2]).all(), "what was left is above"
    assert (pixels[10:, :, 2] > pixels[10:, :, 0]).all()


def test_a_photo_is_kept_whole_and_its_edges_fill_the_square_as_in_serving(studio):
    flag = Image.new("RGB", (90, 30), "blue")
    flag.paste("red", (0, 0, 30, 30))
    for name, photo, red, blue in (
        ("wide.png", flag, slice(0, 4), slice(7, 16)),  # Scaling blends what lies next to the border.
        ("high.png", flag.resize((30, 90)), slice(0, 6), slice(9, 16)),
    ):
        photo.save(studio / name)
        pixels = one(studio / name)
        assert (pixels[:, red, 0] > 200).all()
        assert (pixels[:, blue, 2] > 200).all()


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("L", 77, ".png", (77, 77, 77)),
        ("LA", (77, 255), ".png", (77, 77, 77)),
        ("1", 1, ".png", (255, 255, 255)),
        ("I;16", 77 * 257, ".png", (77, 77, 77)),
        ("RGBA", (10, 20, 30, 0), ".png", (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), ".webp", (10, 20, 30)),
        ("CMYK", (0, 255, 255, 0), ".jpg", (255, 0, 0)),
        ("L", 77, ".JPEG", (77, 77, 77)),
        ("RGB", (1, 2, 3), ".bmp", (1, 2, 3)),
        ("P", 0, ".png", (0, 0, 0)),
    ],
)
def test_every_kind_of_photo_becomes_rgb(studio, mode, colour, suffix, expected):
    path = studio / f"kind{suffix}"
    Image.new(mode, (20, 20), colour).save(path, lossless=True)
    pixels = one(path)
    assert pixels.shape == (16, 16, 3)
    assert np.abs(pixels.astype(int) - expected).max() <= 4


def test_a_large_photo_is_scaled(studio):
    save(studio / "large.jpg", 1, (2000, 1500), quality=50)
    assert one(studio / "large.jpg", size=64).shape == (64, 64, 3)


@pytest.mark.parametrize("content", [b"", b"no photo", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"%!PS-Adobe-3.0 EPSF-3.0"])
def test_a_file_that_is_no_photo_is_named(studio, content):
    (studio / "broken.png").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=r"broken\.png"):
        load(studio.parent)


def test_a_truncated_photo_is_named(studio):
    path = save(studio / "cut.jpg", 1)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UnreadableImageError, match=r"cut\.jpg"):
        load(studio.parent)


def test_too_many_bytes(studio, monkeypatch):
    monkeypatch.setattr(folder, "MAXIMUM_PHOTO_BYTES", 100)
    with pytest.raises(UnreadableImageError, match="bytes, more than 100"):
        load(studio.parent)


def test_too_many_pixels_are_not_decoded(studio):
    Image.new("1", (20_000, 20_000)).save(studio / "huge.png")
    with pytest.raises(UnreadableImageError, match=r"huge\.png"):
        load(studio.parent)


def test_other_and_hidden_files_are_passed_over(photos):
    for name in ("notes.txt", ".DS_Store", "._IMG 1.png"):
        (photos / "cat" / name).write_bytes(b"x")
    (photos / "cat" / "folder.png").mkdir()
    assert len(load(photos).train) == 16


def test_an_unknown_class_is_answered_with_similar_ones(photos):
    with pytest.raises(UnknownClassError, match="Did you mean dog"):
        load(photos, ("cat", "dogs"))


def test_a_folder_without_classes(tmp_path):
    with pytest.raises(UnknownClassError, match="Make a sub-folder for each class"):
        load(tmp_path)


def test_an_empty_class(photos):
    (photos / "bird").mkdir()
    with pytest.raises(EmptyClassError, match="bird"):
        load(photos, ("cat", "bird"))


def test_one_photo_cannot_be_split(photos):
    save(photos / "bird" / "one.png", 1)
    with pytest.raises(EmptyClassError, match="'bird' has no test images"):
        load(photos, ("cat", "bird"))
