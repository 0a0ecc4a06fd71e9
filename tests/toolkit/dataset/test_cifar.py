import gzip
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from cifar_archives import cifar_10_members, cifar_100_members, pickled, rows, write_archive

from toolkit import dataset
from toolkit.dataset import archive, cifar
from toolkit.dataset.errors import (
    BrokenArchiveError,
    EmptyClassError,
    ForbiddenPickleError,
    InvalidClassesError,
    NotAnArchiveError,
    SourceNotFoundError,
    TamperedArchiveError,
    UnknownClassError,
)

CLASSES = ("bicycle", "motorcycle")


def load(path: Path, classes=CLASSES) -> dataset.Dataset:
    return dataset.load(str(path), classes, path.parent / "unused")


def test_both_classes_come_in_the_asked_order(bicycle_archive):
    loaded = load(bicycle_archive)
    assert (loaded.source, loaded.classes, loaded.image_shape, loaded.comparable) == (
        "cifar-100",
        CLASSES,
        "3,32,32",
        True,
    )
    turned = load(bicycle_archive, CLASSES[::-1])
    assert [image.label for image in turned.train] == [1 - image.label for image in loaded.train]
    assert {image.label for image in loaded.train} == {image.label for image in loaded.test} == {0, 1}


def test_pixels_labels_names_and_order_are_the_archives(bicycle_archive):
    loaded = load(bicycle_archive)
    with tarfile.open(bicycle_archive) as opened:
        raw = pickle.load(opened.extractfile("cifar-100-python/train"), encoding="bytes")  # noqa: S301 - our own file
    wanted = [row for row, label in enumerate(raw[b"fine_labels"]) if label in (8, 48)]
    assert [image.file_name.encode() for image in loaded.train] == [raw[b"filenames"][row] for row in wanted]
    assert [image.label for image in loaded.train] == [int(raw[b"fine_labels"][row] == 48) for row in wanted]
    for row, image in zip(wanted, loaded.train, strict=True):
        assert image.pixels.dtype == np.uint8
        assert np.array_equal(np.moveaxis(image.pixels, 2, 0).ravel(), raw[b"data"][row])


def test_a_training_image_that_is_a_test_image_too_is_left_out(tmp_path):
    train, test = rows([8, 48, 8, 48], seed=1), rows([8, 48], seed=2)
    train[b"data"][2] = test[b"data"][1]  # whatever its label
    path = write_archive(tmp_path / "a.tar.gz", cifar_100_members(train=pickled(train), test=pickled(test)))
    loaded = load(path)
    assert [image.file_name for image in loaded.train] == [f"bike_s_{number:06}.png" for number in (0, 1, 3)]
    assert len(loaded.test) == 2


def test_the_label_is_not_guessed_from_the_file_name(small_archive):
    loaded = load(small_archive)
    assert {image.label for image in loaded.train if image.file_name.startswith("bike")} == {0, 1}


def test_cifar_10_is_recognised(truck_archive):
    loaded = load(truck_archive, ("truck", "automobile"))
    assert (loaded.source, loaded.image_shape) == ("cifar-10", "3,32,32")
    assert {image.label for image in loaded.train} == {image.label for image in loaded.test} == {0, 1}


def test_cifar_10_batches_keep_their_order(tmp_path):
    loaded = load(write_archive(tmp_path / "ten.tar.gz", cifar_10_members()), ("truck", "automobile"))
    first = rows([1, 9, 1], 1)[b"data"]
    assert [image.label for image in loaded.train[:3]] == [1, 0, 1]
    assert np.array_equal(loaded.train[2].pixels.transpose(2, 0, 1).ravel(), first[2])


@pytest.mark.parametrize("order", ["C", "F"])
def test_pickles_of_python_2_read_the_same(tmp_path, small_archive, order):
    batch = rows([8, 48, 3] * 20, seed=1)
    batch[b"data"] = np.asarray(batch[b"data"], order=order)
    path = write_archive(tmp_path / "two.tar.gz", cifar_100_members(train=pickled(batch, python2=True)))
    assert [image.content_sha256 for image in load(path).train] == [
        image.content_sha256 for image in load(small_archive).train
    ]


def test_an_unknown_class_is_answered_with_similar_ones(small_archive):
    with pytest.raises(UnknownClassError, match=r"no class 'motorcicle'\. Did you mean motorcycle"):
        load(small_archive, ("bicycle", "motorcicle"))


@pytest.mark.parametrize("classes", [(), ("bicycle",), ("bicycle", "bicycle")])
def test_classes_must_be_two_different_ones(small_archive, classes):
    with pytest.raises(InvalidClassesError):
        load(small_archive, classes)


def test_a_class_without_test_images(small_archive):
    with pytest.raises(EmptyClassError, match="'class_3' has no test images"):
        load(small_archive, ("bicycle", "class_3"))


def test_a_class_without_any_images(small_archive):
    with pytest.raises(EmptyClassError, match="'class_4' has no training images"):
        load(small_archive, ("bicycle", "class_4"))


def test_a_missing_path(tmp_path):
    with pytest.raises(SourceNotFoundError, match=r"no\.tar\.gz"):
        load(tmp_path / "no.tar.gz")


@pytest.mark.parametrize("content", [b"", b"hello", gzip.compress(b"hello"), b"PK\x03\x04 zip"])
def test_not_an_archive(tmp_path, content):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(content)
    with pytest.raises(NotAnArchiveError):
        load(path)


@pytest.mark.parametrize("missing", ["meta", "train", "test"])
def test_an_archive_without_a_part_of_the_layout(tmp_path, missing):
    members = cifar_100_members()
    del members[f"cifar-100-python/{missing}"]
    with pytest.raises(NotAnArchiveError, match="layout"):
        load(write_archive(tmp_path / "a.tar.gz", members))


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.9999])
def test_a_truncated_archive(tmp_path, small_archive, kept):
    content = small_archive.read_bytes()
    path = tmp_path / "cut.tar.gz"
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises((BrokenArchiveError, NotAnArchiveError)):
        load(path)


def test_damaged_bytes_are_noticed(tmp_path, small_archive):
    content = bytearray(small_archive.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path = tmp_path / "damaged.tar.gz"
    path.write_bytes(content)
    with pytest.raises(BrokenArchiveError):
        load(path)


@pytest.mark.parametrize(
    "train",
    [
        b"",
        b"not a pickle",
        pickled([1, 2]),
        pickled({b"fine_labels": [8]}),
        pickled(rows([8, 48], 1) | {b"fine_labels": [8]}),
        pickled(rows([8, 48], 1) | {b"filenames": [b"one.png"]}),
        pickled(rows([8, 48], 1) | {b"filenames": [1, 2]}),
        pickled(rows([8, 48], 1) | {b"data": np.zeros((2, 3073), np.uint8)}),
        pickled(rows([8, 48], 1) | {b"data": np.zeros((2, 3072), np.float64)}),
        pickled(rows([8, 48], 1) | {b"data": b"no array"}),
    ],
)
def test_a_batch_that_is_none(tmp_path, train):
    with pytest.raises(BrokenArchiveError):
        load(write_archive(tmp_path / "a.tar.gz", cifar_100_members(train=train)))


class Runs:
    """A pickle of this calls a function when it is read."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(5))
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, protocol):
    trace = tmp_path / "trace"
    train = pickle.dumps({b"data": Runs(os.system, f"touch {trace}")}, protocol)
    with pytest.raises(ForbiddenPickleError, match="system"):
        load(write_archive(tmp_path / "a.tar.gz", cifar_100_members(train=train)))
    assert not trace.exists()


@pytest.mark.parametrize("function", [eval, getattr, np.load, np.frombuffer, io.open])
def test_harmless_looking_functions_are_refused_too(tmp_path, function):
    train = pickle.dumps(Runs(function, "x", "y"), 2)
    with pytest.raises(ForbiddenPickleError):
        load(write_archive(tmp_path / "a.tar.gz", cifar_100_members(train=train)))


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "cifar-100-python/../../evil"])
def test_a_member_outside_the_folder_is_refused(tmp_path, name):
    path = write_archive(tmp_path / "a.tar.gz", cifar_100_members() | {name: b"evil"})
    with pytest.raises(TamperedArchiveError, match="evil"):
        load(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tar.gz"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as opened:
        member = tarfile.TarInfo("cifar-100-python/meta")
        member.type, member.linkname = kind, "/etc/passwd"
        opened.addfile(member)
    with pytest.raises(TamperedArchiveError):
        load(tmp_path / "a.tar.gz")


def test_other_files_in_the_archive_are_passed_over(tmp_path):
    members = {"cifar-100-python/file.txt~": b"", "cifar-100-python/deep/train": b"x", "._train": b"x"}
    assert load(write_archive(tmp_path / "a.tar.gz", members | cifar_100_members())).train


@pytest.mark.parametrize(
    "members", [{"zeros": b"\0" * 3_000_000}, {"cifar-100-python/train": pickled([b"\0" * 3_000_000])}]
)
def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch, members):
    monkeypatch.setattr(archive, "MAXIMUM_UNPACKED_BYTES", 1_000_000)
    path = write_archive(tmp_path / "bomb.tar.gz", members)
    assert path.stat().st_size < 10_000
    with pytest.raises(BrokenArchiveError, match="far more"):
        load(path)


@pytest.mark.parametrize("content", [b"\x80\x02](" + b"]" * 3_000 + b"e.", pickled([[]] * 3_000)])
def test_a_pickle_of_too_many_objects_is_not_read(tmp_path, monkeypatch, content):
    monkeypatch.setattr(cifar, "MAXIMUM_OPERATIONS", 2_000)
    monkeypatch.setattr(cifar._PixelUnpickler, "load", lambda self: pytest.fail("It was read."))
    with pytest.raises(BrokenArchiveError, match="too many objects"):
        load(write_archive(tmp_path / "a.tar.gz", {"cifar-100-python/train": content}))


def test_an_archive_of_the_official_size_needs_the_official_checksum(small_archive, monkeypatch):
    monkeypatch.setattr(cifar, "OFFICIAL_BYTES", {small_archive.stat().st_size})
    with pytest.raises(TamperedArchiveError, match="MD5"):
        load(small_archive)


def test_an_archive_with_all_rows_needs_the_official_checksum(tmp_path):
    full = rows([8, 48], 1)
    full |= {
        b"data": np.zeros((50_000, 3072), np.uint8),
        b"fine_labels": [8, 48] * 25_000,
        b"filenames": [b"x.png"] * 50_000,
    }
    path = write_archive(tmp_path / "full.tar.gz", cifar_100_members(train=pickled(full, python2=True)))
    with pytest.raises(TamperedArchiveError, match="MD5"):
        load(path)
