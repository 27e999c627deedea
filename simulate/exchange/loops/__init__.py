"""Loops over the elements of large tensors: compiled where Numba is, as it is wherever the suite has been installed.

They take flat contiguous arrays of equal length. The GPU measurements also run on a machine that has PyTorch alone; the
loops of NumPy give the same numbers there, but for the last bits of sums of squares.
"""

try:
    from simulate.exchange.loops.compiled import add_rounded, divide_sum, square, take_change
except ModuleNotFoundError:
    from simulate.exchange.loops.plain import (  # type: ignore[assignment]
        add_rounded,
        divide_sum,
        square,
        take_change,
    )

__all__ = ["add_rounded", "divide_sum", "square", "take_change"]
