"""The tables and the figure of a page about several studies."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mfh._report import wording
from mfh._report.run_tables import label
from mfh._report.style import BLUE, FAINT, MUTED, SURFACE, canvas, name_rows, size
from mfh._report.tables import Table, cell, table
from mfh._report.wording import interval, number, shorten, signed


def runs(summary: Mapping[str, Any]) -> Table | None:
    """One row a run: verdict, gain, and the fields in which the runs differ."""
    rows = [
        [
            cell(row["name"]),
            cell(row["group"]),
            cell(f"{row['symbol']} {row['verdict']}"),
            cell(signed(row["difference"], 2), row["difference"]),
            cell(interval(row["low"], row["high"], 2, sign=True), row["low"]),
            cell(row["focusing"]),
            cell(row["num_seeds"], row["num_seeds"]),
            *(cell(shorten(row["fields"][field], 40)) for field in summary["differing"]),
        ]
        for row in summary["runs"]
    ]
    columns = ("Run", "Design", "Verdict", "Gain, points #", "95% interval #", "Focusing", "Seeds #")
    return table("runs", "The runs", (*columns, *map(label, summary["differing"])), rows)


def arms(summary: Mapping[str, Any]) -> Table | None:
    """One row a run, one column an arm."""
    rows = []
    for row in summary["runs"]:
        cells = [summary["arms"][arm].get(row["name"]) for arm in summary["arms"]]
        rows.append([cell(row["name"]), *(_mean(found) for found in cells)])
    return table(
        "arms", "Test metric by arm: mean over seeds", ("Run", *(f"{arm} #" for arm in summary["arms"])), rows
    )


def against_first(summary: Mapping[str, Any]) -> Table | None:
    """Each run minus the first."""
    rows = [
        [
            cell(row["name"]),
            cell(row["arm"]),
            cell(wording.NOTHING if row["ratio"] is None else f"{row['ratio']:g}", row["ratio"]),
            cell(signed(row["difference"], 2), row["difference"]),
            cell(interval(row["low"], row["high"], 2, sign=True), row["low"]),
            cell(row["n"], row["n"]),
        ]
        for row in summary["against_first"]
    ]
    caption = f"Each run minus {shorten(summary['first'], 40)}, paired by seed, in points"
    return table(
        "against-first", caption, ("Run", "Arm", "Ratio #", "Difference #", "95% interval #", "Seeds #"), rows
    )


def left_out(summary: Mapping[str, Any]) -> Table | None:
    """Folders that are not compared."""
    rows = [[cell(row["name"]), cell(row["why"])] for row in summary["left_out"]]
    return table("left-out", "Not compared", ("Folder", "Why"), rows)


def draw_runs(summary: Mapping[str, Any]) -> Figure | None:
    """The gain from the teacher in each run, with its interval."""
    rows = [row for row in summary["runs"] if row["difference"] is not None]
    if not rows:
        return None
    figure, (ax,) = canvas(0.8 + 0.27 * len(rows))
    zone = summary["zone"]
    ax.axvspan(-zone, zone, color=FAINT, alpha=0.45, linewidth=0)
    ax.axvline(0, color=MUTED, linewidth=0.9)
    for y, row in enumerate(rows):
        if row["low"] is not None and row["high"] is not None:
            ax.plot([row["low"], row["high"]], [y, y], color=BLUE, linewidth=1.6)
        face = BLUE if row["verdict"] in ("help", "hurt") else SURFACE
        ax.plot(
            row["difference"],
            y,
            "D",
            color=BLUE,
            markerfacecolor=face,
            markersize=size(5.5),
            markeredgewidth=1.3,
        )
    name_rows(ax, [shorten(row["name"], 26) for row in rows], [signed(row["difference"]) for row in rows])
    ax.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    ax.set_xlabel("general minus no-kd, points")
    return figure


def caption(summary: Mapping[str, Any]) -> str:
    """What stands below the figure."""
    return (
        "Gain from the teacher: the student of the focused teacher (general) minus the one trained on labels "
        f"alone, with 95% intervals. Filled: the verdict is help or hurt. Shaded: within "
        f"{number(summary['zone'], 0)} point."
    )


def alternative(summary: Mapping[str, Any]) -> str:
    """The same in words."""
    parts = [
        f"{row['name']} {signed(row['difference'])}"
        for row in summary["runs"]
        if row["difference"] is not None
    ]
    return "Gain in points by run: " + "; ".join(parts) + "."


def _mean(found: Mapping[str, Any] | None) -> dict[str, Any]:
    if found is None:
        return cell(wording.NOTHING)
    at = "" if found["ratio"] is None else f"at {found['ratio']:g}"
    return cell(number(found["mean"], 2), found["mean"], at)
