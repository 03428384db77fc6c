"""The saliency of each channel: of one fit in channel order, and of all fits from largest to smallest."""

import math
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mfh._report.section import Picture, Summary
from mfh._report.style import BLUE, FAINT, INK, MUTED, SURFACE, canvas
from mfh._report.wording import number, plural
from mfh.results import StudyResult

MAX_BARS = 256  # more bars than this would be thinner than a point
MAX_POINTS = 200  # points of a curve
MAX_CURVES = 20  # of fits, drawn


def summarize_channels(
    result: StudyResult, *, chosen: Mapping[int, float], ratio: float | None
) -> dict[str, Any] | None:
    """Return one fit in channel order and all fits sorted; None without arrays.

    Channels of two fits are parts of two networks, so only sorted values can be laid over each other.

    Args:
        result: of the study.
        chosen: the ratio that validation chose in each fit.
        ratio: the one that is shown for a fit without a choice.
    """
    found = channel_arrays(result, saliency_split(result))
    if found is None:
        return None
    array, fits, errors = found["saliency"], found["seed"], found.get("error")
    own = chosen.get(fits[0]) or ratio or 0.0
    num_channels = array.shape[1]
    # The epsilon undoes rounding: 0.29 x 100 channels are 29, not 28.
    num_removed = min(math.floor(own * num_channels + 1e-9), num_channels - 1)
    return {
        "score": found["score"],
        "split": saliency_split(result),
        "seed": fits[0],
        "num_fits": len(fits),
        "num_channels": num_channels,
        "ratio": own,
        "num_removed": num_removed,
        "order": _channel_order(array[0], num_removed, None if errors is None else errors[0]),
        "sorted": _sorted_curves(array, own),
    }


def saliency_split(result: StudyResult) -> str:
    """Return the split that saliency was computed on."""
    return result.saliency.get("split") or result.config.get("saliency_split") or "train"


def saliency_score(result: StudyResult) -> str:
    """Return what saliency is in this study, `increase` or `followed`."""
    return result.saliency.get("score") or result.config.get("score") or "increase"


def channel_arrays(result: StudyResult, split: str) -> dict[str, Any] | None:
    """Return the arrays of a split; None without finite saliency.

    Returns:
        `saliency`, and where they have its shape `error` and `importance`, each (fit, channel); `score`,
        what saliency is; and `seed`, one number for each row.
    """
    score = saliency_score(result)
    saliency = _matrix(result.channels.get(f"{score}_{split}"))
    if saliency is None:
        return None
    fits = [int(fit) for fit in np.asarray(result.channels.get("seed", ())).ravel()]
    found: dict[str, Any] = {
        "score": score,
        "saliency": saliency,
        "seed": fits if len(fits) == len(saliency) else list(range(len(saliency))),
    }
    others = {"importance": f"importance_{split}"} | (
        {"error": f"stderr_{split}"} if score == "increase" else {}
    )
    for name, stored in others.items():
        array = _matrix(result.channels.get(stored))
        if array is not None and array.shape == saliency.shape:
            found[name] = array
    return found


def _matrix(array: object) -> np.ndarray | None:
    """Return a finite (fit, channel) array, or None."""
    if array is None:
        return None
    matrix = np.atleast_2d(np.asarray(array, dtype=np.float64))
    if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
        return None
    return matrix


def _channel_order(values: np.ndarray, num_removed: int, errors: np.ndarray | None) -> dict[str, Any]:
    """Return bars in channel order.

    Where there are too many channels, neighbours share a bar: their mean, lowest and highest.
    """
    removed = np.zeros(values.size, dtype=bool)
    removed[np.argsort(values, kind="stable")[:num_removed]] = True
    size = math.ceil(values.size / MAX_BARS)
    starts = np.arange(0, values.size, size)
    counts = np.diff(np.append(starts, values.size))
    bars = {
        "per_bar": size,
        "value": np.add.reduceat(values, starts) / counts,
        "removed": np.add.reduceat(removed.astype(float), starts) / counts,
        "low": None,
        "high": None,
    }
    if size > 1:
        bars |= {"low": np.minimum.reduceat(values, starts), "high": np.maximum.reduceat(values, starts)}
    elif errors is not None:
        bars |= {"low": values - 1.96 * errors, "high": values + 1.96 * errors}
    return {key: _short(v) if isinstance(v, np.ndarray) else v for key, v in bars.items()}


def _sorted_curves(array: np.ndarray, ratio: float) -> dict[str, Any]:
    """Return each fit's values from largest to smallest, scaled to [0, 1] as in step 3 of Algorithm 1."""
    low, high = array.min(axis=1, keepdims=True), array.max(axis=1, keepdims=True)
    scaled = (array - low) / np.where(high > low, high - low, 1.0)
    scaled = -np.sort(-scaled, axis=1)
    at = np.unique(np.linspace(0, scaled.shape[1] - 1, min(scaled.shape[1], MAX_POINTS)).round().astype(int))
    return {
        "share": _short((at + 0.5) / scaled.shape[1]),
        "curves": [_short(curve) for curve in scaled[:MAX_CURVES, at]],
        "median": _short(np.median(scaled[:, at], axis=0)),
        "kept": 1.0 - ratio,
    }


def _short(values: np.ndarray) -> list[float]:
    """Return six significant digits: more than a figure shows, and short in a file."""
    return [float(f"{value:.6g}") for value in values]


def _draw(summary: Summary) -> Figure | None:
    channels = summary["channels"]
    if channels is None:
        return None
    figure, (top, bottom) = canvas(4.4, rows=2)
    _draw_order(top, channels)
    curves = channels["sorted"]
    kept, small = curves["kept"], matplotlib.rcParams["legend.fontsize"]
    if kept < 1:
        bottom.axvspan(kept, 1, color=FAINT, alpha=0.45, linewidth=0)
        bottom.axvline(kept, color=MUTED, linewidth=0.9)
        for text, x in (("removed", (1 + kept) / 2), ("kept", kept / 2)):
            bottom.annotate(text, (x, 0.93), ha="center", color=INK, fontsize=small)
    if channels["num_fits"] > 1:
        for curve in curves["curves"]:
            bottom.plot(curves["share"], curve, color=BLUE, linewidth=0.6, alpha=0.4)
    bottom.plot(curves["share"], curves["median"], color=BLUE, linewidth=1.8)
    bottom.set_xlim(0, 1)
    bottom.set_ylim(-0.02, 1.05)
    bottom.set_xlabel("share of channels, most salient first")
    bottom.set_ylabel("saliency, scaled")
    return figure


def _draw_order(ax: Axes, channels: Mapping[str, Any]) -> None:
    order = channels["order"]
    size, count = order["per_bar"], len(order["value"])
    x = [(i + 0.5) * size - 0.5 for i in range(count)]
    # A bar of several channels is filled if most of its channels are kept.
    kept = [share < 0.5 for share in order["removed"]]
    for keep, face in ((True, BLUE), (False, SURFACE)):
        at = [i for i in range(count) if kept[i] is keep]
        if at:
            ax.bar(
                [x[i] for i in at],
                [order["value"][i] for i in at],
                width=0.8 * size,
                color=face,
                edgecolor=BLUE,
                linewidth=0.6 if count <= 128 else 0.3,
                label="kept" if keep else "removed",
            )
    if order["low"] is not None:
        ax.vlines(x, order["low"], order["high"], color=INK, linewidth=0.7, alpha=0.6)
    ax.axhline(0, color=MUTED, linewidth=0.7)
    ax.set_xlim(-0.5 - 0.5 * size, channels["num_channels"] - 0.5 + 0.5 * size)
    last = channels["num_channels"] - 1
    ticks = MaxNLocator(integer=True).tick_values(0, last)
    ax.set_xticks([tick for tick in ticks if 0 <= tick <= last])
    ax.set_xlabel(f"channel (fit {channels['seed']})")
    ax.set_ylabel(channels["score"])
    ax.yaxis.set_major_formatter(FuncFormatter(_plain))  # a factor above the axis would lie in the legend
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0, borderaxespad=0.2)


def _plain(value: float, _place: int) -> str:
    """Return the label of a tick: 2e-7, not 2 with a factor elsewhere."""
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e+").replace("-", "\N{MINUS SIGN}")


def _caption(summary: Summary) -> str:
    channels = summary["channels"]
    size, drawn = channels["order"]["per_bar"], len(channels["sorted"]["curves"])
    marks = "Lines: 95% intervals. " if channels["order"]["low"] is not None else ""
    if size > 1:
        marks = (
            f"There are {channels['num_channels']:,} channels: a bar is the mean of {size} neighbours, "
            "filled if most of them are kept, and its line their range. "
        )
    thin = ""
    if drawn < channels["num_fits"]:
        thin = f" Thin lines: the first {drawn} fits; thick: the median of all {channels['num_fits']}."
    elif drawn > 1:
        thin = " Thin lines: fits; thick: their median."
    removed = plural(channels["num_removed"], "channel")
    return (
        f"Above: saliency ({channels['score']}, {channels['split']} split) of every channel of fit "
        f"{channels['seed']}; hollow bars are the {removed} that {summary['rankings']['saliency']} removes "
        f"at ratio {channels['ratio']:g}. {marks}"
        f"Below: all fits, sorted, since the channels of two fits are "
        f"parts of two networks.{thin}"
    )


def _describe(summary: Summary) -> str:
    channels = summary["channels"]
    curve = channels["sorted"]
    points = zip(curve["share"], curve["median"], strict=True)
    kept = [value for share, value in points if share <= curve["kept"]]
    edge = f" At the border between kept and removed it is {number(kept[-1], 2)}." if kept else ""
    middle = curve["median"][len(curve["median"]) // 2]
    return (
        f"Saliency of {plural(channels['num_channels'], 'channel')}. Scaled to between 0 and 1, the channel "
        f"in the middle of the ranking has {number(middle, 2)}.{edge}"
    )


PICTURE = Picture(name="saliency", draw=_draw, caption=_caption, describe=_describe)
