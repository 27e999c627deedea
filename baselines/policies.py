"""Layer policies: which decoder or encoder blocks are trained, given how many."""

from collections.abc import Callable


def top(depth: int, layers: int) -> range:
    """The `layers` blocks nearest the head. The frozen rest is one prefix, below which no gradient flows."""
    return range(depth - layers, depth)


def bottom(depth: int, layers: int) -> range:
    """The `layers` blocks nearest the embedding."""
    return range(layers)


def middle(depth: int, layers: int) -> range:
    """The `layers` blocks around the middle, the odd one out above it."""
    start = (depth - layers + 1) // 2
    return range(start, start + layers)


POLICIES: dict[str, Callable[[int, int], range]] = {"top": top, "bottom": bottom, "middle": middle}
"""Name in the configuration -> function of (all blocks, trained blocks), giving the trained blocks' indices."""
