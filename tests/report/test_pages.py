"""The kinds of pages: their summaries are plain, their sections have names of their own."""

import ast
import json
from pathlib import Path

import pytest

from mfh import _report
from mfh._checks import InputError
from mfh._report.pages import PAGES, summarize
from mfh.arms import ARMS, TEACHERS
from mfh.results import RunResult

ROOM = Path(_report.__file__).parent


def test_a_summary_is_plain_and_finite(summary):
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_other_results_are_refused():
    with pytest.raises(InputError, match=r"must be a StudyResult or a GaussianResult. Got RunResult"):
        summarize(RunResult())


@pytest.mark.parametrize("kind", PAGES)
def test_sections_and_figures_of_a_page_have_names_of_their_own(kind):
    page = PAGES[kind]
    for names in ([section.name for section in page], [picture.name for picture in page.pictures]):
        assert len(set(names)) == len(names)


def test_the_report_lists_no_arms_and_no_teachers():
    names = {*ARMS, *TEACHERS}
    for path in ROOM.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            values = node.elts if isinstance(node, (ast.Tuple, ast.List, ast.Set)) else ()
            values = [*values, *(node.keys if isinstance(node, ast.Dict) else ())]
            listed = {value.value for value in values if isinstance(value, ast.Constant)} & names
            assert len(listed) < 2, f"{path.name}:{node.lineno} lists {listed}"
