"""Natural clients: one a group (hospital, ward, note type), tiny groups merged and large ones split as needed."""

import heapq
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from partitions.category import Category
from partitions.partitioners.apportionment import apportion
from partitions.partitioners.base import Partitioner
from partitions.partitioners.dealing import Shares
from partitions.traits import Traits


class Natural(Partitioner):
    """As many clients as asked for, each with examples of one group where that can be.

    With ``clients`` equal to the number of groups, and no group below ``min_size``, each group is one client, in the
    order of their names. Otherwise the two smallest groups are merged, again and again, while one is below ``min_size``
    or there are more groups than clients; and clients that remain go to the largest groups, in proportion to size
    (`apportion`), whose examples are then split at random in equal parts. Sizes, label mixtures and the way of
    writing differ as they do between the groups.
    """

    def category(self, traits: Traits, rng: np.random.Generator) -> Category:
        """The groups.

        Raises:
            PartitionError: if an example has none.
        """
        return traits.category("group")

    def shares(self, sizes: npt.NDArray[np.int64], rng: np.random.Generator) -> Iterator[Shares]:
        """For each group equal weights for the clients that it, with those it is merged with, is split over."""
        merged = self._merge(sizes)
        parts = apportion([sum(sizes[groups]) for groups in merged], self.clients, self.clients)
        rows = {}
        for groups, end, count in zip(merged, np.cumsum(parts), parts, strict=True):
            rows.update(dict.fromkeys(groups, slice(end - count, end)))
        for group in range(len(sizes)):
            weights = np.zeros(self.clients)
            weights[rows[group]] = 1
            yield weights

    def _merge(self, sizes: npt.NDArray[np.int64]) -> list[list[int]]:
        """Groups in sets, one or more clients each; in the order of their first groups."""
        heap = [(size, [group]) for group, size in enumerate(sizes.tolist())]
        heapq.heapify(heap)
        while len(heap) > self.clients or (len(heap) > 1 and heap[0][0] < self.min_size):
            size, groups = heapq.heappop(heap)
            heapq.heapreplace(heap, (size + heap[0][0], sorted(groups + heap[0][1])))
        return sorted(groups for _, groups in heap)
