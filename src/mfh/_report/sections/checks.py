"""What a reader should know before relying on a study: checks with codes that look at its numbers."""

import re
from collections.abc import Collection
from typing import Any

import numpy as np

from mfh._report.section import Section, Summary
from mfh._report.sections import findings, findings_training
from mfh._report.view import StudyView
from mfh.results import Record
from mfh.stats import most_common

CHECKS = (*findings.CHECKS, *findings_training.CHECKS)
"""All checks, in the order of their codes."""

COMPARISON = re.compile("Against |`[^`]+` against ")
"""How a reason of the verdict begins that is a comparison."""

TEMPLATE = """
{% if not s.checks %}
<p>None of the {{ s.every_check|length }} checks found anything in these numbers.</p>
{% endif %}
{% if s.checks or s.warnings %}
<ul class="checks">
{% for c in s.checks %}
<li id="{{ c.code }}">
<h3>{{ c.title }} <a href="#about-{{ c.code }}"><code>{{ c.code }}</code></a></h3>
<p>{{ c.text|code }}</p>
<details><summary>Why this matters</summary><p>{{ c.why|code }}</p></details>
</li>
{% endfor %}
{% for text in s.warnings %}
<li><p>{{ text|code }}</p></li>
{% endfor %}
</ul>
{% endif %}
{{ all_checks() }}
"""


def summarize(view: StudyView, summary: Summary) -> dict[str, Any]:
    """Return what the checks found, all checks there are, and the other warnings of the study."""
    values = {
        "epochs": view.config.get("epochs"),
        "late_share": _late_share(view),
        "failed_seeds": [
            {"seed": row.seed, "tries": row.tries, "error": row.error, "missing": row.missing}
            for row in view.result.failed_seeds
        ],
        "one_class": _one_class(view),
        # what each comparison shows is on the page already
        "warnings": [text for text in view.result.verdict.reasons if not COMPARISON.match(text)],
    }
    return values | look({**summary, **values})


def _late_share(view: StudyView) -> float | None:
    """Return the share of students whose best epoch is among the last 5% of the epochs."""
    best = [record.best_epoch for record in view.of_loss(view.result.records)]
    epochs = view.config.get("epochs")
    if not isinstance(epochs, int) or epochs < 2 or not best:
        return None
    return sum(epoch > 0.95 * epochs for epoch in best) / len(best)


def _one_class(view: StudyView) -> dict[str, Any] | None:
    """Return the largest class of the test samples, and what share of them each arm gives one class.

    None where accuracy is not the metric, or the test outputs were not kept.
    """
    arrays = view.result.predictions
    if view.metric.name != "accuracy" or view.data.get("task") != "single-label" or "label" not in arrays:
        return None
    records: dict[int, list[Record]] = {}
    for record in view.result.records:
        records.setdefault(record.seed, []).append(record)
    known = [seed for seed in records if f"rows/{seed}" in arrays]
    if not known:
        return None
    rows = np.concatenate([arrays[f"rows/{seed}"] for seed in known])
    weight = arrays.get("weight")
    name, share = most_common(arrays["label"][rows], None if weight is None else weight[rows])
    shares: dict[str, list[float]] = {}
    for seed in known:
        mine = None if weight is None else weight[arrays[f"rows/{seed}"]]
        for record, outputs in zip(records[seed], arrays[f"outputs/{seed}"], strict=False):
            shares.setdefault(record.arm, []).append(most_common(outputs.argmax(axis=-1), mine)[1])
    classes = view.data.get("classes") or []
    return {
        "name": classes[name] if name < len(classes) else str(name),
        "share": share,
        "arms": {arm: float(np.mean(shares[arm])) for arm in sorted(shares, key=view.rank)},
    }


def look(summary: Summary, codes: Collection[str] = ()) -> dict[str, Any]:
    """Return what the checks with these codes found (all by default), and all checks there are."""
    checks = [check for check in CHECKS if not codes or check.code in codes]
    found = []
    for check in checks:
        if finding := check.look(summary):
            title, text = finding
            text = text[:1].upper() + text[1:]
            found.append({"code": check.code, "title": title, "text": text, "why": check.why})
    every = [{"code": check.code, "name": check.name, "why": check.why} for check in checks]
    return {"checks": found, "every_check": every}


SECTION = Section(
    name="checks", heading="Checks", summarize=summarize, template=TEMPLATE, is_shown=lambda _: True
)
