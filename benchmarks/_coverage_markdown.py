"""The tables of docs/intervals.md, from the record of `benchmarks/coverage.py`."""

from collections.abc import Sequence

import numpy as np

from benchmarks._coverage_numbers import FITS, Row, covered, pooled

SHOWN = ("10", "50")
"""Numbers of fits whose comparisons are all shown."""
LEAST = 92.5
"""Coverage that each comparison should have, in percent."""


def percent(part: Row | None) -> str:
    """Return a share with its interval, such as `95 (92 to 97)`."""
    if part is None or not part["of"]:
        return "-"
    low, high = part["interval"]
    return f"{100 * part['count'] / part['of']:.1f} ({low:.1f} to {high:.1f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [" | ".join(head), "|".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" if "---" not in line else f"|{line}|" for line in lines)


def markdown(record: Row) -> str:
    """Return the tables of the page."""
    parts = [averages_table(record["settings"])]
    for fits in SHOWN:
        rows = [
            (
                entry["setting"],
                entry["pair"],
                entry["half"],
                f"{entry['truth']:+.2f}",
                str(entry[fits]["covers"]["of"]),
                percent(entry[fits]["covers"]),
                f"{entry[fits]['width']:.2f}",
                f"{entry[fits]['relative']:.2f}",
                percent(entry[fits]["false"]),
                percent(entry[fits]["shown"]),
            )
            for entry in record["settings"]
            if fits in entry
        ]
        head = ("setting", "compared", "half", "true gain", "data sets", "covers, %", "half-width",
                "of NB's", "false, %", "shown, %")  # fmt: skip
        parts.append(f"### {fits} fits\n\n{table(head, rows)}")
    if record["looks"]:
        parts.append(f"### Until decided\n\n{looks_table(record['looks'])}")
        parts.append(f"### Planned numbers of repeats\n\n{repeats_table(record['repeats'])}")
    if record["plans"]:
        parts.append(f"### Planned numbers of samples\n\n{samples_table(record['plans'])}")
    if record["noise"]:
        parts.append(f"### Studies of pure noise\n\n{noise_table(record['noise'])}")
    return "\n\n".join(parts) + "\n"


def averages_table(settings: Sequence[Row]) -> str:
    """Return averages by number of fits and half of the settings, and the comparisons that fail."""
    rows, failing = [], []
    for fits in FITS:
        for half in ("settle", "confirm", "both"):
            kept = [e for e in settings if fits in e and half in (e["half"], "both")]
            if kept:
                rows.append((fits, half, *averages_line(kept, fits)))
        failing += [(fits, e) for e in settings if fits in e and covered(e, fits) < LEAST]
    head = ("fits", "half", "comparisons", "covers on average, %", "least, %", f"below {LEAST}%", "false, %",
            "false where the true gain is 0, %", "half-width over NB's", "over NB's at 10 fits")  # fmt: skip
    lines = [
        f"- {fits} fits: {e['setting']}, {e['pair']}: {percent(e[fits]['covers'])}; "
        f"NB's interval: {percent(e[fits]['plain_covers'])}"
        for fits, e in failing
    ]
    below = "\n".join(lines) if lines else "- none"
    words = f"Comparisons that are covered in less than {LEAST}% of the data sets:"
    return f"{table(head, rows)}\n\n{words}\n\n{below}"


def averages_line(kept: Sequence[Row], fits: str) -> tuple[str, ...]:
    """Return the numbers of a line of averages."""
    covers = [covered(e, fits) for e in kept]
    against = [e[fits]["width"] / e["10"]["plain_width"] for e in kept]
    return (
        str(len(kept)),
        f"{np.mean(covers):.1f}",
        f"{min(covers):.1f}",
        str(sum(c < LEAST for c in covers)),
        percent(pooled([e[fits]["false"] for e in kept])),
        percent(pooled([e[fits]["false"] for e in kept if e["no_gain"]])),
        f"{np.mean([e[fits]['relative'] for e in kept]):.2f}",
        f"{np.mean(against):.2f}",
    )


def looks_table(looks: Sequence[Row]) -> str:
    """Return the table of studies that go on until they are decided."""
    rows = [
        (
            e["setting"],
            e["pair"],
            f"{e['truth']:+.2f}",
            str(e["misses"]["of"]),
            percent(e["misses"]),
            percent(e["false"]),
            percent(e["decided"]),
            f"{e['repeats']:.1f}",
            f"{e['estimate']:+.2f}",
        )
        for e in looks
    ]
    head = ("setting", "compared", "true gain", "data sets", "misses the truth at some look, %", "false, %",
            "decided, %", "repeats, mean", "estimate, mean")  # fmt: skip
    return table(head, rows)


def repeats_table(planned: Sequence[Row]) -> str:
    """Return the table of planned numbers of repeats."""
    rows = [
        (
            e["setting"],
            e["pair"],
            f"{e['effect']:g}" if e["effect"] else "as estimated",
            str(e["planned"]["of"]),
            percent(e["planned"]),
            str(e["beyond"]),
            str(e["absent"]["of"]),
            percent(e["absent"]),
        )
        for e in planned
    ]
    head = ("pilot", "compared", "planned for a gain of", "plans up to 20", "decide, %", "plans above 20",
            "no number of repeats", "of these 20 decide, %")  # fmt: skip
    return table(head, rows)


def samples_table(plans: Sequence[Row]) -> str:
    """Return the table of planned numbers of samples."""
    rows = [
        (
            e["setting"],
            e["pair"],
            "-" if e["truth"] is None else f"{e['truth']:+.2f}",
            f"{e['samples']:,.0f}",
            str(e["shown"]["of"]),
            str(e["not_made"]),
            percent(e["shown"]),
        )
        for e in plans
    ]
    head = ("pilot", "compared", "true gain at the planned size", "samples, median", "studies", "too large",
            "shown, %")  # fmt: skip
    return table(head, rows)


def noise_table(noise: Row) -> str:
    """Return the table of studies of pure noise."""
    rows = [("all", "", str(noise["of"]), str(noise["decided"]["count"]), percent(noise["decided"]))]
    for column in ("kind", "design", "fits", "metric"):
        for value, part in noise[f"by_{column}"].items():
            rows.append((column, value, str(part["of"]), str(part["count"]), percent(part)))
    words = (
        f"Of {noise['of']:,} studies {noise['help']} end in `help`, {noise['hurt']} in `hurt`, "
        f"{noise['no-effect']} in `no-effect` and {noise['abstain']} in `abstain`. {noise['narrow']} are "
        "decided by an interval of accuracy that is narrower than the weight of one sample."
    )
    return f"{words}\n\n" + table(("", "", "studies", "`help` or `hurt`", "%"), rows)
