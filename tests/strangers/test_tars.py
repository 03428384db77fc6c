"""Tar files of strangers are read where they lie, and refused as a whole when they could do harm."""

import io
import tarfile
from pathlib import Path

import pytest

from mfh import InputError
from mfh.data.tar_files import tar_members

CASES = {
    "an absolute name": ({"name": "/etc/x.mp4"}, "has an absolute name"),
    "a parent": ({"name": "a/../../x.mp4"}, r"has `\.\.` in its name"),
    "a backslash": ({"name": "a\\x.mp4"}, "has a backslash"),
    "a link": ({"name": "x.mp4", "type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "is a link"),
    "a hard link": ({"name": "x.mp4", "type": tarfile.LNKTYPE, "linkname": "y"}, "is a link"),
    "a device": ({"name": "x.mp4", "type": tarfile.CHRTYPE, "devmajor": 1}, "is a device or a pipe"),
    "a pipe": ({"name": "x.mp4", "type": tarfile.FIFOTYPE}, "is a device or a pipe"),
    "a giant": ({"name": "x.mp4", "size": 2**40}, "is larger than 512 MiB"),
}


@pytest.mark.parametrize("case", CASES)
def test_members_that_could_do_harm(case: str, tmp_path: Path) -> None:
    traits, reason = CASES[case]
    path = tmp_path / "x.tar"
    info = tarfile.TarInfo()
    for name, value in traits.items():
        setattr(info, name, value)
    good = tarfile.TarInfo("good_1.mp4")
    good.size = 4
    with path.open("wb") as file:
        file.write(good.tobuf() + b"good".ljust(512, b"\0"))
        file.write(info.tobuf(format=tarfile.GNU_FORMAT))
        file.write(bytes(1024))
    with pytest.raises(InputError, match=rf"x\.tar` is refused: its member .* {reason}"):
        tar_members(str(path))


def test_a_sparse_member(tmp_path: Path) -> None:
    header = tarfile.TarInfo("x.mp4")
    header.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(header.tobuf(format=tarfile.GNU_FORMAT))
    block[386 : 386 + 24] = b"%011o\0%011o\0" % (0, 0)
    block[483 : 483 + 12] = b"%011o\0" % 2**31
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    (tmp_path / "x.tar").write_bytes(bytes(block) + bytes(1024))
    with pytest.raises(InputError, match="is sparse"):
        tar_members(str(tmp_path / "x.tar"))


def test_folders_and_files_are_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        folder = tarfile.TarInfo("clips")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        info = tarfile.TarInfo("clips/a_1.mp4")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    members, problem = tar_members(str(tmp_path / "x.tar"))
    assert (problem, [m.source() for m in members]) == ("", [b"abc"])
