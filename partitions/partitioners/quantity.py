"""Quantity skew: clients of very unequal size whose examples are all drawn from one distribution."""

from collections.abc import Iterable
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from partitions.partitioners.base import Partitioner
from partitions.partitioners.dealing import Shares


class Quantity(Partitioner):
    """Size skew alone: shares of all examples ``q ~ Dir(alpha * 1)``, or by a power law; labels are IID.

    The Dirichlet sizes are the "quantity skew" of Li et al., "Federated Learning on Non-IID Data Silos" (ICDE 2022,
    arXiv 2102.02079), section 4.

    Attributes:
        alpha: concentration of the sizes: at 0.1 a few clients hold nearly everything, 100 is close to equal sizes.
        exponent: if set, sizes follow a power law in place of a draw: the client of rank r, in random order, holds a
            share in proportion to ``r ** -exponent`` (Zipf's law at 1).
    """

    alpha: Annotated[float, Field(gt=0, le=1e9)] = 0.5
    exponent: Annotated[float, Field(gt=0, le=10)] | None = None

    def shares(self, sizes: npt.NDArray[np.int64], rng: np.random.Generator) -> Iterable[Shares]:
        """One row: the share of all examples for each client."""
        if self.exponent is None:
            return [rng.dirichlet(np.full(self.clients, self.alpha))]
        return [rng.permutation(np.arange(1, self.clients + 1) ** -self.exponent)]
