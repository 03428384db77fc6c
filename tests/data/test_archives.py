"""Zips are read member by member, and refused when they could do harm."""

import os
import stat
import zipfile
from pathlib import Path

import pytest

from mfh import InputError
from mfh.data.archives import StoredFile, stored_files

SUFFIXES = (".mp4", ".wav")


def make_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=compression)
    return path


def test_files_and_members_are_listed_alike_and_read_without_extracting(tmp_path: Path) -> None:
    (tmp_path / "raw" / "Actor_01").mkdir(parents=True)
    (tmp_path / "raw" / "Actor_01" / "b.MP4").write_bytes(b"file")
    (tmp_path / "raw" / "notes.txt").write_bytes(b"-")
    members = {
        "Actor_02/a.wav": b"member",
        "Actor_02/": b"",
        "__MACOSX/Actor_02/._a.wav": b"-",
        "x.txt": b"-",
    }
    archive = make_zip(tmp_path / "raw" / "deep" / "Audio.zip", members)
    before = sorted(tmp_path.rglob("*"))
    found = stored_files(tmp_path / "raw", SUFFIXES)
    assert found == [
        StoredFile(tmp_path / "raw" / "Actor_01" / "b.MP4"),
        StoredFile(archive, "Actor_02/a.wav"),
    ]
    assert [file.name for file in found] == ["b.MP4", "a.wav"]
    assert found[0].source() == tmp_path / "raw" / "Actor_01" / "b.MP4"
    assert found[1].source() == b"member"
    assert sorted(tmp_path.rglob("*")) == before
    assert stored_files(archive, SUFFIXES) == [StoredFile(archive, "Actor_02/a.wav")]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../01-01-01-01-01-01-01.mp4", "has `..` in its name"),
        ("Actor_01/../../x.wav", "has `..` in its name"),
        ("/etc/x.wav", "has an absolute name"),
        ("C:/x.wav", "has an absolute name"),
        ("a\\..\\x.wav", "has a backslash in its name"),
        ("a\0.wav", "has a NUL in its name"),
        ("../harmless-looking.txt", "has `..` in its name"),
    ],
)
def test_names_that_could_leave_a_folder_are_refused(tmp_path: Path, name: str, reason: str) -> None:
    path = tmp_path / "raw" / "Video_Speech_Actor_01.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fine.wav", b"-")
        info = zipfile.ZipInfo("placeholder")
        info.filename = name
        archive.writestr(info, b"-")
    with pytest.raises(InputError) as caught:
        stored_files(tmp_path / "raw", SUFFIXES)
    assert f"`{path}` is refused" in str(caught.value)
    assert reason in str(caught.value)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["Video_Speech_Actor_01.zip", "raw"]


def test_links_are_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("01-01-01-01-01-01-01.mp4")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(InputError, match="is a link"):
        stored_files(tmp_path, SUFFIXES)


def test_bombs_are_refused_by_their_ratio(tmp_path: Path) -> None:
    make_zip(tmp_path / "a.zip", {"x.wav": bytes(3 * 2**20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="unpacks to more than 100 times its size"):
        stored_files(tmp_path, SUFFIXES)


def test_small_members_may_be_regular(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"x.wav": bytes(2**19)}, zipfile.ZIP_DEFLATED)
    assert stored_files(tmp_path, SUFFIXES) == [StoredFile(path, "x.wav")]


def test_overlapping_members_are_refused_by_their_sum(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"x.wav": os.urandom(2**20 - 1)})
    with zipfile.ZipFile(path, "a") as archive:
        info = archive.infolist()[0]
        archive.filelist += [info] * 200  # many entries of the index share one content
        archive._didModify = True
    with pytest.raises(InputError, match="its members unpack to 210763575 bytes"):
        stored_files(tmp_path, SUFFIXES)


def test_huge_and_encrypted_members_are_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"x.wav": b"-"})
    original = path.read_bytes()
    index = original.index(b"PK\x01\x02")
    huge = bytearray(original)
    huge[index + 24 : index + 28] = (2**30).to_bytes(4, "little")
    path.write_bytes(huge)
    with pytest.raises(InputError, match="is larger than 512 MiB"):
        stored_files(tmp_path, SUFFIXES)
    encrypted = bytearray(original)
    encrypted[index + 8] |= 1
    path.write_bytes(encrypted)
    with pytest.raises(InputError, match="is encrypted"):
        stored_files(tmp_path, SUFFIXES)


def test_a_damaged_archive_or_member_says_so(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"x.wav": b"content that will change"})
    file = stored_files(tmp_path, SUFFIXES)[0]
    data = path.read_bytes()
    path.write_bytes(data.replace(b"content that", b"CONTENT that"))
    with pytest.raises(InputError, match="damaged in its archive: Bad CRC-32"):
        file.source()
    path.write_bytes(data[:40])
    with pytest.raises(InputError, match=r"a.zip` cannot be read as a zip: .* Download it again"):
        stored_files(tmp_path, SUFFIXES)


def test_an_absent_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`raw` must be a folder or a zip\. `.*/none` does not exist"):
        stored_files(tmp_path / "none", SUFFIXES)
