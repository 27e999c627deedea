"""Dirichlet label skew: each label's examples are dealt to the clients in shares drawn from Dir(alpha)."""

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from partitions.partitioners.base import Owners, Partitioner


class Dirichlet(Partitioner):
    """Label skew and, with it, size skew: for each label k a share for every client, ``p_k ~ Dir(alpha * 1)``.

    Client j gets the share ``p_kj`` of the examples of label k, taken from them in random order. This is the variant
    that draws *per label over clients*: Yurochkin et al., "Bayesian Nonparametric Federated Learning of Neural
    Networks" (ICML 2019, arXiv 1905.12022), the heterogeneous partition of its experiments, and the
    "distribution-based label imbalance" of Li et al., "Federated Learning on Non-IID Data Silos" (ICDE 2022, arXiv
    2102.02079). Both sizes and label mixtures differ between clients. It is not the variant of Hsu et al., "Measuring
    the Effects of Non-Identical Data Distribution" (arXiv 1909.06335), "Synthetic Non-Identical Client Data", often
    cited for it: that one draws *per client over labels*, ``q_j ~ Dir(alpha * p)`` with p the labels' prior, for
    clients of equal size, so that the same alpha means another skew.

    Two details differ from the cited papers. Shares become whole numbers by systematic rounding: client j gets
    ``p_kj * n_k`` examples rounded down or up, and that number in expectation. And where the reference
    implementations draw the whole partition again until no client is too small, ``min_size`` is met here by moving
    examples from the largest clients.

    Attributes:
        alpha: concentration: the smaller, the fewer clients share a label. At 0.1 a few hold nearly all of it, 0.5 is
            the usual strong skew, 100 is close to IID.
    """

    alpha: Annotated[float, Field(gt=0, le=1e9)] = 0.5

    def assign(self, classes: npt.NDArray[np.intp], num_classes: int, rng: np.random.Generator) -> Owners:
        """The client of each example, shape (n,)."""
        owners = np.empty(len(classes), dtype=np.int64)
        by_class = np.argsort(classes, kind="stable")
        starts = np.cumsum(np.bincount(classes, minlength=num_classes))[:-1]
        for members in np.split(by_class, starts):
            shares = rng.dirichlet(np.full(self.clients, self.alpha))
            counts = systematic_round(shares, len(members), rng.random())
            owners[rng.permutation(members)] = np.repeat(np.arange(self.clients), counts)
        return owners


def systematic_round(shares: npt.NDArray[np.float64], total: int, start: float) -> npt.NDArray[np.int64]:
    """Shares of a total as whole numbers that add up to it.

    The line from 0 to ``total`` is cut at the cumulated shares, and count j is the number of the points
    ``1 - start, 2 - start, ...`` in its j-th piece: ``shares[j] * total`` rounded down or up, and equal to it in
    expectation over ``start``.

    Args:
        shares: non-negative, of sum 1, shape (m,).
        total: what is shared out.
        start: a random number, uniform on [0, 1).

    Returns:
        Non-negative counts of sum ``total``, shape (m,).
    """
    cuts = np.floor(np.minimum(np.cumsum(shares) * total, total) + start).astype(np.int64)
    cuts[-1] = total
    return np.diff(np.minimum(cuts, total), prepend=0)
