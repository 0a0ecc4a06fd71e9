"""Several sources at once: each class comes from the one that has it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from cifar_archives import (
    REAL_CIFAR_10,
    REAL_CIFAR_100,
    cifar_10_members,
    cifar_100_members,
    pickled,
    rows,
    write_archive,
)
from PIL import Image

from toolkit import dataset
from toolkit.dataset.errors import AmbiguousClassError, InvalidClassesError, SourceNotFoundError, UnknownClassError
from toolkit.staging import dataset_sha256, staged_files, verify

FOUR = ("bicycle", "motorcycle", "automobile", "truck")


def load(*sources: Path | str, classes: tuple[str, ...] = FOUR) -> dataset.Dataset:
    return dataset.load(", ".join(map(str, sources)), classes, Path("unused"))


def hundred(folder: Path) -> Path:
    return write_archive(folder / "hundred.tar.gz", cifar_100_members())


def ten(folder: Path, images: int = 20) -> Path:
    """Automobiles and trucks of CIFAR-10, so many each."""
    members = {
        "cifar-10-batches-py/batches.meta": cifar_10_members()["cifar-10-batches-py/batches.meta"],
        "cifar-10-batches-py/data_batch_1": pickled(rows([1, 9] * images, 11, b"labels")),
        "cifar-10-batches-py/test_batch": pickled(rows([9, 1] * 4, 16, b"labels")),
    }
    return write_archive(folder / "ten.tar.gz", members)


@pytest.fixture(params=["made here", "real"] if REAL_CIFAR_100.is_file() and REAL_CIFAR_10.is_file() else ["made here"])
def archives(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    return (REAL_CIFAR_100, REAL_CIFAR_10) if request.param == "real" else (hundred(tmp_path), ten(tmp_path))


def test_four_classes_of_two_archives_are_fit_to_learn_from(archives):
    loaded = load(*archives)
    assert (loaded.source, loaded.classes, loaded.image_shape) == ("cifar-100+cifar-10", FOUR, "3,32,32")
    assert loaded.comparable
    for images in (loaded.train, loaded.test):
        counts = Counter(image.label for image in images)
        assert sorted(counts) == [0, 1, 2, 3]
    assert all("at least" not in warning for warning in verify(loaded, staged_files(loaded)))


def test_each_class_comes_from_the_archive_that_has_it(archives):
    together = load(*archives, classes=("truck", "bicycle", "automobile", "motorcycle"))
    apart = load(archives[0], classes=("bicycle", "motorcycle"))
    trucks = load(archives[1], classes=("truck", "automobile"))
    for label, (part, part_label) in enumerate(((trucks, 0), (apart, 0), (trucks, 1), (apart, 1))):
        expected = [image.content_sha256 for image in part.train if image.label == part_label]
        assert [image.content_sha256 for image in together.train if image.label == label] == expected


def test_the_order_of_the_archives_does_not_matter(archives):
    assert dataset_sha256(load(*archives)) == dataset_sha256(load(*archives[::-1]))


def test_an_archive_of_which_nothing_is_wanted_adds_nothing(tmp_path):
    both = load(hundred(tmp_path), ten(tmp_path), classes=("bicycle", "motorcycle"))
    assert both.source == "cifar-100"


def test_photos_get_the_archives_size(tmp_path):
    for number in range(10):
        (tmp_path / "photos" / "truck").mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (60, 60, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "photos" / "truck" / f"{number}.png")
    loaded = load(hundred(tmp_path), tmp_path / "photos", classes=("bicycle", "truck"))
    assert {image.pixels.shape for image in (*loaded.train, *loaded.test)} == {(32, 32, 3)}
    assert loaded.source == "cifar-100+folder"


def test_a_class_that_two_sources_have_is_refused_with_their_names(tmp_path):
    first = hundred(tmp_path)
    (tmp_path / "other").mkdir()
    second = hundred(tmp_path / "other")
    with pytest.raises(AmbiguousClassError, match=rf"'bicycle' is in {first} and in {second}\. Leave all but one"):
        load(first, second, classes=("bicycle", "motorcycle"))


def test_a_class_that_no_source_has_is_answered_with_what_there_is(tmp_path):
    with pytest.raises(UnknownClassError, match=r"no class 'lorry', neither in .*hundred.* nor in .*ten.*airplane"):
        load(hundred(tmp_path), ten(tmp_path), classes=("bicycle", "lorry"))
    with pytest.raises(UnknownClassError, match=r"Did you mean automobile\?"):
        load(hundred(tmp_path), ten(tmp_path), classes=("bicycle", "automobil"))


def test_a_source_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SourceNotFoundError, match=r"absent\.tar\.gz cannot be found"):
        load(hundred(tmp_path), tmp_path / "absent.tar.gz")


def test_a_class_named_twice_is_refused_though_two_sources_are_given(tmp_path):
    with pytest.raises(InvalidClassesError):
        load(hundred(tmp_path), ten(tmp_path), classes=("bicycle", "bicycle"))
