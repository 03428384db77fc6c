"""Names from strangers are text: in the report, in figures and tables, in the terminal, in a csv."""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import mfh
from mfh._checks import shown
from mfh._report import report, save_figures, save_tables
from mfh.cli import main
from mfh.data.preparation import Note, write_notes

ESCAPE, OVERRIDE = "\x1b[2J\x1b]0;owned\x07", "\u202e"
NASTY = f"<script>alert(1)</script><img src=x onerror=alert(2)>&amp;{OVERRIDE}txt\u2066{ESCAPE}$\\frac{{"
FORMULA = "=HYPERLINK('http://x')"
SHALOM = "\u05e9\u05dc\u05d5\u05dd"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Tags(HTMLParser):
    """The elements of a page and what would run in them."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = tag == "script"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts.append(data)


@pytest.fixture(scope="module")
def nasty_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose modalities, classes and groups bear such names, run by the command."""
    folder = tmp_path_factory.mktemp("nasty")
    rng = np.random.default_rng(0)
    label = np.arange(80) % 2
    names = np.array([NASTY, FORMULA])[label]
    arrays = {NASTY.replace("/", ""): rng.normal(size=(80, 4)) + label[:, None],
              f"{SHALOM}{OVERRIDE}": rng.normal(size=(80, 3))}  # fmt: skip
    data = mfh.PairedDataset.from_arrays(arrays, label=names, group=[f"{NASTY}{i // 8}" for i in range(80)])
    teacher, student = arrays
    config = mfh.StudyConfig(
        resampling="splits", teacher=teacher, student=student, seeds=2, epochs=1, ratio=[0.5], hidden=[4],
                             random_draws=1)  # fmt: skip
    result = mfh.study(data, config=config, out=folder)
    result.save(folder)
    return folder


def test_the_report_shows_names_and_runs_none(nasty_run: Path, tmp_path: Path) -> None:
    result = mfh.load_results(nasty_run)
    page = report(result, tmp_path / "report.html").read_text()
    assert OBEYED.search(page) is None
    assert SHALOM in page
    assert "\\u202e" in page
    tags = Tags()
    tags.feed(page)
    assert not any("alert(1)" in script and "<script" in script for script in tags.scripts)
    assert not [tag for tag, attributes in tags.elements if tag == "img" or "onerror" in attributes]
    ours = report(mfh.StudyResult(), tmp_path / "empty.html").read_text()
    assert sum(tag == "script" for tag, _ in tags.elements) <= ours.count("<script") + 3
    assert "<script>alert" not in page
    for text in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.S):
        assert OBEYED.search(json.dumps(json.loads(text), ensure_ascii=False)) is None


def test_figures_and_tables_hold_them_as_text(nasty_run: Path, tmp_path: Path) -> None:
    result = mfh.load_results(nasty_run)
    assert save_figures(result, tmp_path / "figures", formats=["svg"])
    for path in save_tables(result, tmp_path / "tables"):
        text = path.read_text()
        assert path.suffix == ".csv" or OBEYED.search(text) is None, path
        if path.suffix == ".csv":
            cells = [cell for row in csv.reader(text.splitlines()) for cell in row]
            assert not [c for c in cells if c[:1] in "=+@" and c], path
            assert not [c for c in cells if c[:1] == "-" and not re.fullmatch(r"-[\d.e-]+", c)], path


def test_notes_on_files_are_no_formulas(tmp_path: Path) -> None:
    write_notes(tmp_path / "skipped.csv", [Note(FORMULA, f"-1+{ESCAPE}"), Note("@x.mp4", "good")])
    rows = list(csv.reader((tmp_path / "skipped.csv").read_text().splitlines()))
    assert rows[1] == [f"'{FORMULA}", f"'-1+{shown(ESCAPE)}"]
    assert rows[2] == ["'@x.mp4", "good"]


@pytest.mark.parametrize("option", ["--data", "--teacher", "--label", "--layer", "--group", "--config"])
def test_the_terminal_obeys_no_name(
    option: str, nasty_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "d.npz", a=np.eye(6), b=np.eye(6), label=np.arange(6) % 2)
    words = ["study", "--data", str(tmp_path / "d.npz"), "--teacher", "a", "--student", "b", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "o"), option, f"{ESCAPE}{OVERRIDE}x"]) == 2
    error = capsys.readouterr().err
    assert OBEYED.search(error.replace("\n", "")) is None, repr(error)
    assert "\\x1b[2J" in error


def test_the_printed_tables_obey_none(
    nasty_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = {f"a{ESCAPE}": np.eye(12), f"b{OVERRIDE}": np.eye(12), "label": np.arange(12) % 2}
    np.savez(tmp_path / "d.npz", **arrays)
    pair = ["--teacher", f"a{ESCAPE}", "--student", f"b{OVERRIDE}"]
    assert main(["layers", "--data", str(tmp_path / "d.npz"), *pair]) == 0
    assert main(["report", str(nasty_run)]) == 0
    told = capsys.readouterr()
    assert "teacher (a\\x1b[2J" in told.out
    assert OBEYED.search((told.out + told.err).replace("\n", "")) is None


def test_names_of_modalities_leave_no_folder(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    label = np.arange(40) % 2
    data = mfh.PairedDataset.from_arrays(
        {"../../up": rng.normal(size=(40, 3)), "/etc/a": rng.normal(size=(40, 3))}, label=label
    )
    out = tmp_path / "deep" / "out"
    config = mfh.StudyConfig(
        resampling="splits", teacher="../../up", student="/etc/a", seeds=1, epochs=1, ratio=[0.5], hidden=[4],
                             random_draws=1, engine="loop")  # fmt: skip
    result = mfh.study(data, config=config, out=out)
    save_figures(result, out / "figures", formats=["svg"])
    assert {path.name for path in tmp_path.iterdir()} == {"deep"}
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"out"}
