"""Pathological skew: every client holds examples of a few labels (groups, clusters) only."""

from collections.abc import Iterator
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from partitions.partition import PartitionError
from partitions.partitioners.apportionment import apportion
from partitions.partitioners.dealing import Shares
from partitions.partitioners.skew import SkewPartitioner


class Pathological(SkewPartitioner):
    """Each client holds ``classes`` different labels; the clients of a label share it equally.

    After McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data" (AISTATS 2017,
    arXiv 1602.05629), section 3, where examples sorted by label are cut into shards of equal size and each client
    gets two, and the "quantity-based label imbalance" ``#C = k`` of Li et al. (ICDE 2022, arXiv 2102.02079), which
    keeps the number of labels exact. As there, no client has more than ``classes`` labels; as with shards, a label
    goes to clients in proportion to its size (`apportion`), so that sizes stay as equal as the labels allow. Which
    labels meet on a client is random. ``min_size`` can bring in others, and so does ``whole_documents``: what is dealt
    out is then the documents by their most frequent label, and a document brings its other labels with it.

    Attributes:
        classes: labels a client holds.
    """

    classes: Annotated[int, Field(ge=1)] = 2

    def shares(self, sizes: npt.NDArray[np.int64], rng: np.random.Generator) -> Iterator[Shares]:
        """For each class equal weights for the clients that hold it.

        Raises:
            PartitionError: if there are fewer classes than a client should hold, or too many for the clients to hold.
        """
        total = len(sizes)
        if self.classes > total:
            raise PartitionError(f"partition.classes = {self.classes}, but the examples have {total} {self.by}s")
        if self.classes * self.clients < total:
            raise PartitionError(
                f"{self.clients} clients of {self.classes} {self.by}s each (partition.clients, partition.classes) "
                f"cannot hold all {total} {self.by}s; set partition.classes to at least {-(-total // self.clients)}"
            )
        holders = apportion(sizes.tolist(), self.classes * self.clients, self.clients)
        yield from self._holds(np.array(holders), rng).T.astype(np.float64)

    def _holds(self, holders: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.bool_]:
        """Which client holds which class, shape (clients, c), so that class k has ``holders[k]`` clients.

        Clients choose in turn, at random in proportion to the places left of each class; a class with as many places
        left as there are clients to come is taken by all of them, so that the last client finds ``classes`` different
        ones.
        """
        holds, left = np.zeros((self.clients, len(holders)), dtype=bool), holders.copy()
        for client in range(self.clients):
            with np.errstate(divide="ignore"):
                keys = np.log(left) + rng.gumbel(size=len(left))
            keys[left == self.clients - client] = np.inf
            holds[client, np.argsort(-keys)[: self.classes]] = True
            left -= holds[client]
        return holds
