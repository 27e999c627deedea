"""The loops as NumPy has them, several times through memory; what each does is said in `compiled`."""

import numpy as np

from simulate.exchange.loops.arrays import Floats, Integers

PIECE = 1 << 16
"""Elements worked on together, for the sake of memory."""


def square(values: Floats) -> float:
    return float(np.square(values, dtype=np.float64).sum())


def take_change(now: Floats, before: Floats, change: Floats) -> float:
    np.subtract(now, before, out=change)
    total = square(change)
    np.copyto(now, before)
    return total


def add_rounded(total: Integers, values: Floats, scale: float, largest: float) -> int:
    left_out = 0
    for first in range(0, len(values), PIECE):
        piece = values[first : first + PIECE]
        inside = np.abs(piece) <= largest  # NaN is not
        exact = np.multiply(np.where(inside, piece, 0), scale, dtype=np.float64)
        total[first : first + PIECE] += np.rint(exact).astype(np.int64)
        left_out += int(np.count_nonzero(~inside))
    return left_out


def divide_sum(mean: Floats, parts: tuple[Integers, ...], unit: float) -> None:
    np.divide(sum(parts[1:], parts[0]), unit, out=mean, casting="same_kind")
