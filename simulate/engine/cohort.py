"""Which clients take part in a round: a pure function of (seed, round)."""

from typing import Annotated

import numpy as np
from pydantic import Field

from simulate import seeds
from simulate.settings import Settings


class CohortSettings(Settings):
    """A fraction of all clients (rounded to the nearest number, at least one), or a count. Default: all of them."""

    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    count: Annotated[int, Field(ge=1)] | None = None


def cohort_size(settings: CohortSettings, clients: int) -> int:
    """How many of `clients` take part in each round."""
    if settings.count is not None:
        return min(settings.count, clients)
    return max(1, int(settings.fraction * clients + 0.5))


def cohort(settings: CohortSettings, clients: int, seed: int, round_: int) -> list[int]:
    """The clients of a round, ascending, drawn uniformly without replacement."""
    chosen = seeds.generator(seed, "cohort", round_).choice(clients, cohort_size(settings, clients), replace=False)
    return sorted(np.asarray(chosen).tolist())
