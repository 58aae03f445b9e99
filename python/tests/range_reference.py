"""Slow and obvious: the ranges that the methods of the 4-bit paper choose for a row, by their papers' definitions.

Everything is in float64 but what is stored. A method is a function of a row, bits and the type of the scale; it returns
codes, scale and bias, as `reference.quantize` does.
"""

import math
from itertools import combinations_with_replacement, pairwise

import numpy as np
from reference import min_max, quantize, round_scale, squared_error


def last_code(bits):
    return np.float32(2**bits - 1)


def quantized(row, low, high, bits, scale_type):
    return quantize(row, np.float32(low), np.float32(high), last_code(bits), scale_type)


def error(row, found):
    return squared_error(row, *found)


def or_min_max(method, row, bits, scale_type):
    """A method with `fallback`: plain min-max where that is better, or as good."""
    found, plain = method(row, bits, scale_type), min_max(row, bits, scale_type)
    return found if error(row, found) < error(row, plain) else plain


def table(rows, bits):
    """TABLE, for all rows at once, with an f32 scale."""
    return quantized(np.asarray(rows), np.min(rows), np.max(rows), bits, "f32")


def sym(row, bits, scale_type="f16"):
    largest = np.abs(row).max()
    return quantized(row, -largest, largest, bits, scale_type)


def gss(row, bits, scale_type="f16", steps=15):
    """Golden-section search of the threshold; the best threshold that was tried."""
    tried = []

    def loss(threshold):
        found = quantized(row, -threshold, threshold, bits, scale_type)
        tried.append((error(row, found), found))
        return tried[-1][0]

    golden = (math.sqrt(5) - 1) / 2
    low, high = 0.0, float(np.abs(row).max())
    loss(high)
    for _ in range(steps):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    loss(high - golden * (high - low))
    loss(low + golden * (high - low))
    return min(tried, key=lambda pair: pair[0])[1]


# ACIQ

CLIPS = {
    "gaussian": [1.24, 1.71, 2.15, 2.55, 2.93, 3.28, 3.61, 3.92],
    "laplace": [1.86, 2.83, 3.89, 5.03, 6.2, 7.41, 8.64, 9.89],
}
"""Banner et al.'s clips for 1 to 8 bits, in standard deviations and in Laplace's scales."""


def best_clip(distribution, bits):
    """The clip with the least expected error, to two places.

    What clipping costs, plus the squared error of 2^bits equal steps between the clips: section 3 of arXiv 1810.05723.
    """

    def cost(clip):
        steps = clip**2 / (3 * 4**bits)
        if distribution == "laplace":
            return 2 * math.exp(-clip) + steps
        beyond = (clip**2 + 1) * (1 - math.erf(clip / math.sqrt(2)))
        return beyond - math.sqrt(2 / math.pi) * clip * math.exp(-(clip**2) / 2) + steps

    return min((k / 100 for k in range(50, 1200)), key=cost)


def aciq(row, bits, scale_type="f16"):
    x = np.asarray(row, np.float64)
    distance, deviation = np.abs(x - x.mean()).mean(), x.std()
    gaussian_ratio, laplace_ratio = math.sqrt(2 / math.pi), math.sqrt(1 / 2)
    if distance > deviation * (gaussian_ratio + laplace_ratio) / 2:
        estimate = np.ptp(x) * 0.35 / 2 * (1 + math.sqrt(math.pi * math.log(4))) / math.sqrt(2 * math.log(len(x)))
        clip = CLIPS["gaussian"][bits - 1] * estimate
    else:
        clip = CLIPS["laplace"][bits - 1] * distance
    if clip >= np.ptp(x) / 2:
        return min_max(row, bits, scale_type)
    return quantized(row, max(x.min(), x.mean() - clip), min(x.max(), x.mean() + clip), bits, scale_type)


# Histograms


def histogram(row, bins):
    """Counts over the row's extent; the last bin has its upper end too."""
    row = np.asarray(row, np.float64)
    return np.histogram(row, bins, (row.min(), row.max()))[0].astype(np.float64)


def histogram_error(counts, first, last, bits, midpoints=False):
    """Appendix A of the 4-bit paper: the squared error of a range from bin `first` to bin `last`, in bins.

    Values are spread evenly over their bin. A bin is cut where the nearest code changes; a piece from a to b whose code
    lies at c has the integral of (x - c)^2. With `midpoints` the range is cut into as many parts as there are codes,
    each with its code in the middle.
    """
    if midpoints:
        width = (last - first + 1) / 2**bits
        codes = [first + (k + 0.5) * width for k in range(2**bits)]
    else:
        width = (last - first + 1) / (2**bits - 1)
        codes = [first + k * width for k in range(2**bits)]
    edges = [-math.inf, *((low + high) / 2 for low, high in pairwise(codes)), math.inf]
    total = 0.0
    places = np.arange(len(counts), dtype=np.float64)
    for code, (low, high) in zip(codes, pairwise(edges), strict=True):
        a, b = np.maximum(places, low), np.minimum(places + 1, high)
        total += (counts * np.where(a < b, (b - code) ** 3 - (a - code) ** 3, 0)).sum() / 3
    return total


def between_bins(row, bins, first, last, bits, scale_type):
    low, width = float(np.min(row)), float(np.ptp(np.asarray(row, np.float64))) / bins
    return quantized(row, low + first * width, low + (last + 1) * width, bits, scale_type)


def hist_brute(row, bits, scale_type="f16", b=200):
    counts = histogram(row, b)
    ranges = [(first, last) for first in range(b) for last in range(first, b)]
    first, last = min(ranges, key=lambda chosen: histogram_error(counts, *chosen, bits))
    return between_bins(row, b, first, last, bits, scale_type)


def hist_apprx(row, bits, scale_type="f16", b=200, share=1e-5):
    """Norm minimisation as Caffe2 has it: `share` of the values more is given up at a time, at one of the ends.

    It is the end at which that frees more bins, the upper one if both free as many. The search ends when the error
    rises, which is that of codes in the middles of equal parts of the range.
    """
    counts = histogram(row, b)
    through = np.cumsum(counts)
    total = through[-1]
    first, last, least = 0, b - 1, math.inf
    from_below, from_above = 0, 0  # how often a share was given up
    while (from_below + from_above) * share < 1:
        left, right = first, last
        while left < last and through[left] < (from_below + 1) * share * total:
            left += 1
        while right > first and through[right] > (1 - (from_above + 1) * share) * total:
            right -= 1
        if left - first > last - right:
            candidate = (left, last)
            from_below += 1
        else:
            candidate = (first, right)
            from_above += 1
        if candidate == (first, last):
            continue
        loss = histogram_error(counts, *candidate, bits, midpoints=True)
        if loss > least:
            break
        least = loss
        first, last = candidate
    return between_bins(row, b, first, last, bits, scale_type)


# Least squares


def fitted(row, found, scale_type):
    """The bias and scale of the least squared error for given codes, the bias rounded first."""
    codes = np.asarray(found[0], np.float64)
    x = np.asarray(row, np.float64)
    # All codes alike leave the scale as it is.
    slope = np.cov(codes, x, bias=True)[0, 1] / codes.var() if np.ptp(codes) > 0 else float(found[1])
    bias = round_scale(x.mean() - slope * codes.mean(), scale_type)
    squares = (codes**2).sum()
    scale = round_scale(((x - bias) * codes).sum() / squares if squares else found[1], scale_type)
    return scale, bias


def coded(row, scale, bias, bits):
    scale = np.float32(scale) if scale > 0 else np.float32(1)
    steps = (np.asarray(row, np.float32) - bias) * (np.float32(1) / scale)
    return np.rint(np.clip(steps, 0, last_code(bits))).astype(np.int64), scale, np.float32(bias)


def least_squares(row, bits, scale_type="f16", bins=28, fits=3):
    """A descent of the range from whichever end costs less, then fits from its best and from ranges near the best.

    Rows with five columns for each code start from the best range of a coarse histogram too.
    """
    row = np.asarray(row, np.float32)
    best = min_max(row, bits, scale_type)

    def offer(found):
        nonlocal best
        if error(row, found) < error(row, best):
            best = found
        return error(row, found)

    def fit(found, count):
        before = math.inf
        for _ in range(count):
            loss = offer(found)
            found = coded(row, *fitted(row, found, scale_type), bits)
            if loss >= before * (1 - 1e-3):
                break
            before = loss
        offer(found)

    low, high = row.min(), row.max()
    steps = bins * max(1, 2**bits // 16)
    step = (high - low) / np.float32(steps)
    for _ in range(steps - 1):
        left = offer(quantized(row, low + step, high, bits, scale_type))
        right = offer(quantized(row, low, high - step, bits, scale_type))
        low, high = (low + step, high) if left < right else (low, high - step)
        if min(left, right) >= 1.2 * error(row, best):
            break
    fit(best, fits)
    if len(row) >= 5 * 2**bits and row.max() > row.min():
        counts = histogram(row, 160)
        ranges = [(first, last - 1) for first in range(0, 160, 4) for last in range(first + 20, 161, 4)]
        first, last = min(ranges, key=lambda chosen: histogram_error(counts, *chosen, bits))
        fit(between_bins(row, 160, first, last, bits, scale_type), 3 * fits)
    near = [(0.05, 0), (-0.05, 0), (0.025, 0), (-0.025, 0)] + ([(0, 0.3), (0, -0.3)] if bits < 4 else [])
    for stretch, shift in near:
        middle = (2**bits - 1) / 2
        scale = round_scale(best[1] * (1 + stretch), scale_type)
        bias = round_scale(best[2] + best[1] * middle - scale * (middle - shift), scale_type)
        fit(coded(row, scale, bias, bits), 2)
    return best


# By every assignment


def least_weighted_error(row, weights, bits):
    """The least that any scale and bias can have of sum(w * (x - q) ** 2), in float64.

    For a range, nearest codes rise with the values: every rising assignment of codes is tried, with its own best line.
    """
    order = np.argsort(row, kind="stable")
    x, w = np.asarray(row, np.float64)[order], np.asarray(weights, np.float64)[order]
    least = math.inf
    for cuts in combinations_with_replacement(range(len(x) + 1), 2**bits - 1):
        codes = np.searchsorted(cuts, np.arange(len(x)), side="right").astype(np.float64)
        matrix = np.stack([codes, np.ones(len(x))], axis=1) * np.sqrt(w)[:, None]
        target = x * np.sqrt(w)
        line = np.linalg.lstsq(matrix, target, rcond=None)[0]
        least = min(least, float(((matrix @ line - target) ** 2).sum()))
    return least


# Norms and factors


def norm_error(row, found, weights, p):
    codes, scale, bias = found
    decoded = np.asarray(codes, np.float64) * float(scale) + float(bias)
    return float((weights * np.abs(np.asarray(row, np.float64) - decoded) ** p).sum())


def norm_greedy(row, weights, bits, p, bins, ratio):
    """The least error of the ranges that GREEDY goes through, where errors count by their p-th power."""
    low, high = np.float32(row.min()), np.float32(row.max())
    step = (high - low) / np.float32(bins)
    least = norm_error(row, quantized(row, low, high, bits, "f32"), weights, p)
    for _ in range(round(bins * ratio)):
        left, right = (
            norm_error(row, quantized(row, *ends, bits, "f32"), weights, p)
            for ends in ((low + step, high), (low, high - step))
        )
        low, high = (low + step, high) if left < right else (low, high - step)
        least = min(least, left, right)
    return least
