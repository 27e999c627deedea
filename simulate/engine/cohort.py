"""Which clients take part in a round: a pure function of (seed, round)."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from simulate import seeds
from simulate.settings import Settings

MOST_NAMED = 20
"""Clients that a message names."""


class CohortSettings(Settings):
    """A fraction of all clients (rounded to the nearest number, at least one), or a count. Default: all of them."""

    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    count: Annotated[int, Field(ge=1)] | None = None


def cohort_size(settings: CohortSettings, clients: int) -> int:
    """How many of `clients` take part in each round."""
    if settings.count is not None:
        return min(settings.count, clients)
    return max(1, int(settings.fraction * clients + 0.5))


def cohort(
    settings: CohortSettings, clients: int, seed: int, round_: int, there: Sequence[int] | None = None
) -> list[int]:
    """The clients of a round, ascending, drawn uniformly without replacement.

    Args:
        clients: how many there are at all.
        there: those that can be drawn, by default all; where they are fewer than asked for, each of them is.
    """
    there = range(clients) if there is None else there
    size = min(cohort_size(settings, clients), len(there))
    chosen = seeds.generator(seed, "cohort", round_).choice(np.asarray(there, dtype=int), size, replace=False)
    return sorted(chosen.tolist())


def named(clients: Sequence[int]) -> str:
    """Clients for a message: 1, 4, 7 and 12 more."""
    more = len(clients) - MOST_NAMED
    return ", ".join(map(str, clients[:MOST_NAMED])) + (f" and {more} more" if more > 0 else "")
