"""Saliency: the figures of channels and of the overlap of two rankings."""

from dataclasses import replace

import matplotlib

from mfh._report import style
from mfh._report.pages import summarize


def test_removed_channels_are_drawn_hollow(summary, drawn):
    bars = drawn["saliency"].axes[0].patches
    assert len(bars) == 64
    hollow = sum(matplotlib.colors.same_color(bar.get_facecolor(), style.SURFACE) for bar in bars)
    assert hollow == summary["channels"]["num_removed"]


def test_the_overlap_has_a_line_for_each_split_and_one_for_chance(drawn):
    labels = [line.get_label() for line in drawn["overlap"].axes[0].lines]
    assert [label for label in labels if not label.startswith("_")] == [
        "train split",
        "validation split",
        "by chance",
    ]


def test_the_interval_of_a_share_ends_at_one(make_study):
    result = make_study(seeds=2)
    rows = [{"split": "train", "ratio": 0.5, "mean": 0.95, "low": 0.86, "high": 1.04}]
    (row,) = summarize(replace(result, saliency={"overlap": rows}))["saliency"]["overlap"]
    assert (row["low"], row["high"]) == (0.86, 1.0)


def test_the_two_rankings_have_the_names_of_their_arms(make_study):
    assert summarize(make_study(seeds=2))["rankings"] == {"saliency": "general", "importance": "important"}
