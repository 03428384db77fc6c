"""Fetching from a folder and from a real server on this machine: verified, resumed, never half there."""

import hashlib
import json
import logging
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from mfh import InputError
from mfh.data.sources.ravdess.download import download
from mfh.data.sources.ravdess.record import find_archives

SPEECH = ("Audio_Speech_Actors_01-24.zip", "Video_Speech_Actor_01.zip")
SONG = ("Video_Song_Actor_01.zip",)
SIZE = 300_000
CONTENT = {name: os.urandom(SIZE) for name in (*SPEECH, *SONG)}


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def md5sums() -> str:
    return (
        "".join(f"{md5(content)}  {name}\n" for name, content in CONTENT.items()) + f"{'0' * 32} *notes.txt\n"
    )


def record(form: str) -> str:
    """Metadata as Zenodo's interface gives them, in its present and its older form."""
    entries = []
    for name, content in {**CONTENT, "README.txt": b"-"}.items():
        if form == "present":
            entries.append({"key": name, "size": len(content), "checksum": f"md5:{md5(content)}"})
        else:
            entries.append({"filename": name, "filesize": len(content), "checksum": md5(content)})
    return json.dumps({"id": 1188976, "files": entries})


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    (folder / "md5sums.txt").write_text(md5sums())
    return folder


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT and a manifest, with ranges; breaks off where it is told to."""

    files: ClassVar[dict[str, bytes]] = {}
    break_off: ClassVar[list[int]] = []  # bytes after which the next answers end
    ranges: ClassVar[bool] = True
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        name = self.path.strip("/")
        content = self.files.get(name)
        if content is None:
            self.send_error(404)
            return
        asked = self.headers.get("Range", "")
        self.asked.append(f"{name} {asked}".strip())
        start = int(asked.removeprefix("bytes=").removesuffix("-") or 0) if self.ranges else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + self.break_off.pop(0) if self.break_off and name.endswith(".zip") else len(content)
        self.wfile.write(content[start:end])

    def log_message(self, *_: object) -> None:
        """Not to stderr."""


@pytest.fixture
def server() -> Iterator[str]:
    Server.files = {**CONTENT, "record.json": record("present").encode()}
    Server.break_off, Server.ranges, Server.asked = [], True, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def zips(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.zip*"))}


def of(*names: str) -> dict[str, bytes]:
    return {name: CONTENT[name] for name in names}


# --- from a folder


def test_a_folder_is_copied_and_verified(
    mirror: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    with caplog.at_level(logging.INFO):
        report = download(out, source=mirror, progress=False)
    assert zips(out) == of(*SPEECH)
    assert (report.archives, report.num_bytes, report.unverified) == (SPEECH, 2 * SIZE, ())
    assert "all checksums verified" in str(report)
    assert "The archives need 0.00 GB, 0.00 of them still to be downloaded" in caplog.text
    assert {archive.name for archive in find_archives(out)} == set(SPEECH)  # a mirror itself
    assert zips(Path(download(tmp_path / "song", source=mirror, speech=False, song=True).out)) == of(*SONG)


@pytest.mark.parametrize("form", ["present", "older"])
def test_the_record_s_metadata_are_a_manifest(mirror: Path, tmp_path: Path, form: str) -> None:
    (mirror / "md5sums.txt").unlink()
    (mirror / "record.json").write_text(record(form))
    assert [(a.name, a.size, a.md5) for a in find_archives(mirror)] == [
        (name, SIZE, md5(CONTENT[name])) for name in sorted(CONTENT)
    ]
    assert zips(download(tmp_path / "out", source=mirror, song=True, progress=False).out) == CONTENT


def test_a_wrong_checksum_leaves_nothing(mirror: Path, tmp_path: Path) -> None:
    (mirror / SPEECH[1]).write_bytes(b"something else")
    with pytest.raises(
        InputError, match=rf"{SPEECH[1]}` does not have the checksum {md5(CONTENT[SPEECH[1]])}"
    ):
        download(tmp_path / "out", source=mirror, progress=False)
    assert zips(tmp_path / "out") == of(SPEECH[0])


def test_what_is_there_is_verified_and_only_replaced_if_wrong(mirror: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / SPEECH[0]).write_bytes(CONTENT[SPEECH[0]])
    (out / SPEECH[1]).write_bytes(b"half of it")
    os.utime(out / SPEECH[0], (1, 1))
    download(out, source=mirror, progress=False)
    assert zips(out) == of(*SPEECH)
    assert (out / SPEECH[0]).stat().st_mtime == 1


def test_without_checksums_it_says_plainly_that_nothing_is_verified(
    mirror: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (mirror / "md5sums.txt").unlink()
    with pytest.raises(InputError, match=r"must have a manifest to verify its archives\. .*record\.json"):
        download(tmp_path / "out", source=mirror)
    assert not (tmp_path / "out").exists()
    with caplog.at_level(logging.WARNING):
        report = download(tmp_path / "out", source=mirror, allow_unverified=True, progress=False)
    assert report.unverified == SPEECH
    assert f"NOT verified, because their checksum is unknown: {', '.join(SPEECH)}" in caplog.text
    assert (tmp_path / "out" / "md5sums.txt").read_text() == ""


def test_too_little_room_is_told_before_anything_is_fetched(mirror: Path, tmp_path: Path) -> None:
    size = shutil.disk_usage(tmp_path).free + 10**9
    entry = {"key": SPEECH[0], "size": size, "checksum": f"md5:{'0' * 32}"}
    (mirror / "record.json").write_text(json.dumps({"files": [entry]}))
    with pytest.raises(InputError, match=rf"`out` must have room for {size / 1e9:.2f} GB"):
        download(tmp_path / "out", source=mirror)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("md5sums.txt", "no checksums\n", r"must hold lines as `md5sum` writes them\. Got 'no checksums'"),
        ("record.json", "{", "is not the metadata of a Zenodo record"),
        ("record.json", '{"files": [{"key": "a.zip"}]}', "is not the metadata of a Zenodo record: KeyError"),
        (
            "record.json",
            '{"files": [{"key": "a.zip", "size": 1, "checksum": "sha256:00"}]}',
            "'sha256:00', which is no MD5",
        ),
        ("record.json", '{"files": []}', "must have RAVDESS archives of `Speech`"),
    ],
)
def test_a_bad_manifest_is_named(mirror: Path, tmp_path: Path, name: str, text: str, message: str) -> None:
    (mirror / name).write_text(text)
    with pytest.raises(InputError, match=message):
        download(tmp_path / "out", source=mirror)


def test_names_with_folders_are_no_archives(mirror: Path) -> None:
    (mirror / "md5sums.txt").write_text(f"{'0' * 32}  ../Video_Speech_Actor_01.zip\n")
    assert find_archives(mirror) == []


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`speech` or `song` must be True"):
        download(tmp_path, speech=False)
    with pytest.raises(InputError, match="`source` must be a folder or a URL"):
        download(tmp_path, source=tmp_path / "none")


# --- from a server


def test_a_server_is_fetched_from(server: str, tmp_path: Path) -> None:
    report = download(tmp_path, source=server, progress=False)
    assert zips(tmp_path) == of(*SPEECH)
    assert report.unverified == ()
    Server.asked.clear()
    download(tmp_path, source=server + "/", progress=False)
    assert Server.asked == ["record.json"]


def test_a_broken_connection_is_continued_where_it_broke(server: str, tmp_path: Path) -> None:
    Server.break_off = [100_000]
    download(tmp_path, source=server, progress=False)
    assert zips(tmp_path) == of(*SPEECH)
    ours = [line for line in Server.asked if line.startswith(SPEECH[0])]
    assert ours == [SPEECH[0], f"{SPEECH[0]} bytes=65536-"]


def test_an_interrupted_download_is_continued_by_the_next_call(server: str, tmp_path: Path) -> None:
    (tmp_path / f"{SPEECH[0]}.part").write_bytes(CONTENT[SPEECH[0]][:12_345])
    (tmp_path / f"{SPEECH[1]}.part").write_bytes(CONTENT[SPEECH[1]])  # stopped just before the end
    download(tmp_path, source=server, progress=False)
    assert zips(tmp_path) == of(*SPEECH)
    assert Server.asked[1:] == [f"{SPEECH[0]} bytes=12345-"]


def test_a_server_without_ranges_starts_again(server: str, tmp_path: Path) -> None:
    Server.ranges = False
    (tmp_path / f"{SPEECH[0]}.part").write_bytes(b"x" * 100)
    download(tmp_path, source=server, progress=False)
    assert zips(tmp_path) == of(*SPEECH)


def test_a_part_of_something_else_is_thrown_away(server: str, tmp_path: Path) -> None:
    (tmp_path / f"{SPEECH[0]}.part").write_bytes(b"x" * (SIZE + 1))  # longer than the archive
    (tmp_path / f"{SPEECH[1]}.part").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match="does not have the checksum"):
        download(tmp_path, source=server, progress=False)
    assert zips(tmp_path) == of(SPEECH[0])
    download(tmp_path, source=server, progress=False)
    assert zips(tmp_path) == of(*SPEECH)


def test_a_server_that_stays_away_is_named(server: str, tmp_path: Path) -> None:
    del Server.files[SPEECH[1]]
    with pytest.raises(
        InputError, match=rf"{SPEECH[1]}` cannot be downloaded: 404 .* it continues from there"
    ):
        download(tmp_path / "out", source=server, progress=False)
    del Server.files["record.json"]
    with pytest.raises(InputError, match=r"has neither `record.json`, `md5sums.txt`"):
        download(tmp_path / "out", source=server)
    with pytest.raises(InputError, match=r"cannot be downloaded: .* A mirror can be named with `source`"):
        download(tmp_path / "out", source="http://127.0.0.1:9")
