"""Compiled parts of the formulas of metrics: log-odds of all classes, and scores in their order."""

from typing import no_type_check

import numpy as np

from mfh._system.compiled import compiled

SAME = 4e-15
"""Relative difference of two scores up to which they count as equal: softmax rounds."""
LARGEST = float(np.finfo(np.float32).max)
"""Logits of a larger size, such as infinity, count as this."""


@compiled()
@no_type_check
def below_largest(values):
    """Subtract the largest logit of each sample from the others, and make it -inf itself.

    Args:
        values: logits, (class, sample); they are changed.

    Returns:
        The same with the second largest logit of each sample subtracted, (class, sample); the second largest
        minus the largest, (sample,); the place of the largest in the flat array of values, (sample,).
    """
    classes, count = values.shape
    places, below = np.zeros(count, np.int64), np.empty_like(values)
    largest, second = np.full(count, -np.inf), np.full(count, -np.inf)
    for k in range(classes):  # without branches, for vector instructions
        for sample in range(count):
            value, top, next_ = values[k, sample], largest[sample], second[sample]
            value = LARGEST if value > LARGEST else value
            value = -LARGEST if value < -LARGEST else value
            values[k, sample] = value
            lower = top if value > top else value
            places[sample] = k * count + sample if value > top else places[sample]
            largest[sample] = value if value > top else top
            second[sample] = lower if lower > next_ else next_
    for sample in range(count):
        values[places[sample] // count, sample] = -np.inf
        second[sample] -= largest[sample]
    for k in range(classes):
        for sample in range(count):
            values[k, sample] -= largest[sample]
            below[k, sample] = values[k, sample] - second[sample]
    return below, second, places


@compiled()
@no_type_check
def sum_others(powers, unit):
    """Replace numbers by the sum of all others of their sample, in another unit.

    Args:
        powers: numbers, (class, sample); they are changed.
        unit: factor of each sample's sums, (sample,).

    Returns:
        The sum of all numbers of each sample, (sample,), without the factor.
    """
    classes, count = powers.shape
    sums = np.zeros(count)
    for k in range(classes):
        for sample in range(count):
            sums[sample] += powers[k, sample]
    for k in range(classes):
        for sample in range(count):
            powers[k, sample] = unit[sample] * (sums[sample] - powers[k, sample])
    return sums


@compiled()
@no_type_check
def mark(marks, label):
    """Set the last bit of integers, (class, sample), to whether the sample belongs to the class."""
    classes, count = marks.shape
    for k in range(classes):
        for sample in range(count):
            marks[k, sample] = marks[k, sample] & ~1 | (label[sample] == k)


@compiled()
@no_type_check
def end(level, start, least):
    """Return the place after the last score that equals the one at `start`."""
    stop = start + 1
    while stop < len(level) and not level[stop] - level[stop - 1] > SAME * abs(level[stop]) + least:
        stop += 1
    return stop


@compiled()
@no_type_check
def roc_areas(ordered, marks, least):
    """Return the area under the ROC curve of each class, NaN where it is undefined.

    Args:
        ordered: rising scores, (class, place).
        marks: integers of the same shape whose last bit is 1 for positive samples.
        least: difference up to which scores near 0 count as equal.
    """
    classes, count = ordered.shape
    areas = np.empty(classes)
    for k in range(classes):
        # twice the pairs of a positive and a negative sample with a lower score; of equal scores half count
        pairs, below, start = 0, 0, 0
        while start < count:
            stop, hits = end(ordered[k], start, least), 0
            for place in range(start, stop):
                hits += marks[k, place] & 1
            pairs += hits * (2 * (start - below) + stop - start - hits)
            below += hits
            start = stop
        areas[k] = pairs / 2 / (below * (count - below))
    return areas


@compiled()
@no_type_check
def hit_precisions(ordered, marks, least):
    """Return the precision at the score of each positive sample, and how many there are of each class.

    Args:
        ordered: see `roc_areas`.
        marks: see `roc_areas`.
        least: see `roc_areas`.

    Returns:
        Precisions, (class, place), 0 for negative samples; numbers of positive samples, (class,).
    """
    classes, count = ordered.shape
    precisions, total = np.empty(ordered.shape), np.zeros(classes, np.int64)
    for k in range(classes):
        for place in range(count):
            total[k] += marks[k, place] & 1
        above, start = total[k], 0
        while start < count:
            stop, hits = end(ordered[k], start, least), 0
            for place in range(start, stop):
                hit = marks[k, place] & 1
                precisions[k, place] = hit * above / (count - start)
                hits += hit
            above -= hits
            start = stop
    return precisions, total
