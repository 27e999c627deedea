"""The loops as NumPy has them, several times through memory; what each does is said in `compiled`."""

import numpy as np

from simulate.exchange.loops.arrays import Floats, Integers


def square(values: Floats) -> float:
    return float(np.square(values, dtype=np.float64).sum())


def take_change(now: Floats, before: Floats, change: Floats) -> float:
    np.subtract(now, before, out=change)
    total = square(change)
    np.copyto(now, before)
    return total


def add_rounded(total: Integers, values: Floats, scale: float, largest: float) -> int:
    inside = np.abs(values) <= largest  # NaN is not
    exact = np.multiply(np.where(inside, values, 0), scale, dtype=np.float64)
    np.add(total, np.rint(exact).astype(np.int64), out=total)
    return int(np.count_nonzero(~inside))


def divide_sum(mean: Floats, parts: tuple[Integers, ...], unit: float) -> None:
    np.divide(sum(parts[1:], parts[0]), unit, out=mean, casting="same_kind")
