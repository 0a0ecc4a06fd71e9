import dataclasses
import errno
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.trained_model import MODEL, STAGED, evaluation
from toolkit import releases
from toolkit.environment import PROJECT
from toolkit.releases import (
    KEPT_RELEASES,
    NoSuchReleaseError,
    Release,
    ReleaseRecord,
    ReleaseRecordError,
    release_of,
    source_revision,
)

EVALUATION = evaluation(right=198, wrong=2)


def made(day: int) -> Release:
    return dataclasses.replace(
        release_of(STAGED, MODEL, EVALUATION, None, "abc1234"), trained_at=f"2026-11-{day:02}T10:15:00+00:00"
    )


def recorded(*days: int) -> ReleaseRecord:
    record = ReleaseRecord(None, {})
    for day in days:
        record = record.with_release(made(day))
    return record


def days_of(record: ReleaseRecord) -> list[int]:
    return [int(identifier[6:8]) for identifier in record.releases]


def test_the_identifier_is_the_time_and_the_artifacts_hash():
    assert made(21).identifier == "20261121-101500-abcdef1"
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{7}", release_of(STAGED, MODEL, EVALUATION, None, "abc1234").identifier)


def test_a_release_holds_what_is_known_of_its_model():
    release = release_of(STAGED, MODEL, EVALUATION, None, "abc1234")
    assert (release.accuracy, release.test_images, release.threshold) == (0.99, 200, 0.9123)
    assert (release.classes, release.image_shape) == (STAGED.classes, STAGED.image_shape)
    assert (release.dataset_sha256, release.comparable) == (STAGED.dataset_sha256, True)
    assert release.source_revision == "abc1234"


def test_an_artifact_without_a_calibrated_threshold_gets_the_default():
    model = dataclasses.replace(MODEL, algorithm="image-classification", properties={})
    assert release_of(STAGED, model, EVALUATION, None, "abc1234").threshold == 0.93


def test_an_absent_file_is_an_empty_record(tmp_path):
    assert ReleaseRecord.read(tmp_path / "absent.json") == ReleaseRecord(None, {})


def test_the_new_release_serves_and_the_newest_are_kept():
    record = recorded(1, 2, 3, 4, 5)
    assert record.current_release == made(5).identifier
    assert days_of(record) == [3, 4, 5]
    assert len(record.releases) == KEPT_RELEASES


def test_the_release_that_has_served_is_kept_because_an_update_may_be_rolled_back_to_it():
    rolled_back = dataclasses.replace(recorded(1, 2, 3), current_release=made(1).identifier)
    assert days_of(rolled_back.with_release(made(4))) == [1, 3, 4]


def test_the_new_release_is_kept_though_the_clock_was_set_back():
    record = recorded(10, 11, 12).with_release(made(9))
    assert record.current_release == made(9).identifier
    assert days_of(record) == [9, 11, 12]


def test_going_back_makes_the_release_serve_that_served_before():
    record = recorded(1, 2, 3)
    back = record.rolled_back()
    assert back == ReleaseRecord(made(2).identifier, record.releases)
    assert back.rolled_back().current_release == made(1).identifier


def test_going_back_skips_a_release_that_was_rolled_back_before():
    bad = recorded(1, 2)
    assert bad.rolled_back().with_release(made(3)).rolled_back().current_release == made(1).identifier


def test_going_back_to_a_named_release():
    assert recorded(1, 2, 3).rolled_back(made(1).identifier).current_release == made(1).identifier


@pytest.mark.parametrize(
    ("days", "to", "message"),
    [
        ((), None, r"There is no release to go back to\..*retained: none"),
        ((1,), None, r"There is no release to go back to\..*retained: "),
        ((1, 2, 3, 4), made(1).identifier, r"is not retained\. Name one with --to"),
    ],
)
def test_going_back_to_nothing_says_what_there_is(days, to, message):
    with pytest.raises(NoSuchReleaseError, match=message):
        recorded(*days).rolled_back(to)


def test_a_record_survives_the_disk(tmp_path):
    file = tmp_path / "releases.auto.tfvars.json"
    recorded(1, 2).write(file)
    read = ReleaseRecord.read(file)
    assert read.current_release == made(2).identifier
    assert read.releases[made(2).identifier] == {
        **dataclasses.asdict(made(2)),
        "classes": list(STAGED.classes),
        "previous_release": made(1).identifier,
    }
    assert read.with_release(made(3)).releases.keys() == recorded(1, 2, 3).releases.keys()
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_terraform_takes_the_record_as_it_is(tmp_path):
    """By the variables of environments/local, which drop what they do not declare."""
    shutil.copy(PROJECT / "terraform" / "environments" / "local" / "variables.tf", tmp_path)
    outputs = "".join(f'output "{name}" {{ value = var.{name} }}\n' for name in ("current_release", "releases"))
    (tmp_path / "outputs.tf").write_text(outputs)
    file = tmp_path / "releases.auto.tfvars.json"
    recorded(1, 2).write(file)

    def terraform(*arguments: str) -> str:
        command = ["terraform", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True).stdout

    terraform("init", "-backend=false")
    terraform("apply", "-auto-approve", "-input=false")
    taken = {name: output["value"] for name, output in json.loads(terraform("output", "-json")).items()}
    assert taken == json.loads(file.read_text())


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "null",
        "[]",
        "{}",
        '{"current_release": null}',
        '{"current_release": null, "releases": null}',
        '{"current_release": null, "releases": ["a"]}',
        '{"current_release": "a", "releases": {"a": "b"}}',
        "\N{SNOWMAN}",
    ],
)
def test_what_is_no_record_is_refused(tmp_path, content):
    file = tmp_path / "releases.auto.tfvars.json"
    file.write_text(content)
    with pytest.raises(ReleaseRecordError, match=r"is not a release record\. Restore it from Git"):
        ReleaseRecord.read(file)
    assert file.read_text() == content


def test_a_record_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("folder", "binary"):
        with pytest.raises(ReleaseRecordError):
            ReleaseRecord.read(tmp_path / name)


def full_disk(path: Path, content: str) -> int:
    with path.open("w") as file:
        file.write(content[: len(content) // 2])
    raise OSError(errno.ENOSPC, "No space left on device")


def interrupted(path: Path, target: Path) -> Path:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("function", "stand_in", "raised"),
    [("write_text", full_disk, ReleaseRecordError), ("replace", interrupted, KeyboardInterrupt)],
)
def test_a_write_that_fails_leaves_the_old_record_and_nothing_else(tmp_path, monkeypatch, function, stand_in, raised):
    file = tmp_path / "releases.auto.tfvars.json"
    recorded(1).write(file)
    before = file.read_bytes()
    monkeypatch.setattr(Path, function, stand_in)
    with pytest.raises(raised) as caught:
        recorded(1, 2).write(file)
    monkeypatch.undo()
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    if raised is ReleaseRecordError:
        assert "No space left on device" in str(caught.value)
        assert "Free some space" in caught.value.remedy


def test_a_folder_that_is_none_is_a_readable_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ReleaseRecordError, match="cannot be written"):
        recorded(1).write(tmp_path / "file" / "releases.auto.tfvars.json")


def test_the_revision_is_unknown_outside_git(tmp_path, monkeypatch):
    monkeypatch.setattr(releases, "PROJECT", tmp_path / "nowhere")
    assert source_revision() == "unknown"


def test_the_revision_marks_a_tree_that_is_not_its_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(releases, "PROJECT", tmp_path)
    (tmp_path / "model_src").mkdir()
    program = tmp_path / "model_src" / "train.py"
    program.write_text("one")

    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True).stdout

    git("init")
    git("add", ".")
    git("commit", "--message=one")
    commit = git("rev-parse", "--short=7", "HEAD").strip()
    assert source_revision() == commit
    (tmp_path / "notes.txt").touch()  # makes no model
    assert source_revision() == commit
    added = program.with_name("network.py")
    added.touch()
    assert source_revision() == f"{commit}-dirty"
    added.unlink()
    program.write_text("two")
    assert source_revision() == f"{commit}-dirty"
