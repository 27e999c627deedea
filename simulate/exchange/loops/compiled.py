"""The loops compiled by Numba: everything goes through memory once.

Each process compiles a loop at its first call, within tenths of a second; kept compiled code would not be safe from
processes that keep theirs at the same time.
"""

import numpy as np
from numba import njit

from simulate.exchange.loops.arrays import Floats, Integers


@njit(fastmath={"reassoc"})  # the squares may be added up in any order
def square(values: Floats) -> float:
    """The sum of the squares, in float64."""
    total = 0.0
    for i in range(values.size):
        total += np.float64(values[i]) * np.float64(values[i])
    return total


@njit(fastmath={"reassoc"})  # the squares may be added up in any order
def take_change(now: Floats, before: Floats, change: Floats) -> float:
    """Put now - before into change, which may be now itself, and before into now.

    Returns:
        The sum of the squares of the change, in float64.
    """
    total = 0.0
    for i in range(now.size):
        start = before[i]
        difference = now[i] - start
        change[i] = difference
        now[i] = start
        total += np.float64(difference) * np.float64(difference)
    return total


@njit
def add_rounded(total: Integers, values: Floats, scale: float, largest: float) -> int:
    """Add scaled values, each rounded to a whole number, half to even; nothing for one that is not at most largest.

    Returns:
        How many are not.
    """
    left_out = 0
    for i in range(values.size):
        value = np.float64(values[i])
        inside = abs(value) <= largest  # NaN is not
        left_out += 0 if inside else 1
        total[i] += np.int64(np.rint(value * scale)) if inside else 0
    return left_out


@njit
def divide_sum(mean: Floats, parts: tuple[Integers, ...], unit: float) -> None:
    """The sums over all parts, divided, in float64 until they are stored; compiled for each number of parts."""
    for i in range(mean.size):
        total = np.int64(0)
        for part in parts:
            total += part[i]
        mean[i] = total / unit
