"""IID: equal random shares, so that all clients draw from one distribution."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from partitions.partitioners.base import Partitioner
from partitions.partitioners.dealing import Shares


class Iid(Partitioner):
    """Shuffled examples in equal parts: client sizes differ by at most one example, or, where documents stay whole, by
    about one document."""

    def shares(self, sizes: npt.NDArray[np.int64], rng: np.random.Generator) -> Iterable[Shares]:
        """One row of equal weights."""
        return [np.ones(self.clients)]
