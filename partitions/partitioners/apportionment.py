"""Seats in proportion to size."""

import heapq
from collections.abc import Sequence


def apportion(sizes: Sequence[int], seats: int, most: int) -> list[int]:
    """Seats for parties in proportion to their sizes, at least one and at most ``most`` each.

    Jefferson's (d'Hondt's) method: after the first, each seat goes to the party with the largest
    ``size / (seats + 1)``; of several, to the first.

    Args:
        sizes: of p parties.
        seats: how many to give, from p to ``p * most``.
        most: seats a party can have.
    """
    given = [1] * len(sizes)
    claims = [(-size / 2, party) for party, size in enumerate(sizes) if most > 1]
    heapq.heapify(claims)
    for _ in range(seats - len(sizes)):
        _, party = heapq.heappop(claims)
        given[party] += 1
        if given[party] < most:
            heapq.heappush(claims, (-sizes[party] / (given[party] + 1), party))
    return given
