"""Staging: from a dataset to the objects in S3 that training reads.

    train/<name>.png   every image of the dataset's training split
    test/<name>.png    every image of its test split
    train.lst          which of train/ to learn from
    validation.lst     which of train/ to choose epochs and threshold with: never learnt from
    test.lst           the test split, read once, at the end
    manifest.json      what was sent, so that the next staging sends only what changed
    dataset.json       the `StagedDataset`; sent last, so that where it is, all the rest is too

A `.lst` line is: position of the image in its split, label, file name within train/ or test/, with tabs between them.
The channels `train` and `validation` both read train/, each with its own `.lst`.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any, Self

import numpy as np
from botocore.exceptions import BotoCoreError, ClientError
from PIL import Image

from toolkit.dataset import Dataset, LabelledImage, held_out
from toolkit.errors import ToolkitError
from toolkit.progress import console, progress_bar

VALIDATION_FRACTION = 0.1

# Below the minimum, or above the maximum, nothing that is learnt or measured means anything: an error. Ten training
# images leave one to validate with. Between that and the recommended values it is a person's decision: a warning.
MINIMUM_TRAIN_IMAGES_PER_CLASS = 10
MINIMUM_TEST_IMAGES_PER_CLASS = 2
RECOMMENDED_TRAIN_IMAGES_PER_CLASS = 100
RECOMMENDED_TEST_IMAGES_PER_CLASS = 20
MAXIMUM_IMBALANCE = 10.0
RECOMMENDED_IMBALANCE = 3.0

_PARALLEL_REQUESTS = 16
_OBJECTS_PER_DELETION = 1000  # S3's limit
_STEM_CHARACTERS = 50  # At four bytes each, with hash and ending, within the 255 bytes that file systems allow.
_DATASET_KEY = "dataset.json"
_MANIFEST_KEY = "manifest.json"
_PREFIXES = ("train/", "test/")
_CONTENT_TYPES = {".png": "image/png", ".json": "application/json", ".lst": "text/plain; charset=utf-8"}


class StagingError(ToolkitError):
    """S3 refuses, or holds something that is not ours."""


class StagingVerificationError(ToolkitError):
    """The dataset, or what would be sent of it, is not fit to learn from. Nothing was sent."""


@dataclass(frozen=True)
class StagedDataset:
    """What lies in a bucket, ready for training.

    Attributes:
        bucket: The bucket's name.
        source: The dataset's source, e.g. "cifar-100" or "cifar-100+folder".
        classes: Names of the classes, in the order of the labels.
        image_shape: Channels, height, width, e.g. "3,32,32".
        train_images: All images under train/, those of validation.lst among them.
        validation_images: How many of them are for validation.
        test_images: All images under test/.
        train_images_by_class: How many of the training images each class has.
        test_images_by_class: How many of the test images.
        dataset_sha256: Identity of the dataset: splits, labels, classes and pixels.
        comparable: Whether an accuracy on it says anything about real images.
    """

    bucket: str
    source: str
    classes: tuple[str, ...]
    image_shape: str
    train_images: int
    validation_images: int
    test_images: int
    train_images_by_class: dict[str, int]
    test_images_by_class: dict[str, int]
    dataset_sha256: str
    comparable: bool

    @property
    def channels(self) -> dict[str, str]:
        """S3 URI of each channel that a training job reads. The test split is none of them."""
        return {
            "train": f"s3://{self.bucket}/train/",
            "validation": f"s3://{self.bucket}/train/",
            "train_lst": f"s3://{self.bucket}/train.lst",
            "validation_lst": f"s3://{self.bucket}/validation.lst",
        }

    @property
    def test_uri(self) -> str:
        """S3 URI under which the test images lie."""
        return f"s3://{self.bucket}/test/"

    @property
    def test_lst_uri(self) -> str:
        """S3 URI of the list of test images."""
        return f"s3://{self.bucket}/test.lst"

    def to_json(self) -> str:
        """As it is stored in dataset.json."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The inverse of `to_json`.

        Raises:
            StagingError: The text is not what `to_json` writes.
        """
        try:
            values = json.loads(text)
            return cls(**{**values, "classes": tuple(values["classes"])})
        except (ValueError, TypeError, KeyError) as error:
            raise StagingError(f"{_DATASET_KEY} is not one that staging wrote.", "Stage the dataset again.") from error

    @classmethod
    def read(cls, s3_client: Any, bucket: str) -> Self | None:
        """What is staged in the bucket, or None when nothing is, or staging was cut short.

        Raises:
            StagingError: S3 refuses, or the bucket holds another kind of dataset.json.
        """
        with _readable_s3_errors(bucket):
            content = _get(s3_client, bucket, _DATASET_KEY)
        return None if content is None else cls.from_json(content)


def stage(
    dataset: Dataset,
    *,
    s3_client: Any,
    bucket: str,
    kms_key_id: str | None = None,
) -> StagedDataset:
    """Verify a dataset and bring a bucket in line with it.

    Only what changed is sent. An object is unchanged when the manifest of the last staging gives it the same SHA-256
    and it still has the ETag that S3 gave it then. (With SSE-KMS an ETag is not the content's MD5, but it still
    changes with every write. So two listings and one small object tell all; no object needs to be asked for.) Objects
    of an earlier dataset under train/ and test/ are removed. While objects change there is no dataset.json.

    Args:
        dataset: What to stage.
        s3_client: A boto3 client, configured with time-outs and bounded retries, and a pool of 16 connections.
        bucket: The bucket's name.
        kms_key_id: Key to encrypt with; the bucket's default if None. Another key than last time sends all again.

    Returns:
        What is in the bucket now, as in its dataset.json.

    Raises:
        StagingVerificationError: The dataset is not fit to learn from; nothing was sent.
        StagingError: S3 refuses.
    """
    files = staged_files(dataset)
    for warning in verify(dataset, files):
        console.print(f"Warning: {warning}", style="yellow", markup=False)
    staged = StagedDataset(
        bucket=bucket,
        source=dataset.source,
        classes=dataset.classes,
        image_shape=dataset.image_shape,
        train_images=len(dataset.train),
        validation_images=files["validation.lst"].count(b"\n"),
        test_images=len(dataset.test),
        train_images_by_class=_count_by_class(dataset, dataset.train),
        test_images_by_class=_count_by_class(dataset, dataset.test),
        dataset_sha256=dataset_sha256(dataset),
        comparable=dataset.comparable,
    )
    with _readable_s3_errors(bucket):
        _Bucket(s3_client, bucket, kms_key_id).update(files, staged.to_json().encode())
    return staged


def split_validation(dataset: Dataset) -> tuple[list[int], list[int]]:
    """Split the training images into those to learn from and those to validate with.

    A tenth of each class is for validation, chosen by content: the same on every machine, copies of one picture
    always on the same side.

    Returns:
        Positions in `dataset.train` to learn from, and to validate with, both ascending.
    """
    validation = held_out(dataset.train, VALIDATION_FRACTION)
    return [position for position in range(len(dataset.train)) if position not in validation], sorted(validation)


def dataset_sha256(dataset: Dataset) -> str:
    """Identity of a dataset in hexadecimal: its splits, labels, classes and pixels, whatever their order and names."""
    lines = sorted(
        f"{split}\t{image.label}\t{dataset.classes[image.label]}\t{image.content_sha256}\n"
        for split, images in (("train", dataset.train), ("test", dataset.test))
        for image in images
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def staged_files(dataset: Dataset) -> dict[str, bytes]:
    """Write the PNG files and lists of a dataset.

    Returns:
        Content by S3 key; the same bytes for the same dataset and version of Pillow.
    """
    train_names, test_names = _object_names(dataset.train), _object_names(dataset.test)
    learnt, validation = split_validation(dataset)
    files = {f"train/{name}": _png(image) for name, image in zip(train_names, dataset.train, strict=True)}
    files |= {f"test/{name}": _png(image) for name, image in zip(test_names, dataset.test, strict=True)}
    files["train.lst"] = _list(dataset.train, train_names, learnt)
    files["validation.lst"] = _list(dataset.train, train_names, validation)
    files["test.lst"] = _list(dataset.test, test_names, range(len(dataset.test)))
    return files


def verify(dataset: Dataset, files: Mapping[str, bytes]) -> list[str]:
    """Check a dataset and the files written from it, by reading the files again.

    - Each class has at least `MINIMUM_TRAIN_IMAGES_PER_CLASS` images to train and `MINIMUM_TEST_IMAGES_PER_CLASS` to
      test with, no class `MAXIMUM_IMBALANCE` times as many as another, and all images one shape.
    - No picture is in both splits or has two labels. Only equal pixels count: CIFAR has near-duplicates.
    - Each image is in exactly one list, with the dataset's label, and its PNG decodes to the dataset's pixels. No
      file is left over.

    Args:
        dataset: The dataset.
        files: Content by S3 key, as `staged_files` gives it.

    Returns:
        Warnings: what is lawful, but less than recommended.

    Raises:
        StagingVerificationError: Something is wrong; the message names the files.
    """
    warnings = _verify_counts(dataset)
    _verify_contents_are_apart(dataset)
    used = {"train.lst", "validation.lst", "test.lst"}
    for prefix, images, lists in (
        ("train/", dataset.train, ("train.lst", "validation.lst")),
        ("test/", dataset.test, ("test.lst",)),
    ):
        listed: Counter[int] = Counter()
        for name in lists:
            for position, label, file_name in _rows(name, files):
                listed[position] += 1
                used.add(prefix + file_name)
                image = images[position] if position < len(images) else None
                if image is None or label != image.label:
                    expected = "no such image" if image is None else f"the label {image.label}"
                    raise _unfit(f"{name} gives {prefix}{file_name} the label {label}; the dataset has {expected}.")
                if not _decodes_to(files.get(prefix + file_name, b""), image):
                    raise _unfit(f"{prefix}{file_name} does not decode to the pixels of {image.file_name}.")
        wrong = [image.file_name for position, image in enumerate(images) if listed[position] != 1]
        if wrong:
            raise _unfit(f"Not exactly once in {' and '.join(lists)}: {_some(wrong)}.")
    if files.keys() != used:
        raise _unfit(f"In no list: {_some(sorted(files.keys() - used))}.")
    return warnings


def _rows(name: str, files: Mapping[str, bytes]) -> list[tuple[int, int, str]]:
    """Read a list: position, label and file name of each line."""
    rows = [re.fullmatch(r"(\d+)\t(\d+)\t([^\t]+)", line) for line in files.get(name, b"").decode().splitlines()]
    if not rows or None in rows:
        raise _unfit(f"{name} is missing, empty or malformed.")
    return [(int(row[1]), int(row[2]), row[3]) for row in rows if row]


def _verify_counts(dataset: Dataset) -> list[str]:
    shapes = Counter(image.pixels.shape for image in (*dataset.train, *dataset.test))
    if len(shapes) > 1:
        odd = shapes.most_common()[-1][0]
        names = [image.file_name for image in (*dataset.train, *dataset.test) if image.pixels.shape == odd]
        raise _unfit(f"Images differ in shape; of shape {odd}: {_some(names)}.")
    warnings = []
    for split, images, minimum, recommended in (
        ("training", dataset.train, MINIMUM_TRAIN_IMAGES_PER_CLASS, RECOMMENDED_TRAIN_IMAGES_PER_CLASS),
        ("test", dataset.test, MINIMUM_TEST_IMAGES_PER_CLASS, RECOMMENDED_TEST_IMAGES_PER_CLASS),
    ):
        names = [image.file_name for image in images if image.label not in range(len(dataset.classes))]
        if names:
            raise _unfit(f"Labelled with no class of the dataset: {_some(names)}.")
        counts = _count_by_class(dataset, images)
        for name, count in counts.items():
            if count < minimum:
                raise _unfit(f"The class {name!r} has {count} {split} images; at least {minimum} are needed.")
            if count < recommended:
                warnings.append(f"the class {name!r} has {count} {split} images; {recommended} are recommended.")
        most, fewest = max(counts, key=lambda name: counts[name]), min(counts, key=lambda name: counts[name])
        balance = (
            f"{most!r} has {counts[most]} {split} images, {counts[fewest] and counts[most] / counts[fewest]:.1f} times"
        )
        if counts[most] > MAXIMUM_IMBALANCE * counts[fewest]:
            raise _unfit(f"{balance} those of {fewest!r}; at most {MAXIMUM_IMBALANCE:g} times is accepted.")
        if counts[most] > RECOMMENDED_IMBALANCE * counts[fewest]:
            warnings.append(f"{balance} those of {fewest!r}; at most {RECOMMENDED_IMBALANCE:g} times is recommended.")
    return warnings


def _count_by_class(dataset: Dataset, images: Sequence[LabelledImage]) -> dict[str, int]:
    by_label = Counter(image.label for image in images)
    return {name: by_label[label] for label, name in enumerate(dataset.classes)}


def _verify_contents_are_apart(dataset: Dataset) -> None:
    """Check that no picture is in both splits, and none has two labels."""
    seen: defaultdict[str, list[tuple[str, LabelledImage]]] = defaultdict(list)
    for split, images in (("train", dataset.train), ("test", dataset.test)):
        for image in images:
            seen[image.content_sha256].append((split, image))
    for copies in seen.values():
        names = _some([f"{image.file_name} ({split}, {dataset.classes[image.label]})" for split, image in copies])
        if len({split for split, _ in copies}) > 1:
            raise _unfit(f"The same picture is in both splits: {names}.")
        if len({image.label for _, image in copies}) > 1:
            raise _unfit(f"The same picture is in two classes: {names}.")


def _unfit(problem: str) -> StagingVerificationError:
    return StagingVerificationError(problem, "Nothing was sent; mend the dataset and stage it again.")


def _some(names: Sequence[str], limit: int = 5) -> str:
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _object_names(images: Sequence[LabelledImage]) -> list[str]:
    """A file name for each image, unique even where file names collide, whichever image comes first.

    Images keep the stem of their name, cleaned of what has a meaning in a key, a path or a `.lst`. Where stems collide
    (two cameras' IMG_0001), each gets a few digits of its content's hash. Names that differ in case alone collide too:
    a training container may run on a file system that cannot tell them apart.
    """
    stems = [_clean_stem(image.file_name) for image in images]
    occurrences = Counter(stem.casefold() for stem in stems)
    taken: set[str] = set()
    names = []
    for stem, image in zip(stems, images, strict=True):
        name = f"{stem}-{image.content_sha256[:8]}" if occurrences[stem.casefold()] > 1 else stem
        while name.casefold() in taken:  # The same picture twice, under one name.
            name += "_"
        taken.add(name.casefold())
        names.append(f"{name}.png")
    return names


def _clean_stem(file_name: str) -> str:
    stem = PurePath(unicodedata.normalize("NFC", file_name)).stem
    printable = "".join(character if character.isprintable() else "_" for character in stem)
    return re.sub(r"[\\/]|^\.+", "_", printable)[:_STEM_CHARACTERS] or "image"


def _png(image: LabelledImage) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image.pixels).save(content, "PNG")
    return content.getvalue()


def _decodes_to(png: bytes, image: LabelledImage) -> bool:
    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as decoded:
            return decoded.mode == "RGB" and np.array_equal(np.asarray(decoded), image.pixels)
    except (OSError, SyntaxError):  # What Pillow raises for damaged PNG files.
        return False


def _list(images: Sequence[LabelledImage], names: Sequence[str], positions: Sequence[int]) -> bytes:
    return "".join(f"{position}\t{images[position].label}\t{names[position]}\n" for position in positions).encode()


class _Bucket:
    """Brings the objects of one bucket in line with files."""

    def __init__(self, s3_client: Any, name: str, kms_key_id: str | None) -> None:
        self._s3 = s3_client
        self._name = name
        self._kms_key_id = kms_key_id

    def update(self, files: Mapping[str, bytes], dataset_json: bytes) -> None:
        """Send what changed, remove what is stale, and at last send manifest.json and dataset.json."""
        etags = self._listed_etags()
        sha256 = {key: hashlib.sha256(content).hexdigest() for key, content in files.items()}
        manifest = self._manifest()
        unchanged = {
            key for key, digest in sha256.items() if key in etags and manifest.get(key) == [digest, etags[key]]
        }
        changed = sorted(files.keys() - unchanged)
        stale = sorted(key for key in etags.keys() - files.keys() if key.startswith(_PREFIXES))
        if not changed and not stale and _get(self._s3, self._name, _DATASET_KEY) == dataset_json:
            return
        self._s3.delete_object(Bucket=self._name, Key=_DATASET_KEY)
        self._remove(stale)
        etags |= self._send(files, changed)
        manifest = {key: [digest, etags[key]] for key, digest in sorted(sha256.items())}
        written = {"kms_key_id": self._kms_key_id, "objects": manifest}
        self._put(_MANIFEST_KEY, json.dumps(written, indent=0, ensure_ascii=False).encode())
        self._put(_DATASET_KEY, dataset_json)

    def _listed_etags(self) -> dict[str, str]:
        """ETag by key, of all objects that staging could have sent."""
        paginator = self._s3.get_paginator("list_objects_v2")
        return {
            entry["Key"]: entry["ETag"]
            for prefix in (*_PREFIXES, "train.lst", "validation.lst", "test.lst")
            for page in paginator.paginate(Bucket=self._name, Prefix=prefix)
            for entry in page.get("Contents", [])
        }

    def _manifest(self) -> dict[str, list[str]]:
        """SHA-256 and ETag by key, as last sent; nothing when that cannot be relied on."""
        try:
            manifest = json.loads(_get(self._s3, self._name, _MANIFEST_KEY) or b"{}")
            objects = manifest["objects"] if manifest.get("kms_key_id") == self._kms_key_id else {}
        except (ValueError, KeyError, AttributeError):
            return {}
        return objects if isinstance(objects, dict) else {}

    def _send(self, files: Mapping[str, bytes], keys: Sequence[str]) -> dict[str, str]:
        """Send files in parallel and return their ETags. The first failure stops all."""
        with progress_bar() as progress, ThreadPoolExecutor(_PARALLEL_REQUESTS) as executor:
            task = progress.add_task(f"Sending to s3://{self._name}", total=len(keys))
            futures = {executor.submit(self._put, key, files[key]): key for key in keys}
            etags = {}
            try:
                for future in as_completed(futures):
                    etags[futures[future]] = future.result()
                    progress.advance(task)
            finally:
                executor.shutdown(cancel_futures=True)
            return etags

    def _put(self, key: str, content: bytes) -> str:
        encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self._kms_key_id} if self._kms_key_id else {}
        content_type = _CONTENT_TYPES[PurePath(key).suffix]
        answer = self._s3.put_object(Bucket=self._name, Key=key, Body=content, ContentType=content_type, **encryption)
        return str(answer["ETag"])

    def _remove(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), _OBJECTS_PER_DELETION):
            batch = [{"Key": key} for key in keys[start : start + _OBJECTS_PER_DELETION]]
            answer = self._s3.delete_objects(Bucket=self._name, Delete={"Objects": batch, "Quiet": True})
            for failure in answer.get("Errors", []):
                raise StagingError(
                    f"{failure['Key']} of an earlier dataset could not be removed: {failure.get('Message')}.",
                    "Allow s3:DeleteObject and stage the dataset again.",
                )


def _get(s3_client: Any, bucket: str, key: str) -> bytes | None:
    try:
        content: bytes = s3_client.get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchKey":
            return None
        raise
    return content


@contextmanager
def _readable_s3_errors(bucket: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        details = error.response["Error"]
        if details["Code"] == "NoSuchBucket":
            raise StagingError(
                f"There is no bucket {bucket}.", "Apply the environment's foundation with Terraform first."
            ) from error
        raise StagingError(
            f"S3 refuses {error.operation_name} in {bucket}: {details['Code']}, {details.get('Message', 'no reason')}.",
            "Check the credentials and their permissions on the bucket and its key.",
        ) from error
    except BotoCoreError as error:
        raise StagingError(f"S3 could not be reached: {error}", "Check the connection and the credentials.") from error
