# SPDX-License-Identifier: GPL-2.0
"""Mean and 95 % interval of a sample, by Student's t-distribution."""

import math
import statistics
from collections.abc import Sequence

# t for 95 % two-sided, by degrees of freedom; between them the next smaller one counts, which widens the interval.
_T = {
    1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228,
    12: 2.179, 14: 2.145, 16: 2.120, 18: 2.101, 20: 2.086, 25: 2.060, 30: 2.042, 39: 2.023, 60: 2.000, 120: 1.980,
}  # fmt: skip


def mean_interval(sample: Sequence[float]) -> tuple[float, float]:
    """The mean and half the width of its interval; 0 if there is one value only, which says nothing of its spread."""
    mean = statistics.fmean(sample)
    if len(sample) < 2:
        return mean, 0.0
    t = _T[max(df for df in _T if df <= len(sample) - 1)]
    return mean, t * statistics.stdev(sample) / math.sqrt(len(sample))


def ratio_interval(sample: Sequence[float], base: Sequence[float]) -> tuple[float, float, float]:
    """The ratio of two samples and its interval. Values of the same turn are paired: what slows the whole machine
    down for a while cancels out. The mean is the geometric one, whose interval is not symmetric."""
    if len(sample) != len(base):
        raise ValueError(f"{len(sample)} samples cannot be paired with {len(base)}")
    mean, half = mean_interval([math.log(a / b) for a, b in zip(sample, base)])
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)
