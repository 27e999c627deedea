"""How unequal the clients of a partition are: sizes, label mixtures, and distances between them.

The earth mover's distance of a client to all examples is the ``total_variation`` of `client_table`.
"""

import hashlib
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from partitions.examples import quotable
from partitions.labels import Labels
from partitions.partition import Partition

MAX_DIVERGENCE_TERMS = 20_000_000
"""Pairs of clients x labels that `mean_pairwise_divergence` works through at most (about a second)."""

Array = npt.NDArray[np.float64]


def label_counts(partition: Partition, labels: Labels) -> pd.DataFrame:
    """Examples of each client (rows, in order) and label (columns, sorted).

    Args:
        partition: who holds which of n examples.
        labels: the label of each example, or a list of them, in which case an example counts once for each; length n.
            Groups or clusters are counted in the same way.
    """
    several = [names for names in labels if not isinstance(names, str)]
    flat = np.asarray(list(chain.from_iterable(several)) if several else labels, dtype=object)
    owners = np.repeat(partition.owners, [len(names) for names in several]) if several else partition.owners
    codes, names = pd.factorize(flat, sort=True)
    cells = np.bincount(owners * len(names) + codes, minlength=partition.num_clients * len(names))
    return pd.DataFrame(
        cells.reshape(partition.num_clients, len(names)),
        index=pd.RangeIndex(partition.num_clients, name="client"),
        columns=pd.Index(names, name="label"),
    )


def client_table(counts: pd.DataFrame) -> pd.DataFrame:
    """One row a client: ``effective_classes`` and ``total_variation``.

    ``effective_classes`` is exp(H) with H the Shannon entropy (nats) of the client's labels, the Hill number of order
    1 (Hill 1973, Ecology 54): 1 for a single label, C for C labels in equal parts. ``total_variation`` is the distance
    of the client's label distribution p to that of all examples q, ``sum |p - q| / 2``, in [0, 1]: the share of its
    examples that would have to change their label. It is the earth mover's distance (EMD) if any two labels are at
    distance 1; what Zhao et al. (arXiv 1806.00582) call EMD is twice this. Both are NaN for a client without labels.

    Args:
        counts: examples a client and label, as `label_counts` gives them.
    """
    distributions = _distributions(counts)
    everyone = counts.sum(axis="index").to_numpy()
    return pd.DataFrame(
        {
            "effective_classes": np.exp(_entropy(distributions)),
            "total_variation": np.abs(distributions - everyone / everyone.sum()).sum(axis=1) / 2,
        },
        index=counts.index,
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
    partition: Partition,
    labels: Labels,
    lengths: Sequence[int] | npt.NDArray[np.int64] | None = None,
    groups: Sequence[str] = (),
) -> dict[str, Any]:
    """The record of a partition of the train split, as in a run folder's partition.json.

    Args:
        partition: who holds which of n examples.
        labels: the label of each example, or a list of them, length n.
        lengths: the length of each example in tokens, length n, if known.
        groups: the natural origin of each example, length n; empty, or all empty, where unknown. All but short
            single words are recorded by number, see `recorded_groups`.

    Returns:
        ``labels`` (sorted); ``split``; ``skewed_by``: label, group, cluster or None; ``statistics``, over clients and
        all unweighted: their number, ``examples`` in all and of the smallest, median and largest client,
        ``effective_classes`` of all examples together and the clients' mean, ``js_divergence_bits`` (None with one
        client) and ``total_variation`` to all examples, mean and largest; ``clients``, each with its examples, tokens
        (if lengths are given), label counts above zero, effective classes and total variation (None for a client
        without labels), and the SHA-256 of its sorted indices as little-endian int64. Where examples have groups, and
        where they were spread by cluster, the same for these: ``groups``, ``group_statistics``, and for each client
        ``group_counts``, ``group_effective_classes``, ``group_total_variation``.
    """
    kinds: dict[str, Labels] = {"label": labels}
    if any(groups):
        kinds["group"] = recorded_groups(groups)
    skew = partition.skewed_by
    if skew and skew.kind not in kinds:
        kinds[skew.kind] = np.array(skew.names, dtype=object)[skew.codes].tolist()
    sizes = partition.sizes
    clients: list[dict[str, Any]] = [{"client": client, "examples": size} for client, size in enumerate(sizes.tolist())]
    if lengths is not None:
        tokens = np.bincount(partition.owners, weights=np.asarray(lengths), minlength=partition.num_clients)
        for client, count in zip(clients, tokens.astype(np.int64).tolist(), strict=True):
            client["tokens"] = count
    record: dict[str, Any] = {
        "labels": [],
        "split": "train",
        "skewed_by": skew.kind if skew else None,
        "statistics": {
            "clients": partition.num_clients,
            "examples": int(sizes.sum()),
            "examples_min": int(sizes.min()),
            "examples_median": float(np.median(sizes)),
            "examples_max": int(sizes.max()),
        },
    }
    for kind, values in kinds.items():
        prefix = "" if kind == "label" else f"{kind}_"
        counts = label_counts(partition, values)
        table = client_table(counts)
        record[f"{kind}s"] = counts.columns.tolist()
        record.setdefault(f"{prefix}statistics", {}).update(_mixture_statistics(counts, table))
        names, rows = counts.columns.tolist(), counts.to_numpy()
        measures = table.astype(object).where(table.notna(), None).to_dict("records")
        for client, row, measured in zip(clients, rows, measures, strict=True):
            client[f"{kind}_counts"] = {names[place]: int(row[place]) for place in np.flatnonzero(row)}
            client.update({f"{prefix}{name}": value for name, value in measured.items()})
    for number, client in enumerate(clients):
        client["indices_sha256"] = hashlib.sha256(partition.indices(number).astype("<i8").tobytes()).hexdigest()
    return {**record, "clients": clients}


def recorded_groups(groups: Sequence[str]) -> list[str]:
    """The group of each example as records and figures may show it: without what may be text in the wrong column.

    Groups that are no short single word (`quotable`) are called "group 1", "group 2", ... in sorted order; no other
    group can have such a name, as it holds a space.
    """
    hidden = sorted({group for group in groups if group and not quotable(group)})
    width = len(str(len(hidden)))
    names = {group: f"group {number:0{width}}" for number, group in enumerate(hidden, 1)}
    return [names.get(group, group) for group in groups]


def _mixture_statistics(counts: pd.DataFrame, table: pd.DataFrame) -> dict[str, float | None]:
    together = client_table(counts.sum(axis="index").to_frame().T)
    divergence = mean_pairwise_divergence(counts)
    return {
        "effective_classes_all": float(together["effective_classes"].iloc[0]),
        "effective_classes_mean": float(table["effective_classes"].mean()),
        "js_divergence_bits": None if np.isnan(divergence) else divergence,
        "total_variation_mean": float(table["total_variation"].mean()),
        "total_variation_max": float(table["total_variation"].max()),
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
