"""Which client holds which example."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from partitions.category import Category


class PartitionError(ValueError):
    """A partition that cannot be made as asked; the message names the numbers that do not fit."""


@dataclass(frozen=True, eq=False)
class Partition:
    """The examples ``0 .. n - 1`` of a split, each held by exactly one client.

    It is kept as the owner of each example, so clients cannot share an example and none can be left out.

    Attributes:
        num_clients: number of clients, numbered from 0; a client may hold nothing.
        owners: the client of each example, shape (n,), int64.
        skewed_by: what the examples were told apart by to spread them unequally; None where by nothing.
    """

    num_clients: int
    owners: npt.NDArray[np.int64] = field(repr=False)
    skewed_by: Category | None = field(default=None, repr=False)
    _order: npt.NDArray[np.int64] = field(init=False, repr=False)
    _offsets: npt.NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the owners and lay the examples out client by client.

        Raises:
            PartitionError: if there is no client, or an owner is not a client's number.
        """
        if self.num_clients < 1:
            raise PartitionError(f"{self.num_clients} clients; expected at least 1")
        owners = np.array(self.owners)
        if owners.ndim != 1 or not np.issubdtype(owners.dtype, np.integer):
            raise PartitionError(f"owners of shape {owners.shape} and type {owners.dtype}; expected a row of integers")
        wrong = np.flatnonzero((owners < 0) | (owners >= self.num_clients))
        if wrong.size:
            example = wrong[0]
            raise PartitionError(
                f"example {example} belongs to client {owners[example]}; expected 0 to {self.num_clients - 1}"
            )
        owners = owners.astype(np.int64)
        sizes = np.bincount(owners, minlength=self.num_clients)
        order = np.argsort(owners, kind="stable")
        for array in (owners, order):
            array.setflags(write=False)
        object.__setattr__(self, "owners", owners)
        object.__setattr__(self, "_order", order)
        object.__setattr__(self, "_offsets", np.concatenate([[0], np.cumsum(sizes)]))

    def indices(self, client: int) -> npt.NDArray[np.int64]:
        """The client's examples: sorted, int64, read-only.

        Raises:
            IndexError: if there is no such client.
        """
        if not 0 <= client < self.num_clients:
            raise IndexError(f"client {client}; expected 0 to {self.num_clients - 1}")
        return self._order[self._offsets[client] : self._offsets[client + 1]]

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Examples of each client, shape (num_clients,)."""
        return np.diff(self._offsets)
