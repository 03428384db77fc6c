"""README and docs agree with the code: their commands, code blocks, links and numbers."""

import contextlib
import doctest
import importlib
import importlib.util
import io
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

import mfh
from mfh._diagnose.gamma import decompose
from mfh.cli import COMMANDS, build_parser, main
from mfh.loss_options import BUILT_IN

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
sys.path[:0] = [str(DOCS / "_ext"), str(DOCS)]

import api_reference  # noqa: E402
import command_reference  # noqa: E402
import config_reference  # noqa: E402
import docstrings  # noqa: E402
import figures  # noqa: E402
from doc_blocks import Block, blocks  # noqa: E402
from mathml import to_mathml  # noqa: E402

PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("reference/*.md"))]
SLOW = ("quickstart.md", "own-data.md", "yaml.md")  # they train studies and draw their figures
NEEDS = {"trackers.md": "mlflow", "huggingface.md": "datasets"}
FILE_GIVES = {  # required options that a file of --config contains
    "study": "--data FILE.npz --out DIR",
    "fit": "--data FILE.npz --out DIR",
    "layers": "--data FILE.npz",
    "export": "--out DIR",
}
FIGURE_3 = (r"0\.00 \| 1\.00", r"0\.80 \| 0\.20")  # the first and the last row of its table in gaussian.md
NUMBER = re.compile(r"[-+]?\d+\.\d+")


def commands(page: Path) -> list[str]:
    """Return every `mfh ...` in code, with continuation lines joined and without comments."""
    text = page.read_text().replace("\\\n", " ")
    code = re.findall(r"`(mfh [^`\n]+)`", text) + re.findall(
        r"^(?: {4}|\$ )?(mfh [a-z][^\n`|]*)$", text, re.M
    )
    lines = (re.sub(r"\s+#.*", "", line).strip() for line in code)
    lines = (line for line in lines if "--print-config" not in line)  # which needs no other option
    return sorted({line for line in lines if " --" in line and "..." not in line and "{" not in line})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_accepted(page: Path) -> None:
    parser = build_parser()
    for line in commands(page):
        for word in shlex.split(line)[1:]:
            assert "[" not in word, f"{page.name}: {line} is a pattern, not a command"
        arguments = re.sub(r"--config \S+\.yaml", "", line)
        if arguments == line:
            parser.parse_args(shlex.split(line)[1:])
        else:
            given = FILE_GIVES.get(shlex.split(line)[1], "")
            parser.parse_args([*shlex.split(arguments)[1:], *shlex.split(given)])


def test_there_are_commands_to_check() -> None:
    assert sum(len(commands(page)) for page in PAGES) > 8


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists() or "_pictures" in target, f"{page.name}: {target}"


def test_links_to_headings_lead_to_one() -> None:
    for page in PAGES:
        for target, anchor in re.findall(r"\]\((?!http)([^)#]+\.md)#([^)]+)\)", page.read_text()):
            headings = re.findall(r"^#+ (.+)$", (page.parent / target).read_text(), re.M)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page.name} links to {target}#{anchor}"


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=[pytest.mark.slow] if p.name in SLOW else []) for p in PAGES if blocks(p)],
    ids=lambda page: page.name,
)
def test_code_of_a_page_runs_and_prints_what_it_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    if page.name == "README.md":
        monkeypatch.syspath_prepend(ROOT / "examples")
        monkeypatch.delitem(sys.modules, "own_dataset", raising=False)
    if page.name in NEEDS and importlib.util.find_spec(NEEDS[page.name]) is None:
        pytest.skip(f"{NEEDS[page.name]} is not installed")
    if page.name == "huggingface.md":
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    names: dict[str, Any] = {}
    printed: str | None = None
    for block in blocks(page):
        if block.file is not None:
            Path(block.file).write_text(block.code)
            continue
        if block.language == "text" and printed is not None:
            same(block.code, printed)
        printed = run(block, names) if block.language in ("python", "console") else None


def run(block: Block, names: dict[str, Any]) -> str | None:
    """Run a block and return what it prints; None if it is not run."""
    if block.reason is not None:
        return None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if block.language == "python":
            source = "\n" * block.line + block.code  # so that a traceback names the page's own line
            exec(compile(source, str(block.page), "exec"), names)
        else:
            assert block.commands, f"{block.page.name}, line {block.line}: no command after a prompt"
            for command in block.commands:
                program, *arguments = shlex.split(command, comments=True)
                assert program == "mfh", (
                    f"{command}: a comment before the block must give the reason why it is not run"
                )
                assert main(arguments) == 0, command  # messages go to stderr
    return printed.getvalue()


def same(shown: str, printed: str) -> None:
    """Check that words are equal and numbers nearly: machines round differently, training amplifies it."""
    expected, got = (" ".join(NUMBER.sub("#", text).split()) for text in (shown, printed))
    assert got == expected
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    assert max((abs(float(a) - float(b)) for a, b in pairs), default=0.0) < 5.0


def test_blocks_that_are_not_run_have_a_reason() -> None:
    for page in PAGES:
        fences = len(re.findall(r"^```\w+$", page.read_text(), re.M))
        assert fences == len(blocks(page)), f"{page.name}: a fence that `doc_blocks` does not find"
        assert page.read_text().count("<!-- not run:") == sum(b.reason is not None for b in blocks(page))


def test_every_page_is_found_from_the_first() -> None:
    listed = set(re.findall(r"^([\w/-]+)$", (DOCS / "index.md").read_text(), re.M))
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in PAGES if DOCS in page.parents}
    assert pages - {"index"} <= listed, "name the page in a toctree of docs/index.md"


def test_readme_examples_are_short() -> None:
    first, own = (block for block in blocks(ROOT / "README.md") if block.language == "python")
    assert len(first.code.splitlines()) <= 20
    assert len([line for line in own.code.splitlines() if line]) == 5


def test_references_contain_every_command_config_and_name() -> None:
    text = command_reference.write()
    for command in COMMANDS:
        assert f"## mfh {command.name}\n" in text
    assert "## mfh ravdess verify\n" in text
    assert "`--epochs INT`\n: passes over the training split, 1 or more (default: 60)" in text
    api = api_reference.write()
    configs = config_reference.write()
    for name in set(mfh.__all__) - {"__version__"}:
        assert f"mfh.{name}\n" in api or f"## {name}\n" in configs, name
    assert "`momentum`: `float`, default `0.9`" in configs
    results = api_reference.write_results()
    for name in ("Diagnosis", "Record", "Summary", "Comparison", "Verdict"):
        assert f"mfh.results.{name}\n" in results, name
    homes = [m.name for m in pkgutil.walk_packages(mfh.__path__, "mfh.") if m.name.endswith("config")]
    for home in homes:
        for name, value in vars(importlib.import_module(home)).items():
            if name.endswith("Config") and (value.__module__ + ".").startswith(home + "."):
                assert f"## {name}\n" in configs, name


def test_no_option_is_left_without_an_explanation() -> None:
    assert ": see above" not in command_reference.write()
    assert not re.search(r"^: \.$", config_reference.write(), re.M)


def test_mathematics_is_understood_or_refused() -> None:
    from sphinx.errors import ExtensionError

    assert "<mfrac>" in to_mathml(r"\frac{1}{n}", block=True)
    with pytest.raises(ExtensionError, match="not supported"):
        to_mathml(r"\nosuchcommand{x}", block=False)


@pytest.mark.parametrize("module", [docstrings, figures], ids=lambda module: module.__name__)
def test_docstrings_of_the_tools_run(module: ModuleType) -> None:
    done = doctest.testmod(module)
    assert done.attempted > 0
    assert done.failed == 0


def test_measured_numbers_are_those_of_the_record() -> None:
    record = figures.recorded()
    marked = [page for page in figures.pages() if "<!-- measured: " in page.read_text()]
    assert {"README.md", "performance.md"} <= {page.name for page in marked}
    for page in marked:
        text = page.read_text()
        assert text.count("<!-- measured: ") == text.count("<!-- end -->"), page.name
        assert not re.search(r"^ *<!-- measured", text, re.M), f"{page.name}: a mark must not begin a line"
        assert figures.fill_in(text, record) == text, f"{page.name}: run `python docs/figures.py`"


def test_a_stale_number_is_replaced_and_an_unknown_one_is_an_error() -> None:
    stale = "takes <!-- measured: a.b 3.ours ,.0f -->9,100<!-- end --> s"
    assert figures.fill_in(stale, {"a": {"b 3": {"ours": 3672.4}}}) == stale.replace("9,100", "3,672")
    with pytest.raises(KeyError, match="absent"):
        figures.fill_in("<!-- measured: absent.ours .1f -->1<!-- end -->", {})


def test_the_table_of_benchmarks_shows_the_record() -> None:
    record = figures.recorded()
    rows = [line.split(" | ") for line in (ROOT / "benchmarks" / "RESULTS.md").read_text().splitlines()]
    named = {row[0].strip("| `"): row[2:5] for row in rows if row[0].startswith("| `")}
    assert len(named) > 15
    for name, shown in named.items():
        for field, text in zip(("baseline", "ours", "ratio"), shown, strict=True):
            number = re.match(r"[\d,.]*\d", text)
            assert number is not None, f"{name}: {text}"
            places = len(number[0].partition(".")[2])
            assert number[0] == f"{record[name][field]:,.{places}f}", f"{name}: {field}"


def test_pages_quote_the_numbers_of_other_pages() -> None:
    verdict = re.search(r"Crossmodal .*? fits\)", _words(DOCS / "verdict.md"))
    assert verdict is not None
    assert verdict[0] in _words(DOCS / "quickstart.md")
    text = (DOCS / "gaussian.md").read_text()
    gain = re.search(r"^\| 1\.00 \| 1\.00 \|.* \+(\d\.\d)\d ± ", text, re.M)
    worst, best = (re.search(rf"^\| {row} \| ([\d.]+) ", text, re.M) for row in FIGURE_3)
    assert gain is not None
    assert worst is not None
    assert best is not None
    assert f"it is {gain[1]} points better" in _words(DOCS / "five-minutes.md")
    assert f"from {float(worst[1]):.0f} to {float(best[1]):.0f}%" in _words(DOCS / "five-minutes.md")


def _words(page: Path) -> str:
    """Return the text of a page, without line ends and marks of quotations."""
    return " ".join(re.sub(r"^> ", "", page.read_text(), flags=re.M).split())


def test_the_page_on_gamma_computes_what_diagnose_computes() -> None:
    names: dict[str, Any] = {}
    for block in blocks(DOCS / "gamma.md"):
        run(block, names)
    s, z, label = names["s"], names["target"], names["classes"]
    whole, between, within, weight = decompose(s, z, label)
    assert names["gamma_hat"](s, z) == pytest.approx(whole, rel=1e-9)
    assert names["parts"](s, z, label) == pytest.approx((between, within, weight), rel=1e-9)


class Page(HTMLParser):
    """The links, anchors and loaded files of a built page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            if name == "href" and tag == "a":
                self.links.append(value or "")
            elif name == "src" or (name == "href" and tag == "link"):
                self.loads.append(value or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site with its pictures; warnings are errors."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns("_pictures"))
    shutil.copytree(ROOT / "examples", folder / "examples")
    (folder / "benchmarks").mkdir()
    shutil.copyfile(ROOT / "benchmarks" / "results.json", folder / "benchmarks" / "results.json")
    source = folder / "docs"
    pictures = [sys.executable, "docs/pictures.py", "docs/_pictures"]
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(source), "site"]
    for command in (pictures, build):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.mark.slow
def test_the_links_of_the_site_work_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = {path: Page(path.read_text()) for path in site.rglob("*.html")}
    assert len(pages) > 15
    for path, page in pages.items():
        for target in [*page.links, *page.loads]:
            parts = urlsplit(target)
            if parts.scheme in ("http", "https"):
                assert target not in page.loads, f"{path.name} loads {target}"
                continue
            if parts.scheme:  # data:, mailto:
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert there.exists(), f"{path.name} links to {target}"
            if parts.fragment and there in pages:
                assert unquote(parts.fragment) in pages[there].anchors, f"{path.name} links to {target}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", style.read_text()), style.name


@pytest.mark.slow
def test_the_site_shows_mathematics_as_such(site: Path) -> None:
    text = (site / "saliency.html").read_text()
    assert text.count("<math") > 40
    assert r"\operatorname" not in text


def test_the_page_on_losses_names_them_all() -> None:
    text = (DOCS / "losses.md").read_text()
    named = re.findall(r"^\| `(\w+)` \|", text, re.M)
    assert named == list(BUILT_IN)
