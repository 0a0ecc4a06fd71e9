"""Manifests decide which images are used and what they are."""

from __future__ import annotations

from pathlib import Path

import manifest
import pytest
from errors import TrainingError
from manifest import Row


def test_rows_are_read_in_order() -> None:
    text = "0\t0\tbike_s_000021.png\n7\t1.0\tsub/bike_s_000022.png\r\n\n"
    assert manifest.parse(text, classes=2) == [Row(0, "bike_s_000021.png"), Row(1, "sub/bike_s_000022.png")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no image"),
        ("0\t0\ta.png\n1 1 b.png\n", "Line 2 has 1 columns"),
        ("0\tbicycle\ta.png", "'bicycle' is not a number"),
        ("0\t2\ta.png", "label 2 is not a whole number from 0 to 1"),
        ("0\t-1\ta.png", "label -1"),
        ("0\t0.5\ta.png", "label 0.5"),
        ("0\tnan\ta.png", "label nan"),
        ("0\tinf\ta.png", "label inf"),
        ("0\t0\t", "not a relative file name"),
        ("0\t0\t/etc/passwd", "not a relative file name"),
        ("0\t0\t../other/a.png", "not a relative file name"),
    ],
)
def test_malformed_rows_are_named(text: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        manifest.parse(text, classes=2)


def test_a_validation_channel_may_hold_test_lst(tmp_path: Path) -> None:
    (tmp_path / "test.lst").write_text("0\t0\ta.png\n")
    assert manifest.read(tmp_path, "validation.lst", classes=2) == [Row(0, "a.png")]


def test_of_several_manifests_the_name_decides(tmp_path: Path) -> None:
    (tmp_path / "train.lst").write_text("0\t0\ta.png\n")
    (tmp_path / "test.lst").write_text("0\t1\tb.png\n")
    assert manifest.read(tmp_path, "train.lst", classes=2) == [Row(0, "a.png")]
    with pytest.raises(TrainingError, match=r"2 \.lst files"):
        manifest.read(tmp_path, "validation.lst", classes=2)


def test_an_empty_channel_and_a_bad_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"0 \.lst files"):
        manifest.read(tmp_path, "train.lst", classes=2)
    (tmp_path / "train.lst").write_text("zero\n")
    with pytest.raises(TrainingError, match=r"train\.lst: Line 1"):
        manifest.read(tmp_path, "train.lst", classes=2)
