"""How unequal the clients of a partition are: sizes, label mixtures, and distances between them."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from partitions.partition import Partition

MAX_DIVERGENCE_TERMS = 20_000_000
"""Pairs of clients x labels that `mean_pairwise_divergence` works through at most (about a second)."""

Array = npt.NDArray[np.float64]


def label_counts(partition: Partition, labels: Sequence[str]) -> pd.DataFrame:
    """Examples of each client (rows, in order) and label (columns, sorted).

    Args:
        partition: who holds which of n examples.
        labels: the label of each example, length n.
    """
    codes, names = pd.factorize(np.asarray(labels, dtype=object), sort=True)
    cells = np.bincount(partition.owners * len(names) + codes, minlength=partition.num_clients * len(names))
    return pd.DataFrame(
        cells.reshape(partition.num_clients, len(names)),
        index=pd.RangeIndex(partition.num_clients, name="client"),
        columns=pd.Index(names, name="label"),
    )


def client_table(counts: pd.DataFrame) -> pd.DataFrame:
    """One row a client: ``examples``, ``effective_classes`` and ``total_variation``.

    ``effective_classes`` is exp(H) with H the Shannon entropy (nats) of the client's labels, the Hill number of order
    1 (Hill 1973, Ecology 54): 1 for a single label, C for C labels in equal parts. ``total_variation`` is the distance
    of the client's label distribution p to that of all examples q, ``sum |p - q| / 2``, in [0, 1]: the share of its
    examples that would have to change their label. It is the earth mover's distance if any two labels are at distance
    1; what Zhao et al. (arXiv 1806.00582) call EMD is twice this. Both are NaN for a client without examples.

    Args:
        counts: examples a client and label, as `label_counts` gives them.
    """
    distributions = _distributions(counts)
    everyone = counts.sum(axis="index").to_numpy()
    return pd.DataFrame(
        {
            "examples": counts.sum(axis="columns"),
            "effective_classes": np.exp(_entropy(distributions)),
            "total_variation": np.abs(distributions - everyone / everyone.sum()).sum(axis=1) / 2,
        }
    )


def mean_pairwise_divergence(counts: pd.DataFrame) -> float:
    """Mean Jensen-Shannon divergence between two clients' label distributions, in bits, in [0, 1].

    ``JS(p, q) = H((p + q) / 2) - (H(p) + H(q)) / 2`` (Lin 1991, IEEE Trans. Inf. Theory 37), with equal weight for
    every pair of clients that hold examples. Clients are paired at every distance 1, 2, ... round a circle; with many
    clients (`MAX_DIVERGENCE_TERMS`) only at distances spread evenly over these, each client equally often.

    Args:
        counts: examples a client and label, as `label_counts` gives them.

    Returns:
        The mean; NaN with fewer than two clients that hold examples.
    """
    distributions = _distributions(counts[counts.sum(axis="columns") > 0])
    clients = len(distributions)
    if clients < 2:
        return float("nan")
    most = max(1, MAX_DIVERGENCE_TERMS // distributions.size)
    distances = np.unique(np.linspace(1, clients - 1, min(clients - 1, most)).astype(int))
    mixed = np.mean([_entropy((distributions + np.roll(distributions, -d, axis=0)) / 2).mean() for d in distances])
    return float(max(mixed - _entropy(distributions).mean(), 0.0) / np.log(2))


def describe(
    partition: Partition, labels: Sequence[str], lengths: Sequence[int] | npt.NDArray[np.int64]
) -> dict[str, Any]:
    """The record of a partition of the train split, as in a run folder's partition.json.

    Args:
        partition: who holds which of n examples.
        labels: the partition label of each example, length n.
        lengths: the length of each example in tokens, length n.

    Returns:
        ``labels`` (sorted); ``split``; ``statistics``, over clients and all unweighted: their number, ``examples`` in
        all and of the smallest, median and largest client, ``effective_classes`` of all examples together and the
        clients' mean, ``js_divergence_bits`` (None with one client) and ``total_variation`` to all examples, mean and
        largest; ``clients``, each with its examples, tokens, label counts above zero, and the SHA-256 of its sorted
        indices as little-endian int64.
    """
    counts = label_counts(partition, labels)
    table = client_table(counts)
    together = client_table(counts.sum(axis="index").to_frame().T)
    divergence = mean_pairwise_divergence(counts)
    tokens = np.zeros(partition.num_clients, dtype=np.int64)
    np.add.at(tokens, partition.owners, np.asarray(lengths, dtype=np.int64))
    names, rows = counts.columns.tolist(), counts.to_numpy()
    return {
        "labels": names,
        "split": "train",
        "statistics": {
            "clients": partition.num_clients,
            "examples": int(table["examples"].sum()),
            "examples_min": int(table["examples"].min()),
            "examples_median": float(table["examples"].median()),
            "examples_max": int(table["examples"].max()),
            "effective_classes_all": float(together["effective_classes"].iloc[0]),
            "effective_classes_mean": float(table["effective_classes"].mean()),
            "js_divergence_bits": None if np.isnan(divergence) else divergence,
            "total_variation_mean": float(table["total_variation"].mean()),
            "total_variation_max": float(table["total_variation"].max()),
        },
        "clients": [
            {
                "client": client,
                "examples": size,
                "tokens": int(tokens[client]),
                "label_counts": {names[place]: int(rows[client, place]) for place in np.flatnonzero(rows[client])},
                "indices_sha256": hashlib.sha256(partition.indices(client).astype("<i8").tobytes()).hexdigest(),
            }
            for client, size in enumerate(partition.sizes.tolist())
        ],
    }


def _distributions(counts: pd.DataFrame) -> Array:
    """Label shares of each row; NaN for a row of zeros."""
    values = counts.to_numpy(dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return values / values.sum(axis=1, keepdims=True)


def _entropy(distributions: Array) -> Array:
    """Shannon entropy of each row, in nats."""
    logs = np.log(distributions, out=np.zeros_like(distributions), where=distributions > 0)
    return -(distributions * logs).sum(axis=1)
