import dataclasses
import io
import json
import os
from pathlib import Path

import boto3
import numpy as np
import pytest
from botocore.config import Config
from moto import mock_aws
from PIL import Image

from toolkit import dataset as datasets
from toolkit import staging
from toolkit.dataset import Dataset, LabelledImage
from toolkit.staging import StagedDataset, StagingError, StagingVerificationError, stage, staged_files, verify

BUCKET = "vehicles"
SHARED_DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
REAL_CIFAR_100 = Path(os.environ.get("INVOKE_DATASET_ARCHIVE") or SHARED_DATA / "cifar-100-python.tar.gz")


def picture(seed: int, label: int, name: str | None = None) -> LabelledImage:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return LabelledImage(pixels, label, name or f"bike_s_{seed:06}.png")


def made(train: int = 20, test: int = 4, seed: int = 0) -> Dataset:
    """So many images of each of two classes."""
    return Dataset(
        source="folder",
        classes=("bicycle", "motorcycle"),
        train=tuple(picture(seed + number, number % 2) for number in range(2 * train)),
        test=tuple(picture(seed + 10_000 + number, number % 2) for number in range(2 * test)),
        comparable=True,
    )


def changed(dataset: Dataset, **splits: tuple[LabelledImage, ...]) -> Dataset:
    return dataclasses.replace(dataset, **splits)


@pytest.fixture
def s3(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1", config=Config(max_pool_connections=16))
        client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture
def writes(s3):
    """The keys of all that is written or removed, in order."""
    keys: list[str] = []
    for operation in ("PutObject", "DeleteObject"):
        s3.meta.events.register(f"provide-client-params.s3.{operation}", lambda params, **_: keys.append(params["Key"]))
    s3.meta.events.register(
        "provide-client-params.s3.DeleteObjects",
        lambda params, **_: keys.extend(entry["Key"] for entry in params["Delete"]["Objects"]),
    )
    return keys


def in_bucket(s3) -> dict[str, bytes]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    return {key: s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


def lines(content: bytes) -> list[tuple[int, int, str]]:
    rows = (line.split("\t") for line in content.decode().split("\n") if line)
    return [(int(position), int(label), name) for position, label, name in rows]


@pytest.fixture(params=["made here", "real"] if REAL_CIFAR_100.is_file() else ["made here"])
def any_dataset(request, tmp_path) -> Dataset:
    if request.param == "made here":
        return made()
    return datasets.load(str(REAL_CIFAR_100), ("bicycle", "motorcycle"), tmp_path)


def test_the_bucket_holds_the_dataset(s3, any_dataset):
    staged = stage(any_dataset, s3_client=s3, bucket=BUCKET)
    objects = in_bucket(s3)
    assert StagedDataset.read(s3, BUCKET) == staged
    assert (staged.train_images, staged.test_images) == (len(any_dataset.train), len(any_dataset.test))
    learnt, validated, tested = (lines(objects[f"{name}.lst"]) for name in ("train", "validation", "test"))
    assert len(validated) == staged.validation_images == round(0.1 * len(any_dataset.train))
    assert len(learnt) + len(validated) == len(any_dataset.train)
    for images, prefix, rows in (
        (any_dataset.train, "train/", learnt + validated),
        (any_dataset.test, "test/", tested),
    ):
        assert {prefix + name for _, _, name in rows} == {key for key in objects if key.startswith(prefix)}
        for position, label, name in rows:
            assert label == images[position].label
            pixels = np.asarray(Image.open(io.BytesIO(objects[prefix + name])))
            assert np.array_equal(pixels, images[position].pixels)
    assert {label for _, label, _ in validated} == {0, 1}


def test_official_names_are_kept(any_dataset):
    names = {name for _, _, name in lines(staged_files(any_dataset)["test.lst"])}
    assert names == {image.file_name for image in any_dataset.test}


def test_the_channels_keep_the_test_split_out(s3):
    staged = stage(made(), s3_client=s3, bucket=BUCKET)
    assert staged.channels == {
        "train": "s3://vehicles/train/",
        "validation": "s3://vehicles/train/",
        "train_lst": "s3://vehicles/train.lst",
        "validation_lst": "s3://vehicles/validation.lst",
    }
    assert (staged.test_uri, staged.test_lst_uri) == ("s3://vehicles/test/", "s3://vehicles/test.lst")


def test_staging_again_writes_nothing(s3, writes):
    first = stage(made(), s3_client=s3, bucket=BUCKET)
    assert len(writes) > 48
    writes.clear()
    assert stage(made(), s3_client=s3, bucket=BUCKET) == first
    assert writes == []


def test_only_what_changed_is_sent_and_stale_objects_go(s3, writes):
    before = made()
    stage(before, s3_client=s3, bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="models/job/model.tar.gz", Body=b"model")
    writes.clear()
    after = changed(before, test=(*before.test[1:], picture(99_999, 0)))
    stage(after, s3_client=s3, bucket=BUCKET)
    assert sorted(writes) == sorted([
        "dataset.json",
        "test/bike_s_010000.png",
        "test/bike_s_099999.png",
        "test.lst",
        "manifest.json",
        "dataset.json",
    ])  # fmt: skip
    assert "models/job/model.tar.gz" in in_bucket(s3)
    assert "test/bike_s_010000.png" not in in_bucket(s3)


def test_dataset_json_goes_first_and_comes_last(s3, writes):
    stage(made(), s3_client=s3, bucket=BUCKET)
    writes.clear()
    stage(made(seed=500), s3_client=s3, bucket=BUCKET)
    assert (writes[0], writes[-1]) == ("dataset.json", "dataset.json")


def test_more_stale_objects_than_one_request_can_remove(s3, monkeypatch):
    monkeypatch.setattr(staging, "_OBJECTS_PER_DELETION", 7)
    stage(made(), s3_client=s3, bucket=BUCKET)
    stage(made(seed=500), s3_client=s3, bucket=BUCKET)
    assert len([key for key in in_bucket(s3) if key.startswith("train/")]) == 40


def test_an_object_that_somebody_overwrote_is_sent_again(s3, writes):
    stage(made(), s3_client=s3, bucket=BUCKET)
    good = in_bucket(s3)
    key = "train/bike_s_000000.png"
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"\0" * len(good[key]))
    writes.clear()
    stage(made(), s3_client=s3, bucket=BUCKET)
    assert key in writes
    assert in_bucket(s3) == good | {"manifest.json": in_bucket(s3)["manifest.json"]}


def test_an_object_that_somebody_removed_is_sent_again(s3, writes):
    stage(made(), s3_client=s3, bucket=BUCKET)
    s3.delete_object(Bucket=BUCKET, Key="train.lst")
    writes.clear()
    stage(made(), s3_client=s3, bucket=BUCKET)
    assert "train.lst" in writes
    assert "test.lst" not in writes


@pytest.mark.parametrize("manifest", [b"", b"[]", b'{"objects": 3}', b"\xff"])
def test_a_damaged_manifest_costs_only_time(s3, manifest):
    stage(made(), s3_client=s3, bucket=BUCKET)
    good = in_bucket(s3)
    s3.put_object(Bucket=BUCKET, Key="manifest.json", Body=manifest)
    s3.put_object(Bucket=BUCKET, Key="dataset.json", Body=manifest)
    stage(made(), s3_client=s3, bucket=BUCKET)
    assert in_bucket(s3) == good


def test_after_an_interruption_nothing_counts_as_staged(s3):
    stage(made(), s3_client=s3, bucket=BUCKET)

    def fail(params, **_):
        if params["Key"] == "test.lst":
            raise KeyboardInterrupt

    s3.meta.events.register_first("provide-client-params.s3.PutObject", fail)
    with pytest.raises(KeyboardInterrupt):
        stage(made(seed=500), s3_client=s3, bucket=BUCKET)
    assert StagedDataset.read(s3, BUCKET) is None
    s3.meta.events.unregister("provide-client-params.s3.PutObject", fail)
    assert stage(made(), s3_client=s3, bucket=BUCKET) == StagedDataset.read(s3, BUCKET)


def test_the_key_encrypts_and_another_key_sends_all_again(s3, writes):
    stage(made(), s3_client=s3, bucket=BUCKET)
    count = len(in_bucket(s3))
    key = boto3.client("kms", region_name="us-east-1").create_key()["KeyMetadata"]["Arn"]
    for sent in (count + 1, 0):
        writes.clear()
        stage(made(), s3_client=s3, bucket=BUCKET, kms_key_id=key)
        assert len(writes) == sent
    head = s3.head_object(Bucket=BUCKET, Key="train/bike_s_000000.png")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key)
    assert head["ContentType"] == "image/png"


def test_nothing_is_staged_in_an_empty_bucket(s3):
    assert StagedDataset.read(s3, BUCKET) is None


def test_a_missing_bucket_has_a_remedy(s3):
    with pytest.raises(StagingError, match="no bucket absent"):
        stage(made(), s3_client=s3, bucket="absent")
    with pytest.raises(StagingError, match="no bucket absent"):
        StagedDataset.read(s3, "absent")


def test_an_unreachable_s3_has_a_remedy():
    config = Config(retries={"max_attempts": 0}, connect_timeout=1)
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url="http://127.0.0.1:1", config=config, **keys)
    with pytest.raises(StagingError, match="could not be reached"):
        StagedDataset.read(client, BUCKET)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"classes": ["a"], "else": 1}'])
def test_a_foreign_dataset_json_has_a_remedy(s3, content):
    s3.put_object(Bucket=BUCKET, Key="dataset.json", Body=content)
    with pytest.raises(StagingError, match=r"not one that staging wrote\. Stage the dataset again"):
        StagedDataset.read(s3, BUCKET)


def test_a_staged_dataset_survives_json(s3):
    staged = stage(made(), s3_client=s3, bucket=BUCKET)
    assert StagedDataset.from_json(staged.to_json()) == staged
    assert json.loads(staged.to_json())["classes"] == ["bicycle", "motorcycle"]


def refuse(dataset: Dataset, s3, message: str) -> None:
    """Check that staging refuses the dataset with `message` and sends nothing."""
    with pytest.raises(StagingVerificationError, match=message):
        stage(dataset, s3_client=s3, bucket=BUCKET)
    assert in_bucket(s3) == {}


def test_a_picture_in_both_splits(s3):
    good = made()
    copy = LabelledImage(good.train[0].pixels, 0, "copy.png")
    refuse(changed(good, test=(*good.test, copy)), s3, r"both splits: bike_s_000000\.png \(train.*copy\.png \(test")


def test_a_picture_in_two_classes(s3):
    good = made()
    copy = LabelledImage(good.train[0].pixels, 1, "copy.png")
    refuse(changed(good, train=(*good.train, copy)), s3, r"two classes: bike_s_000000\.png.*bicycle.*motorcycle")


def test_near_duplicates_are_let_through(s3):
    good = made()
    near = good.train[0].pixels.copy()
    near[0, 0, 0] ^= 1
    stage(changed(good, test=(*good.test, LabelledImage(near, 0, "near.png"))), s3_client=s3, bucket=BUCKET)


def test_too_few_images(s3):
    refuse(made(train=9), s3, "'bicycle' has 9 training images; at least 10")
    refuse(made(test=1), s3, "'bicycle' has 1 test images; at least 2")


def test_a_class_without_images(s3):
    good = made()
    refuse(dataclasses.replace(good, classes=(*good.classes, "tricycle")), s3, "'tricycle' has 0 training images")


def test_a_label_without_a_class(s3):
    good = made()
    refuse(changed(good, train=(*good.train, picture(77_777, 2))), s3, r"no class of the dataset: bike_s_077777\.png")


def test_images_of_several_shapes(s3):
    good = made()
    odd = LabelledImage(np.zeros((9, 8, 3), np.uint8), 0, "odd.png")
    refuse(changed(good, train=(*good.train, odd)), s3, r"differ in shape; of shape \(9, 8, 3\): odd\.png")


def test_imbalance_is_refused_when_large_and_warned_of_when_smaller(s3, capsys):
    good = made(train=10)
    more = tuple(picture(50_000 + number, 0) for number in range(91))
    refuse(changed(good, train=good.train + more), s3, r"'bicycle' has 101 training images, 10\.1 times")
    stage(changed(good, train=good.train + more[:-1]), s3_client=s3, bucket=BUCKET)
    printed = " ".join(capsys.readouterr().out.split())
    assert "Warning: 'bicycle' has 100 training images, 10.0 times those of 'motorcycle'" in printed
    assert "'motorcycle' has 10 training images; 100 are recommended" in printed


def test_the_drawings_bring_no_warning(tmp_path):
    drawings = datasets.load("", ("bicycle", "motorcycle"), tmp_path)
    assert verify(drawings, staged_files(drawings)) == []


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("train.lst", lambda content: content.replace(b"0\t0\t", b"0\t1\t", 1), r"train\.lst gives .* the label 1"),
        ("train.lst", lambda content: content.split(b"\n", 1)[1], r"Not exactly once in train\.lst and validation"),
        ("train.lst", lambda content: content + content.split(b"\n")[0] + b"\n", "Not exactly once"),
        ("train.lst", lambda content: content + b"99\t0\ta.png\n", "no such image"),
        ("test.lst", lambda content: content.replace(b"\t", b" "), r"test\.lst is missing, empty or malformed"),
        ("validation.lst", lambda content: b"", r"validation\.lst is missing, empty or malformed"),
        ("train/bike_s_000001.png", lambda content: b"", r"train/bike_s_000001\.png does not decode"),
        ("train/bike_s_000001.png", lambda content: content[:-30], r"train/bike_s_000001\.png does not decode"),
        ("test/extra.png", lambda content: b"", r"In no list: test/extra\.png"),
    ],
)
def test_files_that_differ_from_the_dataset(key, change, message):
    dataset = made()
    files = staged_files(dataset)
    files[key] = change(files.get(key, b""))
    with pytest.raises(StagingVerificationError, match=message):
        verify(dataset, files)


def test_exchanged_pictures():
    dataset = made()
    files = staged_files(dataset)
    one, other = "train/bike_s_000001.png", "train/bike_s_000002.png"
    files[one], files[other] = files[other], files[one]
    with pytest.raises(StagingVerificationError, match="does not decode to the pixels"):
        verify(dataset, files)


def test_names_that_collide_and_names_with_anything_in_them(s3):
    good = made()
    names = ["IMG_1.png", "img_1.jpg", "IMG_1.png", "ein Fahrrad ü.png", "../up\\and\\away.png", "tab\tline\n.png"]
    names += ["", "...", "自転車" * 40 + ".png", "a+b%20&c.png", "u\u0308.png", "\u00fc.png"]
    train = [LabelledImage(image.pixels, image.label, name) for image, name in zip(good.train, names, strict=False)]
    twin = LabelledImage(train[0].pixels, 0, "IMG_1.png")
    odd = changed(good, train=(*train, twin, *good.train[len(names) :]))
    staged = stage(odd, s3_client=s3, bucket=BUCKET)
    keys = [key for key in in_bucket(s3) if key.startswith("train/")]
    assert len({key.casefold() for key in keys}) == staged.train_images == 41
    assert "train/ein Fahrrad ü.png" in keys
    assert f"train/IMG_1-{train[0].content_sha256[:8]}.png" in keys
    assert all(key.count("/") == 1 and len(key.encode()) < 250 for key in keys)
    assert not any(character in key for key in keys for character in "\\\t\n")


def test_object_names_do_not_depend_on_the_order():
    good = made()
    same = tuple(LabelledImage(image.pixels, image.label, "photo.png") for image in good.train)
    forth, back = (staged_files(changed(good, train=images)) for images in (same, same[::-1]))
    assert {key: forth[key] for key in forth if "/" in key} == {key: back[key] for key in back if "/" in key}


def test_copies_are_never_divided_between_learning_and_validation():
    good = made()
    copies = tuple(LabelledImage(image.pixels, image.label, f"copy_{image.file_name}") for image in good.train)
    both = changed(good, train=good.train + copies)
    learnt, validation = staging.split_validation(both)
    assert sorted(learnt + validation) == list(range(80))
    assert len(validation) == 8
    contents = [{both.train[position].content_sha256 for position in side} for side in (learnt, validation)]
    assert not contents[0] & contents[1]


def test_the_identity_is_of_contents_and_not_of_order_or_names():
    good = made()
    identity = staging.dataset_sha256(good)
    renamed = tuple(LabelledImage(image.pixels, image.label, "x.png") for image in reversed(good.train))
    assert staging.dataset_sha256(changed(good, train=renamed)) == identity
    assert staging.dataset_sha256(dataclasses.replace(good, classes=("motorcycle", "bicycle"))) != identity
    assert staging.dataset_sha256(changed(good, train=good.test, test=good.train)) != identity
    assert staging.dataset_sha256(changed(good, train=good.train[1:])) != identity
