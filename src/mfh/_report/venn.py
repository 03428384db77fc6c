"""Two circles whose areas, and the area of their overlap, are to scale."""

import math

from matplotlib.axes import Axes
from matplotlib.patches import Circle

from mfh._report.style import BLUE, GREEN, ORANGE
from mfh.stats import bisect


def lens(distance: float, radius_a: float = 1.0, radius_b: float = 1.0) -> float:
    """Return the area of the overlap of two circles.

    >>> round(lens(0.0) / math.pi, 3), lens(2.0), round(lens(1.0) / math.pi, 3), round(lens(0.0, 2.0, 1.0), 3)
    (1.0, 0.0, 0.391, 3.142)
    """
    small, large = sorted((radius_a, radius_b))
    if distance >= large + small:
        return 0.0
    if distance <= large - small:
        return math.pi * small**2
    area = 0.0
    for one, other in ((small, large), (large, small)):
        cosine = (distance**2 + one**2 - other**2) / (2 * distance * one)
        angle = math.acos(min(1.0, max(-1.0, cosine)))
        area += one**2 * (angle - math.sin(2 * angle) / 2)
    return area


def apart(overlap: float, radius_a: float, radius_b: float) -> float:
    """Return the distance of two circles at which they overlap by an area.

    >>> round(lens(apart(1.2, 1.0, 0.9), 1.0, 0.9), 6)
    1.2
    """
    return bisect(
        lambda d: -lens(d, radius_a, radius_b), -overlap, abs(radius_a - radius_b), radius_a + radius_b
    )


def circles(
    axes: Axes,
    radius_a: float,
    radius_b: float,
    distance: float,
    names: tuple[str, str],
    *,
    known: bool = True,
) -> tuple[Circle, Circle]:
    """Draw two overlapping circles; the second one is dashed if its size is not `known`."""
    start, end = min(-radius_a, distance - radius_b), max(radius_a, distance + radius_b)
    middle = (start + end) / 2
    a, b = Circle((-middle, 0), radius_a), Circle((distance - middle, 0), radius_b)
    for circle, color, dashes in ((a, BLUE, "-"), (b, ORANGE, "-" if known else (0, (4, 2)))):
        axes.add_patch(Circle(circle.center, circle.radius, facecolor=color, alpha=0.18, linewidth=0))
        axes.add_patch(
            Circle(circle.center, circle.radius, fill=False, edgecolor=color, linewidth=1.2, linestyle=dashes)
        )
    both = Circle(a.center, radius_a, facecolor=GREEN, alpha=0.55, linewidth=0)
    axes.add_patch(both)
    both.set_clip_path(b.get_path(), transform=b.get_patch_transform() + axes.transData)
    ends = (
        (a.center[0] - 0.72 * radius_a, radius_a, BLUE),
        (b.center[0] + 0.72 * radius_b, radius_b, ORANGE),
    )
    for (x, radius, color), name, side in zip(ends, names, ("right", "left"), strict=True):
        axes.text(x, 0.8 * radius, name, color=color, ha=side, weight="bold")
    axes.set_aspect("equal")
    axes.set_axis_off()
    return a, b
