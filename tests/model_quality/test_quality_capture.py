import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from benchmarks.capture import write_captures
from model_quality import capture
from model_quality.capture import CaptureUnreadableError, Window, read
from tests.capture_files import CLASSES, line, png

REAL_FILES = Path(__file__).parents[4] / "shared" / "data" / "capture"
PREFIX = "data_capture/scones/AllTraffic/"


def write(directory: Path, name: str, *lines: str) -> None:
    file = directory / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(lines))


def test_every_record_of_every_file_is_read(tmp_path):
    write(tmp_path, "a.jsonl", line(event="a1"), line([0.2, 0.8], event="a2"), "\n")
    write(tmp_path, "deep/er/b.jsonl", line([0.4, 0.6], event="b1", time="2026-11-20T09:00:00Z"))
    write(tmp_path, "note.txt", "no capture")
    found = read(str(tmp_path), Window(), classes=CLASSES)
    assert found.columns["event_id"] == ["b1", "a1", "a2"]
    assert found.columns["class"] == ["motorcycle", "bicycle", "motorcycle"]
    assert found.columns["confidence"] == [0.6, 0.9, 0.8]
    assert [scores[1] for scores in found.scores] == [0.6, 0.1, 0.8]
    assert found.columns["width"] == [32, 32, 32]
    assert (found.files, found.damaged, found.outside) == (2, [], 0)


@pytest.mark.parametrize("kind", ["made here", "real"] if REAL_FILES.is_dir() else ["made here"])
def test_no_record_is_lost(tmp_path, kind):
    folder = REAL_FILES if kind == "real" else tmp_path
    write_captures(tmp_path, 150)
    found = read(str(folder), Window(), classes=CLASSES)
    assert len(found) == sum(len(file.read_text().splitlines()) for file in folder.rglob("*.jsonl")) > 20
    assert not found.damaged


def test_damaged_lines_are_named_and_the_rest_is_read(tmp_path):
    write(tmp_path, "a.jsonl", line(event="a1"), '{"captureData"\n', line(event="a3"), line([0.5, 0.3, 0.2]))
    os.mkfifo(tmp_path / "pipe.jsonl")  # not a file: it would be waited for
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    found = read(str(tmp_path), Window(), classes=CLASSES)
    assert found.columns["event_id"] == ["a1", "a3"]
    assert [(Path(damage.file).name, damage.line) for damage in found.damaged] == [("a.jsonl", 2), ("a.jsonl", 4)]
    assert "no JSON" in found.damaged[0].reason
    assert found.damaged[1].reason == "3 probabilities for 2 classes"


def test_the_window_counts_what_it_leaves_out_and_skips_other_hours(tmp_path):
    for hour in (8, 9, 10, 12):
        time = f"2026-11-20T{hour:02}:30:00Z"
        write(tmp_path, f"2026/11/20/{hour:02}/30-00-000-x.jsonl", line(event=f"at {hour}", time=time))
    window = Window(datetime(2026, 11, 20, 9, 45, tzinfo=UTC), datetime(2026, 11, 20, 11, tzinfo=UTC))
    found = read(str(tmp_path), window)
    assert found.columns["event_id"] == ["at 10"]
    assert (found.files, found.outside) == (3, 2)  # 12 may hold a late record of 11; 8 cannot


def test_the_least_sure_images_are_kept_once_each(tmp_path):
    lines = [line([0.5 + place / 100, 0.5 - place / 100], png(shade=place), event=str(place)) for place in range(40)]
    write(tmp_path, "a.jsonl", *lines, *lines)
    unsure = read(str(tmp_path), Window(), classes=CLASSES).least_sure
    assert [found.line for found in unsure] == list(range(1, 25))
    assert unsure[3].image == png(shade=3)


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(CaptureUnreadableError, match="There is no folder"):
        read(str(tmp_path / "missing"), Window())


def test_what_is_kept_to_be_measured_is_bounded(tmp_path, monkeypatch):
    large, small = png(shade=1) + bytes(9_000), png(shade=2)
    write(tmp_path, "a.jsonl", *[line(image=(small, large)[number % 2], event=str(number)) for number in range(400)])
    monkeypatch.setattr(capture, "_MEASURED_BYTES", 500_000)
    columns = read(str(tmp_path), Window()).columns
    measured = [
        size for size, bright in zip(columns["bytes"], columns["brightness"], strict=True) if bright is not None
    ]
    assert sum(measured) <= 500_000
    assert 70 <= len(measured) <= 130  # of 5,000 bytes on average
    assert 0.35 < measured.count(len(large)) / len(measured) < 0.65  # the large ones are not left out


def test_every_image_has_the_same_chance_to_be_measured_however_busy_its_hour_was(tmp_path, monkeypatch):
    monkeypatch.setattr(capture, "_MEASURED_IMAGES", 200)
    for place in range(100):  # as many quiet files as busy ones
        write(tmp_path, f"{place:03}.jsonl", *[line(event=f"{place} {number}") for number in range(1 + place % 2 * 9)])
    columns = read(str(tmp_path), Window()).columns
    measured = [file for file, bright in zip(columns["file"], columns["brightness"], strict=True) if bright is not None]
    quiet = sum(int(Path(file).stem) % 2 == 0 for file in measured)
    assert len(measured) == 200
    assert 8 <= quiet <= 32  # of 550 records 50 are quiet: 18 expected


def test_all_images_are_measured_where_they_are_few(tmp_path):
    write(tmp_path, "a.jsonl", *[line(event=str(number)) for number in range(30)])
    write(tmp_path, "b.jsonl", line(image=b"no image"))
    brightness = read(str(tmp_path), Window()).columns["brightness"]
    assert [bright is not None for bright in brightness].count(True) == 30


def test_damaged_lines_are_listed_as_csv(tmp_path):
    write(tmp_path, "a.jsonl", line(), 'da"maged\n')
    listed = read(str(tmp_path), Window()).damaged_csv().splitlines()
    assert listed[0] == "file,line,reason"
    assert listed[1].startswith(f"{tmp_path / 'a.jsonl'},2,")
    assert len(listed) == 2


class Storage:
    """S3 with these objects; notes what it was asked."""

    def __init__(self, objects: dict[str, str]) -> None:
        self.objects = objects
        self.listed: list[str] = []
        self.fetched: list[str] = []

    def get_paginator(self, _):
        return self

    def paginate(self, **request):
        if request["Bucket"] != "scones":
            raise ClientError({"Error": {"Code": "NoSuchBucket", "Message": "no"}}, "ListObjectsV2")
        prefix, after = request["Prefix"], request.get("StartAfter", "")
        keys = sorted(key for key in self.objects if key.startswith(prefix))
        if delimiter := request.get("Delimiter"):
            rest = {key: key.removeprefix(prefix).partition(delimiter) for key in keys}
            below = sorted({prefix + first + delimiter for first, found, _ in rest.values() if found})
            here = [{"Key": key} for key, (_, found, _) in rest.items() if not found]
            return [{"CommonPrefixes": [{"Prefix": found} for found in below], "Contents": here}]
        keys = [key for key in keys if key > after]
        return self._pages(keys)

    def _pages(self, keys):
        for key in keys:
            self.listed.append(key)
            yield {"Contents": [{"Key": key}]}

    def get_object(self, **request):
        self.fetched.append(request["Key"])
        content = self.objects[request["Key"]]
        if content == "denied":
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetObject")
        return {"Body": SimpleBody(content)}


class SimpleBody:
    def __init__(self, content: str) -> None:
        self._content = content

    def read(self) -> bytes:
        return self._content.encode()


def storage() -> Storage:
    objects = {}
    for day in (18, 19, 20, 21):
        for hour in (3, 10):
            time = f"2026-11-{day}T{hour:02}:15:00Z"
            objects[f"{PREFIX}2026/11/{day}/{hour:02}/15-00-000-x.jsonl"] = line(event=f"{day} {hour}", time=time)
    return Storage(objects)


@pytest.mark.parametrize(
    "uri", [f"s3://scones/{PREFIX}", "s3://scones/data_capture", "s3://scones/data_capture/scones/"]
)
def test_s3_lists_and_fetches_only_the_hours_of_the_window(uri):
    s3 = storage()
    window = Window(datetime(2026, 11, 19, 10, tzinfo=UTC), datetime(2026, 11, 20, 4, tzinfo=UTC))
    found = read(uri, window, s3=s3)
    assert found.columns["event_id"] == ["19 10", "20 3"]
    assert found.columns["file"][0] == f"s3://scones/{PREFIX}2026/11/19/10/15-00-000-x.jsonl"
    assert len(s3.fetched) == 2
    assert len(s3.listed) == 3  # these, and the one that shows that the window is over


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (f"s3://scones/{PREFIX}2026/11/20/", ["20 10"]),
        (f"s3://scones/{PREFIX}2026", ["20 10", "21 3"]),
        ("s3://scones/flat/", ["beside", "deeper"]),
        ("s3://scones", ["beside", "deeper", "20 10", "21 3"]),
    ],
)
def test_files_are_found_wherever_they_lie(uri, expected):
    s3 = storage()
    for name, event in (("a.jsonl", "beside"), ("z/b.jsonl", "deeper"), ("note.txt", "no capture")):
        s3.objects[f"flat/{name}"] = line(event=event, time="2026-11-20T05:00:00Z")
    window = Window(datetime(2026, 11, 20, 4, tzinfo=UTC), datetime(2026, 11, 21, 4, tzinfo=UTC))
    assert read(uri, window, s3=s3).columns["event_id"] == expected


def test_a_file_beside_the_years_is_found():
    s3 = storage()
    s3.objects[f"{PREFIX}a.jsonl"] = line(event="beside")
    assert "beside" in read("s3://scones/data_capture", Window(), s3=s3).columns["event_id"]


def test_a_file_that_may_not_be_fetched_is_named():
    s3 = storage()
    s3.objects[f"{PREFIX}2026/11/18/03/15-00-000-x.jsonl"] = "denied"
    found = read(f"s3://scones/{PREFIX}", Window(), s3=s3)
    assert len(found) == 7
    assert found.damaged[0].line == 0
    assert "AccessDenied" in found.damaged[0].reason


def test_a_bucket_that_is_not_there_is_an_error():
    with pytest.raises(CaptureUnreadableError, match="NoSuchBucket"):
        read("s3://another/data_capture/", Window(), s3=storage())
