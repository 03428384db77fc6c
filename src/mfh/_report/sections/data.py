"""The data of a study: sizes, splits, classes, groups, and where they come from."""

from typing import Any

from mfh._report import wording
from mfh._report.section import Section, Summary
from mfh._report.tables import Table, label, pairs, plain_text
from mfh._report.view import StudyView
from mfh._report.wording import plural, shorten

MAX_CLASSES = 12


def summarize(view: StudyView, _: Summary) -> dict[str, Any]:
    """Return the description of the data."""
    return {"data": view.data}


def build(summary: Summary) -> Table | None:
    """Return the data as fields and values."""
    values = dict(summary["data"])
    names = summary["modalities"]
    shapes = values.pop("shapes", None) or {}
    splits = values.pop("splits", None) or {}
    classes = values.pop("classes", None) or []
    values.pop("alike", None)
    rows: list[tuple[str, object]] = []
    for role in ("teacher", "student"):
        name = values.pop(role, None) or names[role]
        shape = shapes.get(name)
        sizes = " \N{MULTIPLICATION SIGN} ".join(map(str, shape or ()))
        size = f" ({sizes} values in each sample)" if shape else ""
        rows.append((f"{role.capitalize()} sees", name + size))
    if values.get("num_samples"):
        rows.append(("Samples", f"{values.pop('num_samples'):,}"))
    lacking = (values.pop("lacking", None) or {}).get("samples", {})
    if lacking:
        texts = [f"{count:,} lack {name}" for name, count in lacking.items() if count]
        rows.append(("Samples without a modality", ", ".join(texts)))
    known = (summary.get("labels") or {}).get("known")
    if known is not None:
        rows.append(("Samples with a label", f"{known:,}"))
    redrawn = values.pop("redrawn", None)
    if summary["few_labels"]:  # nothing serves validation alone
        splits.pop("validation", None)
    if splits:
        drawn = "" if redrawn is None else "; drawn anew in every fit" if redrawn else "; one for all fits"
        if redrawn and summary["num_folds"] > 1:
            repeats = plural(summary["num_repeats"], "repeat")
            each = "each labelled sample" if summary["few_labels"] else "each sample"
            each += f" with {names['student']}" if lacking.get(names["student"]) else ""
            drawn = f"; {repeats} of {summary['num_folds']} folds, {each} is tested once in a repeat"
        rows.append(("Splits", ", ".join(f"{name} {size:,}" for name, size in splits.items()) + drawn))
    if classes:
        shown = ", ".join(shorten(name, 40) for name in classes[:MAX_CLASSES])
        more = f" and {len(classes) - MAX_CLASSES:,} more" if len(classes) > MAX_CLASSES else ""
        noun = wording.OUTPUTS.get(values.get("task", ""), "").capitalize()
        rows.append((f"{noun}s" if noun else "Classes", f"{len(classes):,}: {shown}{more}"))
    if "num_groups" in values:
        count, name = values.pop("num_groups"), values.pop("group", None)
        none = "none; samples of one person or recording, if any, may be in several splits"
        rows.append(("Groups", f"{count:,} ({name or 'group'}), never split" if count else none))
    leaks = values.pop("leaks", None) or {}
    if leaks.get("duplicates") is not None:
        rows.append(("Copies across splits", f"{leaks['duplicates']:,} (first fit)"))
    rows += [(label(key), plain_text(value)) for key, value in values.items()]
    return pairs("data", "The data", rows)


SECTION = Section(name="data", heading="Data", summarize=summarize, tables=(build,))
