"""The page of a study of several losses: the first one's answer, and what the others did."""

from dataclasses import replace

import pytest

from mfh._report.pages import summarize
from mfh._report.render import render
from mfh.results import StudyResult


@pytest.fixture
def several(make_study) -> StudyResult:
    """KL as it is, and DKD three points above it in every arm with a teacher."""
    study = make_study(seeds=4, ratios=(0.5,))

    def under(rows, loss: str, shift: float, field: str):
        kept = [row for row in rows if not row.arm.startswith("no-kd")]
        return [replace(row, loss=loss, **{field: getattr(row, field) + shift}) for row in kept]

    def first(rows):
        return [row if row.arm.startswith("no-kd") else replace(row, loss="kl") for row in rows]

    comparisons = [replace(row, loss="kl") for row in study.comparisons]
    comparisons += [replace(row, loss="dkd", question=None, shown=None) for row in study.comparisons]
    joint = next(row for row in study.comparisons if row.b == "joint")
    comparisons.append(
        replace(joint, a="joint", b="joint", loss="dkd", loss_b="kl", question=None, shown=None, ratio=None)
    )
    return replace(
        study,
        records=(*first(study.records), *under(study.records, "dkd", 3.0, "test")),
        summary=(*first(study.summary), *under(study.summary, "dkd", 3.0, "mean")),
        comparisons=tuple(comparisons),
    )


def test_the_first_loss_answers(make_study, several: StudyResult) -> None:
    alone, together = summarize(make_study(seeds=4, ratios=(0.5,))), summarize(several)
    for row in (*alone["arms"], *together["arms"]):
        row.pop("loss")
    for name in ("headline", "arms", "sweep", "chosen", "num_fits", "verdict"):
        assert together[name] == alone[name], name
    assert len(together["comparisons"]) == len(alone["comparisons"])


def test_every_loss_stands_in_a_table(several: StudyResult) -> None:
    page = render(summarize(several))
    assert 'id="losses"' in page
    summary = summarize(several)["losses"]
    assert summary["names"] == ["kl", "dkd"]
    joint = next(row for row in summary["arms"] if row["arm"] == "joint")["by_loss"]
    assert joint["dkd"]["mean"] == pytest.approx(joint["kl"]["mean"] + 3)
    assert "joint: dkd \N{MINUS SIGN} kl" in page


def test_one_loss_has_no_such_section(make_study) -> None:
    assert 'id="losses"' not in render(summarize(make_study(seeds=2)))
