"""IID: equal random shares, so that all clients draw from one distribution."""

import numpy as np
import numpy.typing as npt

from partitions.partitioners.base import Owners, Partitioner


class Iid(Partitioner):
    """Shuffled examples dealt in turn: client sizes differ by at most one."""

    def assign(self, classes: npt.NDArray[np.intp], num_classes: int, rng: np.random.Generator) -> Owners:
        """The client of each example, shape (n,); the labels play no part."""
        return rng.permutation(len(classes)) % self.clients
