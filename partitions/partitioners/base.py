"""What all partitioners share: the number of clients, and a smallest client size that is always kept."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from partitions.partition import Partition, PartitionError

Owners = npt.NDArray[np.int64]


class Partitioner(BaseModel):
    """Spreads labelled examples over clients.

    Attributes:
        clients: number of clients.
        min_size: the fewest examples a client may hold.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    clients: Annotated[int, Field(ge=1)] = 10
    min_size: Annotated[int, Field(ge=1)] = 1

    def split(self, labels: Sequence[str] | npt.NDArray[np.str_], rng: np.random.Generator) -> Partition:
        """Spread examples over clients.

        Clients that `assign` leaves below ``min_size`` are filled up with examples drawn at random from the largest
        clients (`fill_up`), so the minimum is met in one pass, however skewed the assignment.

        Args:
            labels: the partition label of each example, length n.
            rng: source of all randomness; equal labels and an equal state give an equal partition.

        Raises:
            PartitionError: if n examples cannot give every client ``min_size`` of them.
        """
        if self.clients * self.min_size > len(labels):
            raise PartitionError(
                f"{self.clients} clients of at least {self.min_size} examples each (partition.clients, "
                f"partition.min_size) need {self.clients * self.min_size} examples; there are {len(labels)}"
            )
        codes, names = pd.factorize(np.asarray(labels, dtype=object), sort=True)
        owners = self.assign(codes, len(names), rng)
        return Partition(self.clients, fill_up(owners, self.clients, self.min_size, rng))

    @abstractmethod
    def assign(self, classes: npt.NDArray[np.intp], num_classes: int, rng: np.random.Generator) -> Owners:
        """A client for each example, whatever the sizes of the clients.

        Args:
            classes: each example's label as its place among the sorted labels, shape (n,).
            num_classes: number of labels.
            rng: source of all randomness.

        Returns:
            The client of each example, shape (n,).
        """


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
