"""Dirichlet skew: each label's (or group's, cluster's) examples are dealt to the clients in shares from Dir(alpha)."""

from collections.abc import Iterator
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from partitions.partitioners.dealing import Shares
from partitions.partitioners.skew import SkewPartitioner


class Dirichlet(SkewPartitioner):
    """Label skew and, with it, size skew: for each label k a share for every client, ``p_k ~ Dir(alpha * 1)``.

    Client j gets the share ``p_kj`` of the examples of label k, taken from them in random order. This is the variant
    that draws *per label over clients*: Yurochkin et al., "Bayesian Nonparametric Federated Learning of Neural
    Networks" (ICML 2019, arXiv 1905.12022), the heterogeneous partition of its experiments, and the
    "distribution-based label imbalance" of Li et al., "Federated Learning on Non-IID Data Silos" (ICDE 2022, arXiv
    2102.02079). Both sizes and label mixtures differ between clients. It is not the variant of Hsu et al. (arXiv
    1909.06335), often cited for it, which draws *per client over labels* for clients of equal size, so that the same
    alpha means another skew: that one is `partitions.partitioners.dirichlet_per_client`.

    Three details differ from the cited papers' programs. Shares become whole numbers by systematic rounding: client j
    gets ``p_kj * n_k`` examples rounded down or up, and that number in expectation. Where they give nothing of a label
    to a client that already holds its equal part of all examples, here the draw stands as the formula has it. And where
    they draw the whole partition again until no client is too small, ``min_size`` is met here by moving examples from
    the largest clients.

    Attributes:
        alpha: concentration: the smaller, the fewer clients share a label. At 0.1 a few hold nearly all of it, 0.5 is
            the usual strong skew, 100 is close to IID.
    """

    alpha: Annotated[float, Field(gt=0, le=1e9)] = 0.5

    def shares(self, sizes: npt.NDArray[np.int64], rng: np.random.Generator) -> Iterator[Shares]:
        """For each class a draw from the symmetric Dirichlet distribution over clients."""
        for _ in sizes:
            yield rng.dirichlet(np.full(self.clients, self.alpha))
