import io
import tarfile

import pytest

from toolkit.local_cloud.sagemaker.archive import ArchiveUnsafeError, extract


def archive(tmp_path, *members: tarfile.TarInfo):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            member.size = 4 if member.isfile() else 0
            tar.addfile(member, io.BytesIO(b"text"))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


def test_files_and_folders_are_extracted(tmp_path):
    members = (member("."), member("./code/train.py"), member("empty", tarfile.DIRTYPE), member("a/../b"))
    members[0].type = tarfile.DIRTYPE
    extract(archive(tmp_path, *members), tmp_path / "out")
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")}
    assert found >= {"code/train.py", "empty", "b"}
    assert (tmp_path / "out" / "b").read_text() == "text"


@pytest.mark.parametrize(
    "hostile",
    [
        member("../outside"),
        member("/tmp/outside"),  # noqa: S108 - nothing is written there
        member("a/../../outside"),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("hard", tarfile.LNKTYPE, "code"),
        member("pipe", tarfile.FIFOTYPE),
        member("device", tarfile.CHRTYPE),
    ],
)
def test_what_leads_elsewhere_is_refused(tmp_path, hostile):
    with pytest.raises(ArchiveUnsafeError, match=hostile.name):
        extract(archive(tmp_path, hostile), tmp_path / "out")
    assert not (tmp_path / "outside").exists()
