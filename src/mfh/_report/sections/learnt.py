"""Who learnt from what: labels and pairs of each network, the weights of the stack, the tuned `no-kd`."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mfh._report import style
from mfh._report.section import Picture, Section, Summary
from mfh._report.tables import Cell, Table, cell, table
from mfh._report.view import StudyView
from mfh._report.wording import NOTHING, number, sequence
from mfh.arms import BASELINE, SEARCHED, STACK, TEACHERS


def summarize(view: StudyView, _: Summary) -> dict[str, Any]:
    """Return what each network learns from, the weights of the stack by fit, and what was tuned."""
    if not (view.few_labels or _lacking(view)):
        return {"learnt": [], "lacking": {}, "weights": {}, "tuned": []}
    chosen = view.result.chosen
    by_fit = [row.weights for row in chosen if row.arm == STACK and row.weights is not None]
    names = dict.fromkeys(name for weights in by_fit for name in weights)
    tuned = Counter(
        (row.smoothing, row.weight_decay)
        for row in chosen
        if row.arm == BASELINE and row.smoothing is not None
    )
    return {
        "learnt": [*_teachers(view), *_students(view)],
        "lacking": _lacking(view).get("samples", {}),
        "weights": {name: [weights.get(name, 0.0) for weights in by_fit] for name in names},
        "tuned": [
            {"smoothing": smoothing, "weight_decay": decay, "fits": fits}
            for (smoothing, decay), fits in sorted(tuned.items())
        ],
    }


def _lacking(view: StudyView) -> dict[str, Any]:
    """Return what the results say of samples that lack a modality; empty where none does."""
    found: dict[str, Any] = view.result.data.get("lacking", {})
    return found


def _counts(view: StudyView, side: str, *, pairs: bool = False) -> dict[str, float | None]:
    """Return the labels that a network learns from, and the unlabelled pairs where labels are missing.

    Args:
        view: of the study.
        side: what a sample must have: that of `teacher`, of `student`, or of `both`.
        pairs: whether the network learns from unlabelled pairs.
    """
    labels, lacking = view.result.labels, _lacking(view).get("labelled", {})
    found: dict[str, float | None] = {
        "labels": lacking.get(side, labels.get("labelled")),
        "alone": lacking[side] - lacking["both"] if lacking else None,
        "pairs": None,
    }
    return found | ({"pairs": labels["unlabelled"] if pairs else 0.0} if labels else {})


def _teachers(view: StudyView) -> list[dict[str, Any]]:
    """Return one row for each teacher that was trained."""
    names, config = view.modalities, view.result.config
    trained = {teacher.teacher for teacher in view.result.teachers}
    if config.get("teacher_logits") or config.get("frozen_teacher"):
        trained.discard("regular")
    # the description of a teacher of several modalities lists its inputs
    both = "inputs" in (view.config.get("networks") or {}).get("teacher", {})
    sees = {**names, "both": names["teacher"] if both else f"{names['teacher']} and {names['student']}"}
    return [
        {
            "name": name,
            "role": "teacher",
            "sees": sees[teacher.side],
            "words": (view.arms[name] if both and name in view.arms else teacher).words.format(**names),
            **_counts(view, teacher.trained_on, pairs=teacher.on_all_pairs),
        }
        for name, teacher in TEACHERS.items()
        if name in trained
    ]


def _students(view: StudyView) -> list[dict[str, Any]]:
    """Return a row for each arm without a teacher, and one for all others."""
    labels, trained = view.result.labels, {record.arm for record in view.result.records}
    arms = [arm for arm in view.arms.values() if arm.name in trained]
    taught = [arm.name for arm in arms if arm.teacher is not None]
    start: dict[str, Any] = {"role": "student", "sees": view.modalities["student"]}
    rows = [
        start
        | {"name": arm.name, "words": view.explain(arm.name)}
        | _counts(view, "student")
        | ({"labels": labels.get("oracle"), "alone": None} if arm.hidden_labels else {})
        for arm in arms
        if arm.teacher is None
    ]
    if taught:
        role = f"students: {sequence(taught)}"
        rows.append(
            start
            | {"name": "every other arm", "role": role, "words": _taught_by(view)}
            | _counts(view, "student", pairs=True)
        )
    return rows


def _taught_by(view: StudyView) -> str:
    """Return what a student with a teacher learns from, in words."""
    words = "the outputs of its teacher on every pair"
    if view.head == SEARCHED:
        words += ", as its recipe says, and the label of a labelled pair"
    elif view.few_labels:
        words += "; on a labelled pair they are half of the target, the label is the other half"
    elif view.result.config.get("label_weight"):
        words += ", and the labels"
    lacking = _lacking(view).get("samples", {}).get(view.modalities["teacher"])
    return words + ("; on a sample that its teacher cannot see, the label alone" if lacking else "")


def build_learnt(summary: Summary) -> Table | None:
    """Return how many labels and unlabelled pairs each network learns from."""
    rows = [
        [
            cell(row["name"], note=row["role"]),
            cell(row["sees"]),
            *(_count(row[name]) for name in ("labels", "alone", "pairs")),
            cell(row["words"]),
        ]
        for row in summary["learnt"]
    ]
    columns = (
        "Network",
        "Sees",
        "Labels #",
        "of these without the other modality #",
        "Unlabelled pairs #",
        "What it is, or learns from",
    )
    lacking = summary["lacking"]
    counts = sequence([f"{count:,} samples lack {name}" for name, count in lacking.items() if count])
    caption = "Labels and pairs that each network learns from, in one fit"
    return table("learnt", caption + (f"; {counts}" if lacking else ""), columns, rows)


def _count(value: float | None) -> Cell:
    return cell(NOTHING if value is None else number(value, 0), value)


def build_weights(summary: Summary) -> Table | None:
    """Return the weights of the stack: mean, least and most over fits."""
    rows = [
        [
            cell(name),
            cell(number(_average(values), 2), _average(values)),
            cell(number(min(values), 2), min(values)),
            cell(number(max(values), 2), max(values)),
            cell(unused := sum(value < 0.005 for value in values), unused),
        ]
        for name, values in summary["weights"].items()
    ]
    columns = ("Network", "Mean #", "Smallest #", "Largest #", "Fits without it #")
    return table("weights", "Weights of the stack over fits", columns, rows)


def _average(values: list[float]) -> float:
    return sum(values) / len(values)


def build_tuned(summary: Summary) -> Table | None:
    """Return the smoothing and weight decay that `no-kd` was trained with, and in how many fits."""
    rows = [
        [
            cell(number(row["smoothing"], 2), row["smoothing"]),
            cell(number(row["weight_decay"], 3), row["weight_decay"]),
            cell(row["fits"], row["fits"]),
        ]
        for row in summary["tuned"]
    ]
    columns = ("Label smoothing #", "Weight decay #", "Fits #")
    return table("tuned", f"What out-of-fold outputs chose for {BASELINE}", columns, rows)


def _draw(summary: Summary) -> Figure | None:
    """Draw the weight of each network in the stack: one dot for each fit, and the mean."""
    weights: Mapping[str, list[float]] = summary["weights"]
    if not weights:
        return None
    figure, (ax,) = style.canvas(0.8 + 0.29 * len(weights))
    for y, values in enumerate(weights.values()):
        style.spread_dots(ax, values, y + 0.22, style.INK)
        ax.plot(_average(values), y - 0.08, "D", color=style.BLUE, markersize=style.size(5.5))
    style.name_rows(ax, list(weights), [number(_average(values), 2) for values in weights.values()])
    ax.set_xlim(left=-0.03 * max(1.0, *map(max, weights.values())))
    ax.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    ax.set_xlabel("weight in the stack")
    return figure


def _caption(summary: Summary) -> str:
    mixed = "multiplies the networks' probabilities, each raised to its weight"
    if summary["data"].get("task") == "regression":
        mixed = "adds the networks' outputs, each times its weight"
    return (
        f"Small dots: one for each fit. Large mark and number: the mean. The stack {mixed}. Where the labels "
        f"show nothing, the weight of {BASELINE} is 1 and all others are 0, which is no teacher."
    )


def _describe(summary: Summary) -> str:
    parts = [f"{name} {number(_average(values), 2)}" for name, values in summary["weights"].items()]
    return "Mean weight of each network in the stack: " + "; ".join(parts) + "."


def _introduce(summary: Summary) -> str:
    parts = []
    if not summary["lacking"]:
        parts.append(f"In a fit `{BASELINE}` and the teachers have the same labels.")
    else:
        parts.append(
            "Some samples lack a modality. A network that sees the other one learns from their labels. What "
            "needs both, such as the distance between two networks and saliency, uses complete pairs."
        )
    if summary["weights"]:
        parts.append(
            f"The same folds of the labelled pairs tune `{BASELINE}` and give the teachers their weights in "
            "the stack."
        )
    return " ".join(parts)


SECTION = Section(
    name="learnt",
    heading="Who learnt from what",
    summarize=summarize,
    intro=_introduce,
    pictures=(Picture(name="weights", draw=_draw, caption=_caption, describe=_describe),),
    tables=(build_learnt, build_weights, build_tuned),
    template="""
{{ grid("learnt") }}
<div class="pair">
{{ picture("weights") }}
<div>
{{ grid("weights") }}
{{ grid("tuned") }}
</div>
</div>
""",
)
