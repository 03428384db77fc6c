"""What was said before any student was trained: gamma, and what stands beside it."""

from collections.abc import Mapping
from typing import Any

from mfh._report.wording import interval, number, percent

Rows = list[dict[str, Any]]


def summarize_diagnosis(diagnosis: Mapping[str, Any]) -> dict[str, Any]:
    """The `diagnosis` of a result, ready to be shown; empty where there is none.

    Args:
        diagnosis: `gamma` (`estimate`, `low`, `high`, `between`, `within`, all shares of what decides the
            teacher's answers), in it `venn`, where the data allow with `alpha`, `beta` and `gamma` (what only
            the teacher's, only the student's modality and both hold, as shares of all that decides in either)
            and a `note`; `verdict`, `probability`, `reasons`, `advice`; `companions`, rows; `pilot`, with
            `comparisons`.
    """
    gamma = diagnosis.get("gamma") or {}
    estimate = gamma.get("estimate")
    venn = gamma.get("venn") or {}
    found: dict[str, Any] = {
        "gamma": dict(gamma),
        "shares": None,
        "sentence": "",
        "verdict": diagnosis.get("verdict"),
        "probability": diagnosis.get("probability"),
        "reasons": [str(reason) for reason in diagnosis.get("reasons") or ()],
        "advice": [str(advice) for advice in diagnosis.get("advice") or ()],
        "companions": _rows(diagnosis.get("companions")),
        "pilot": _rows((diagnosis.get("pilot") or {}).get("comparisons")),
        "note": venn.get("note") or "",
    }
    if estimate is None:
        return found if diagnosis else {}
    shared = min(max(float(estimate), 0.0), 1.0)
    beta = venn.get("beta")
    found["shares"] = {
        "shared": shared,
        "teacher_only": 1.0 - shared,
        "student_only": None if beta is None else float(beta) / max(1.0 - float(beta), 1e-9),
    }
    ends = interval(gamma.get("low"), gamma.get("high"), 2)
    told = f" (95% interval {ends})" if gamma.get("low") is not None else ""
    found["sentence"] = (
        f"Of what decides the teacher's answers, the student's modality holds {percent(shared)}: "
        f"gamma is {number(estimate, 2)}{told}."
    )
    return found


def _rows(value: Any) -> Rows:
    """Mappings as rows of a table, whatever shape they come in."""
    if isinstance(value, Mapping):
        return [
            {"what": name, **(item if isinstance(item, Mapping) else {"value": item})}
            for name, item in value.items()
        ]
    return [dict(row) for row in value or () if isinstance(row, Mapping)]
