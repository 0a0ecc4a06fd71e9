"""Makes small archives in CIFAR's layouts, and knows where the real ones are on machines that have them."""

import io
import os
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

CIFAR_100_NAMES = [f"class_{number}" for number in range(100)]
CIFAR_100_NAMES[8], CIFAR_100_NAMES[48] = "bicycle", "motorcycle"
CIFAR_10_NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

SHARED_DATA = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
REAL_CIFAR_100 = Path(os.environ.get("INVOKE_DATASET_ARCHIVE") or SHARED_DATA / "cifar-100-python.tar.gz")
REAL_CIFAR_10 = SHARED_DATA / "cifar-10-python.tar.gz"


class Python2Pickler(pickle._Pickler):
    """Writes byte strings as Python 2 did, which is how the official archives were made."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_bytes(self, content: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(content)

    dispatch[bytes] = save_bytes


def pickled(content: object, *, python2: bool = False) -> bytes:
    if not python2:
        return pickle.dumps(content, protocol=2)
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(content)
    return stream.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def rows(labels: list[int], seed: int, labels_key: bytes = b"fine_labels") -> dict[bytes, Any]:
    """A batch of noise: as many rows as labels. All files are called bike, whatever their label."""
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 3072), np.uint8)
    names = [b"bike_s_%06d.png" % number for number in range(len(labels))]
    return {b"filenames": names, labels_key: labels, b"data": pixels, b"batch_label": b"testing batch 1 of 1"}


def coloured(
    classes: dict[str, int], colours: dict[str, tuple[int, int, int]], count: int, labels_key: bytes, seed: int
) -> bytes:
    """A batch of images that are easily told apart by their colour: `count` of each class, by its label."""
    dice = np.random.default_rng(seed)
    labels, pixels = [], []
    for name, label in classes.items():
        plain = np.repeat(np.array(colours[name], np.int64), 1024)
        pixels += [np.clip(plain + dice.integers(-35, 35, 3072), 0, 255).astype(np.uint8) for _ in range(count)]
        labels += [label] * count
    names = [f"{seed}_{number:03}.png".encode() for number in range(len(labels))]
    return pickled({b"filenames": names, labels_key: labels, b"data": np.stack(pixels)})


def cifar_100_members(**changes: bytes) -> dict[str, bytes]:
    members = {
        "meta": pickled({b"fine_label_names": [name.encode() for name in CIFAR_100_NAMES]}),
        "train": pickled(rows([8, 48, 3] * 20, seed=1)),
        "test": pickled(rows([48, 8] * 4, seed=2)),
    } | changes
    return {f"cifar-100-python/{name}": content for name, content in members.items()}


def cifar_10_members() -> dict[str, bytes]:
    """Five batches, out of order, as in the official archive."""
    members = {f"data_batch_{number}": pickled(rows([1, 9, number], number, b"labels")) for number in (4, 2, 5, 1, 3)}
    members["batches.meta"] = pickled({b"label_names": [name.encode() for name in CIFAR_10_NAMES], b"num_vis": 3072})
    members["test_batch"] = pickled(rows([9, 1], 6, b"labels"))
    return {f"cifar-10-batches-py/{name}": content for name, content in members.items()}


def write_archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
