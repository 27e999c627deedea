"""Clusters of texts by what they are about: TF-IDF, latent semantic analysis, k-means."""

from collections.abc import Sequence

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from partitions.category import Category
from partitions.partition import PartitionError

MOST_WORDS = 20_000
DIMENSIONS = 100
"""Words that count, the most frequent, and the dimensions that their TF-IDF weights are reduced to."""


def cluster(texts: Sequence[str], clusters: int, seed: int) -> Category:
    """Group texts that use the same words.

    Each text is its TF-IDF weights (sublinear term frequency), reduced by a truncated singular value decomposition
    (latent semantic analysis, Deerwester et al. 1990, JASIS 41) to unit vectors, on which k-means runs (k-means++
    start). It runs on one thread: sums over several threads would make the clusters depend on the machine.

    Args:
        texts: of n examples.
        clusters: how many clusters, at most n. Fewer come back if fewer texts differ.
        seed: of the decomposition and the start of k-means.

    Raises:
        PartitionError: if there are fewer texts than clusters, or no words in them.
    """
    if len(texts) < clusters:
        raise PartitionError(f"partition.clusters = {clusters} needs as many training examples; there are {len(texts)}")
    try:
        words = TfidfVectorizer(
            sublinear_tf=True, max_features=MOST_WORDS, token_pattern=r"\b\w+\b", dtype=np.float32
        ).fit_transform(texts)
    except ValueError:
        raise PartitionError("the training texts hold no words; partition.by=cluster needs some") from None
    with threadpool_limits(1):
        if min(words.shape) > DIMENSIONS:
            words = normalize(TruncatedSVD(DIMENSIONS, random_state=seed).fit_transform(words))
        found = KMeans(clusters, n_init=1, random_state=seed).fit_predict(words)
    width = len(str(clusters))
    return Category.of("cluster", [f"cluster {number:0{width}}" for number in (found + 1).tolist()])
