"""What was said before any student was trained: gamma, and what stands beside it."""

from collections.abc import Mapping
from typing import Any

from mfh._report.wording import interval, number, percent, signed

Rows = list[dict[str, Any]]


def summarize_diagnosis(diagnosis: Mapping[str, Any]) -> dict[str, Any]:
    """The `diagnosis` of a result, ready to be shown; empty where there is none.

    Args:
        diagnosis: `gamma` (`estimate`, `low`, `high`, `between`, `within`, all shares of what decides the
            teacher's answers), in it `venn`, where the data allow with `alpha`, `beta` and `gamma` (what only
            the teacher's, only the student's modality and both hold, as shares of all that decides in either)
            and a `note`; `verdict`, `probability`, `reasons`, `advice` with `sentences`; `companions`; and
            `pilot`, its comparisons.
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
        "advice": [str(advice) for advice in (diagnosis.get("advice") or {}).get("sentences") or ()],
        "teacher": dict(diagnosis.get("teacher") or {}),
        "companions": _rows(diagnosis.get("companions")),
        "pilot": _rows(diagnosis.get("pilot")),
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


ANSWERS = {
    "help": "Probably yes",
    "hurt": "Probably not: it would do harm",
    "no-effect": "Probably it makes no difference",
    "abstain": "This evidence cannot say",
}
CHECKED = (
    "MFH104",
    "MFH105",
    "MFH106",
    "MFH107",
)  # what is asked of a study's seeds and sweep is not asked here


def first_screen(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Question and answer of a diagnosis, in place of those of a study."""
    told, names = summary["diagnosis"], summary["modalities"]
    gamma, teacher = told.get("gamma") or {}, told.get("teacher") or {}
    facts = []
    if gamma.get("estimate") is not None:
        facts.append(
            _fact(
                "Shared (gamma)",
                number(gamma["estimate"], 2),
                interval(gamma.get("low"), gamma.get("high"), 2),
            )
        )
    if told.get("probability") is not None:
        facts.append(_fact("Probability of a gain", percent(told["probability"]), ""))
    row = next((row for row in summary["differences"] if row["name"] == "no-kd"), None)
    if row is not None:
        note = f"95% interval {interval(row['low'], row['high'], sign=True)}"
        facts.append(_fact("Gain in the pilot", f"{signed(row['difference'])} points", note))
    if teacher.get("accuracy") is not None:
        note = f"the student alone {number(teacher.get('student_accuracy'))}{summary['unit']}"
        facts.append(
            _fact(
                "The teacher, on data it never saw", f"{number(teacher['accuracy'])}{summary['unit']}", note
            )
        )
    return {
        "title": f"Is a teacher that sees {names['teacher']} likely to make a better student that only sees "
        f"{names['student']}?",
        "headline": ANSWERS.get(str(told.get("verdict")), "No verdict") + ".",
        "facts": facts,
        "checks": [check for check in summary["checks"] if check["code"] in CHECKED],
    }


def _fact(label: str, value: str, note: str) -> dict[str, str]:
    return {"label": label, "value": value, "note": note}


def _rows(value: Any) -> Rows:
    """Mappings as rows of a table, whatever shape they come in."""
    if isinstance(value, Mapping):
        return [
            {"what": name, **(item if isinstance(item, Mapping) else {"value": item})}
            for name, item in value.items()
        ]
    return [dict(row) for row in value or () if isinstance(row, Mapping)]
