"""The page of a Gaussian experiment."""

from mfh._report.pages import summarize
from mfh.results import GaussianResult


def test_the_headline_is_the_first_note(gaussian):
    summary = summarize(gaussian)
    assert summary["headline"] == gaussian.notes[0]
    assert summary["notes"] == list(gaussian.notes[1:])
    assert "Figure 2" in summary["title"]
    assert len(summary["rows"]) == 6
    assert summarize(GaussianResult(figure="fig9"))["title"] == "Gaussian data: fig9"
