"""Results by arm, arms of the user's among them."""

from mfh._report import html
from mfh._report.pages import PAGES, summarize


def test_one_dot_is_drawn_for_each_fit(summary, drawn):
    rows = [row for row in summary["arms"] if row["main"]]
    dots = [line for line in drawn["arms"].axes[0].lines if line.get_alpha() == 0.45]
    assert [list(line.get_xdata()) for line in dots] == [row["dots"] for row in rows]
    labels = [text.get_text() for text in drawn["arms"].axes[0].get_yticklabels()]
    assert "general (chosen)" in labels
    assert f"random at {summary['shown_ratio']:g}" in labels


def test_each_arm_is_explained_once(summary):
    words = {item["name"]: item["words"] for item in summary["arm_words"]}
    assert list(words) == list(dict.fromkeys(row["name"] for row in summary["arms"]))
    assert words["regular"] == "a pix teacher trained on its own"
    assert words["general"] == "the joint teacher without its least salient channels"


def test_an_arm_of_the_user_is_drawn_tabulated_and_explained(with_own_arm):
    summary = summarize(with_own_arm)
    page = html(with_own_arm)
    assert "the joint teacher of pix without channels of small gradient" in page
    assert [row["main"] for row in summary["arms"] if row["arm"] == "gradient (chosen)"] == [True]
    assert len(next(row for row in summary["arms"] if row["arm"] == "gradient (chosen)")["dots"]) == 4
    tables = PAGES["study"].build_tables(summary)
    for section, name in (("arms", "arms"), ("ratios", "chosen"), ("comparisons", "comparisons")):
        assert any("gradient" in row[0]["text"] for row in tables[section][name]["rows"]), name
    assert "gradient" in summary["sweep"]["lines"]
    assert "gradient" in summary["curves"]["students"]


def test_losses_and_metrics_get_columns(make_study):
    summary = summarize(make_study(seeds=2))
    summary["loss_names"], summary["metrics"] = ["kl", "dkd"], ["accuracy", "mAP"]
    summary["other_arms"] = [
        {"arm": "general", "ratio": 0.5, "loss": "dkd", "metric": "mAP", "mean": 61.0,
         "low": None, "high": None, "sd": None, "n": 2},
    ]  # fmt: skip
    tables = PAGES["study"].build_tables(summary)
    table = tables["arms"]["arms"]
    assert [column["label"] for column in table["columns"]][:4] == ["Arm", "Loss", "Metric", "Ratio"]
    assert [cell["text"] for cell in table["rows"][-1]][:5] == ["general", "dkd", "mAP", "0.5", "61.00"]
    assert "Loss" in [column["label"] for column in tables["comparisons"]["comparisons"]["columns"]]
