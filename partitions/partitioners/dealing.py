"""Dealing examples to clients in given shares, and filling up the clients that got too few."""

import numpy as np
import numpy.typing as npt

Owners = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]


def deal(shares: Shares, sizes: npt.NDArray[np.int64], rng: np.random.Generator) -> Owners:
    """Give units, in random order, to clients in shares of their total size.

    The units are laid end to end and cut by systematic rounding (`cut`): a client's total differs from its share by
    less than the largest unit and equals it in expectation. With units of size 1 it is the share rounded up or down.

    Args:
        shares: a non-negative weight a client, not all zero, shape (m,).
        sizes: of the units, shape (u,).
        rng: source of all randomness.

    Returns:
        The client of each unit, shape (u,).
    """
    start = rng.random()
    order = rng.permutation(len(sizes))
    owners = np.empty(len(sizes), dtype=np.int64)
    owners[order] = cut(shares, sizes[order], start)
    return owners


def cut(shares: Shares, sizes: npt.NDArray[np.int64], start: float) -> Owners:
    """Systematic rounding: the units laid end to end on a line that is cut at the cumulated shares.

    A unit belongs to the piece that holds the point ``start`` of the way back from its end to its beginning.

    Args:
        shares: a non-negative weight a client, not all zero, shape (m,).
        sizes: of the units in order, shape (u,).
        start: a random number, uniform on [0, 1).

    Returns:
        The client of each unit, shape (u,), ascending.
    """
    ends = np.cumsum(sizes)
    cuts = np.cumsum(shares)
    cuts *= ends[-1] / cuts[-1]
    return np.searchsorted(cuts[:-1], ends - sizes * start, side="left")


def fill_up(owners: Owners, clients: int, min_size: int, rng: np.random.Generator) -> Owners:
    """Owners with as few examples as possible moved so that every client holds ``min_size``.

    The examples come from the largest clients, which are levelled down to a common size; which examples move, and to
    which of the small clients, is random. A client that is filled up thereby takes on some of the large clients'
    label distribution.

    Args:
        owners: the client of each of n examples, with ``n >= clients * min_size``.
        clients: number of clients.
        min_size: the fewest examples a client may hold.
        rng: source of all randomness; not used if no client is too small.

    Returns:
        The client of each example, shape (n,).
    """
    sizes = np.bincount(owners, minlength=clients)
    missing = np.maximum(min_size - sizes, 0)
    needed = missing.sum()
    if not needed:
        return owners
    surplus = _level_down(sizes, needed, rng)
    shuffled = rng.permutation(len(owners))
    by_owner = shuffled[np.argsort(owners[shuffled], kind="stable")]
    place_in_client = np.arange(len(owners)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    moved = by_owner[place_in_client < np.repeat(surplus, sizes)]
    filled = owners.copy()
    filled[rng.permutation(moved)] = np.repeat(np.arange(clients), missing)
    return filled


def _level_down(sizes: npt.NDArray[np.int64], needed: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """How many examples each client gives, ``needed`` in all, so that the largest are as small as possible."""
    low, high = 0, int(sizes.max())
    while low < high:
        level = (low + high) // 2
        if np.maximum(sizes - level, 0).sum() <= needed:
            high = level
        else:
            low = level + 1
    given = np.maximum(sizes - high, 0)
    one_more = rng.permutation(np.flatnonzero(sizes >= high))[: needed - given.sum()]
    given[one_more] += 1
    return given
