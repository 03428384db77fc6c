"""Files that are none, places outside a folder, names that are no UTF-8, modules of the working folder."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mfh import InputError
from mfh._report import html
from mfh._report.export import markdown
from mfh._system.atomic import file_checksum
from mfh._system.files import read_arrays, read_json, read_npy, require_files, write_json, write_text
from mfh._system.lock import held
from mfh.commands._output import EscapedText
from mfh.commands._yaml import read as read_yaml
from mfh.results import GaussianResult


def not_files(folder: Path) -> list[Path]:
    os.mkfifo(folder / "pipe")
    (folder / "zero").symlink_to("/dev/zero")
    (folder / "loop").symlink_to("loop")
    (folder / "dir").mkdir()
    return [folder / name for name in ("pipe", "zero", "loop", "dir")]


def test_pipes_and_devices_are_read_by_nobody(tmp_path: Path) -> None:
    for path in not_files(tmp_path):
        assert file_checksum(path) == ""
        for read in (read_json, read_arrays):
            with pytest.raises(InputError):
                read(path)
        with pytest.raises(OSError, match=r"no file|symbolic links"):
            read_npy(path)
        lock = tmp_path / "out" / ".lock"
        lock.parent.mkdir(exist_ok=True)
        lock.symlink_to(path)
        with pytest.raises(InputError), held(lock.parent):
            pass
        lock.unlink()


def test_a_config_without_end_is_refused() -> None:
    with pytest.raises(InputError, match="larger than 4 MiB"):
        read_yaml("/dev/zero")


def test_a_number_beyond_64_bits_is_refused_with_its_line(tmp_path: Path) -> None:
    write_text(tmp_path / "c.yaml", f"seeds: 3\nratio: [0x{'f' * 20000}]\n")
    with pytest.raises(InputError, match=r"line 2.*64 bits"):
        read_yaml(str(tmp_path / "c.yaml"))


def test_files_outside_the_folder_are_not_looked_at(tmp_path: Path) -> None:
    secret = write_text(tmp_path / "secret", "x")
    (tmp_path / "in").mkdir()
    for name in ("../secret", str(secret), "a/../../secret", "/dev/zero"):
        with pytest.raises(InputError, match="no name of a file in its folder"):
            require_files(tmp_path / "in", {name: file_checksum(secret)}, "results.json")


def test_a_link_is_no_picture_of_the_report(tmp_path: Path) -> None:
    secret = write_text(tmp_path / "secret", "x" * 90)
    (tmp_path / "figures").mkdir()
    write_text(tmp_path / "figures" / "mine.svg", "<svg/>")
    (tmp_path / "figures" / "theirs.svg").symlink_to(secret)
    page = html(GaussianResult(figure="fig2"), figures=tmp_path / "figures")
    assert page.count("data:image/svg+xml") == 1


def test_a_draft_of_a_lock_follows_no_link(tmp_path: Path) -> None:
    victim = write_text(tmp_path / "victim", "precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f".lock.{os.getpid()}.partial").symlink_to(victim)
    with held(tmp_path / "out"):
        assert victim.read_text() == "precious"


def test_names_that_are_no_utf8_come_back_from_json(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.npz")
    write_json(tmp_path / "r.json", {"command": [name, "\u05e9"]}, sealed=True)
    assert read_json(tmp_path / "r.json") == {"command": [name, "\u05e9"]}


def npz(path: Path, **headers: bytes) -> Path:
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        for name, content in headers.items():
            archive.writestr(f"{name}.npy", content)
    return path


def npy(descr: str, shape: tuple[int, ...], content: bytes = b"") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + content


def test_values_without_bytes_are_not_promised_without_end(tmp_path: Path) -> None:
    for descr, shape in (("<U0", (10**12,)), ("|V0", (10**12,)), ("<f8", (10**12, 0))):
        with pytest.raises(InputError, match="promises"):
            read_arrays(npz(tmp_path / "d.npz", label=npy(descr, shape)))
        with pytest.raises(ValueError, match="cut short"):
            read_npy(npy(descr, shape))
    assert read_arrays(npz(tmp_path / "d.npz", a=npy("<f8", (12, 0))))["a"].shape == (12, 0)


def test_text_that_is_none_is_refused(tmp_path: Path) -> None:
    for descr, content in (("<U1", b"\xff" * 8), (">U1", b"\xff" * 8)):
        with pytest.raises(InputError, match="is no text"):
            read_arrays(npz(tmp_path / "d.npz", label=npy(descr, (2,), content)))
    kept = np.array(["a", "\U0010ffff"]).astype(">U1")
    np.savez(tmp_path / "d.npz", label=kept)
    assert (read_arrays(tmp_path / "d.npz")["label"] == kept).all()


def test_a_name_is_no_picture_in_markdown() -> None:
    table = {"name": "a", "caption": "x", "columns": [{"label": "Arm", "numeric": False}],
             "rows": [[{"text": "![x](http://x/y.png)"}], [{"text": "[1, 2]"}]]}  # fmt: skip
    text = markdown(table)  # type: ignore[arg-type]
    assert r"| ![x\](http" in text
    assert "| [1, 2] |" in text


def test_an_output_that_knows_few_letters_gets_escapes() -> None:
    below = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    EscapedText(below).write("\u05e9 a\u0308")
    below.flush()
    assert below.buffer.getvalue() == b"\\u05e9 a\\u0308"  # type: ignore[attr-defined]


@pytest.mark.slow
def test_processes_of_a_command_take_no_module_of_the_working_folder(tmp_path: Path) -> None:
    for name in ("joblib", "multiprocessing", "numpy"):
        (tmp_path / f"{name}.py").write_text("open('trace', 'a').write(__name__)\nraise SystemExit(9)\n")
    rng, label = np.random.default_rng(0), np.arange(40) % 2
    np.savez(tmp_path / "d.npz", a=rng.normal(size=(40, 3)), b=rng.normal(size=(40, 2)), label=label)
    words = "study --data d.npz --teacher a --student b --seeds 2 --epochs 1 --hidden 4 --ratio 0.5 --out o"
    words += " --jobs 2"
    program = f"import sys\nsys.path = list(filter(None, sys.path))\nsys.argv = ['mfh', *{words.split()}]"
    program += "\nfrom mfh.__main__ import main\nsys.exit(main())"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "trace").exists()
