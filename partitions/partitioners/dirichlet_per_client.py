"""Dirichlet skew with equal sizes: each client draws its own mixture of labels (groups, clusters) from Dir(alpha p)."""

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from partitions.partitioners.dealing import Shares
from partitions.partitioners.skew import SkewPartitioner

Counts = npt.NDArray[np.int64]


class DirichletPerClient(SkewPartitioner):
    """Label skew alone: clients of equal size, each with a mixture of labels ``q_j ~ Dir(alpha * p)``.

    p are the label shares of all examples. This is the variant of Hsu et al., "Measuring the Effects of Non-Identical
    Data Distribution for Federated Visual Classification" (2019, arXiv 1909.06335), "Synthetic Non-Identical Client
    Data"; p is uniform in their balanced data. As alpha falls to 0 a client holds one label, drawn from p; as it grows
    every client's mixture approaches p. Drawn *per client over labels*, alpha is divided among the labels, not set for
    each: with C labels of equal share, alpha here is as skewed as alpha / C in a symmetric ``Dir``.

    Every example is dealt, none twice. So the clients choose one after another, in random order, and one that draws a
    label of which nothing is left draws among the other labels in the ratios of its q (as Reddi et al. 2021, arXiv
    2003.00295, appendix on the Pachinko allocation, do), or of what is left where its q names none of them: the
    last clients' mixtures are partly what the others left.

    Attributes:
        alpha: concentration: the smaller, the fewer labels a client holds. 0.1 and less is strong skew, 1 moderate, 100
            close to IID.
    """

    alpha: Annotated[float, Field(gt=0, le=1e9)] = 0.5

    def shares(self, sizes: Counts, rng: np.random.Generator) -> Shares:
        """The examples of each class (rows) that each client draws."""
        concentration = np.maximum(self.alpha * sizes / sizes.sum(), np.finfo(float).tiny)
        mixtures = rng.dirichlet(concentration, size=self.clients)
        wanted = np.diff(np.arange(self.clients + 1) * sizes.sum() // self.clients)
        drawn, left = np.zeros((self.clients, len(sizes)), dtype=np.int64), sizes.copy()
        for client in rng.permutation(self.clients):
            drawn[client] = draw(mixtures[client], wanted[client], left, rng)
            left -= drawn[client]
        return drawn.T.astype(np.float64)


def draw(mixture: Shares, count: int, left: Counts, rng: np.random.Generator) -> Counts:
    """Draw examples without replacement from what is left of each label.

    A round of the loop draws all that is missing or exhausts a label, so there are at most as many as labels.

    Args:
        mixture: the probability of each label, shape (c,).
        count: how many to draw, at most ``left.sum()``.
        left: examples left of each label, shape (c,).
        rng: source of all randomness.

    Returns:
        The examples drawn of each label, shape (c,), of sum ``count``.
    """
    drawn = np.zeros_like(left)
    while missing := count - drawn.sum():
        weights = np.where(drawn < left, mixture, 0.0)
        if not weights.sum():
            weights = (left - drawn).astype(np.float64)
        cumulated = np.cumsum(weights / weights.sum())
        labels = np.searchsorted(cumulated, rng.random(missing) * cumulated[-1], side="right")
        labels = np.minimum(labels, np.flatnonzero(weights)[-1])  # a product rounded up may pass the end
        drawn = np.minimum(drawn + np.bincount(labels, minlength=len(left)), left)
    return drawn
