"""A partition.json as tables: what each client holds of every label, group or cluster."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from results.frames import ResultsError, read_json

KINDS = ("label", "group", "cluster")
MEASURES = ("effective_classes", "total_variation")


@dataclass(frozen=True)
class PartitionRecord:
    """The record of a partition.

    Attributes:
        split: the split that is spread.
        skewed_by: what examples were told apart by to spread them unequally; None where by nothing.
        sizes: examples of each client.
        counts: kind (``label``; ``group``, ``cluster`` where recorded) -> examples a client (rows) and name (columns).
        measures: kind -> one row a client, with ``effective_classes`` and ``total_variation`` where recorded.
        statistics: kind -> the statistics over clients.
    """

    split: str
    skewed_by: str | None
    sizes: pd.Series
    counts: dict[str, pd.DataFrame]
    measures: dict[str, pd.DataFrame]
    statistics: dict[str, dict[str, Any]]

    def kind(self, asked: str | None = None) -> str:
        """The kind to show: the one asked for, by default the one that the partition is skewed by, else labels.

        Raises:
            ResultsError: if the record does not have the kind asked for.
        """
        chosen = asked or self.skewed_by or "label"
        if chosen not in self.counts:
            raise ResultsError(f"the partition does not record {chosen}s; it has {', '.join(self.counts)}")
        return chosen

    def shares(self, kind: str) -> pd.DataFrame:
        """Percent of each name among a client's; NaN for a client without any."""
        counts = self.counts[kind]
        return counts.div(counts.sum(axis="columns").replace(0, np.nan), axis="index") * 100


def read_partition(path: str | Path) -> PartitionRecord:
    """Read a ``partition.json``, or that of a run folder.

    Raises:
        ResultsError: if it is missing, unreadable, or without clients or labels.
    """
    path = Path(path) / "partition.json" if Path(path).is_dir() else Path(path)
    record = read_json(path)
    try:
        clients = record["clients"]
        numbers = [int(client["client"]) for client in clients]
        found = PartitionRecord(
            split=str(record["split"]),
            skewed_by=record.get("skewed_by"),
            sizes=pd.Series([int(client["examples"]) for client in clients], index=numbers, dtype=int),
            counts={kind: _counts(record, kind, numbers) for kind in KINDS if f"{kind}s" in record},
            measures={kind: _measures(record, kind, numbers) for kind in KINDS if f"{kind}s" in record},
            statistics={kind: record.get(f"{_prefix(kind)}statistics", {}) for kind in KINDS},
        )
        empty = found.counts["label"].empty
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ResultsError(
            f"{path}: not a partition record: {type(error).__name__} {error}; "
            "expected labels, split and clients with client, examples and label_counts"
        ) from error
    if empty:
        raise ResultsError(f"{path}: holds no clients or no labels; nothing to show")
    return found


def _prefix(kind: str) -> str:
    return "" if kind == "label" else f"{kind}_"


def _counts(record: dict[str, Any], kind: str, numbers: list[int]) -> pd.DataFrame:
    rows = [client[f"{kind}_counts"] for client in record["clients"]]
    names = list(dict.fromkeys([*record[f"{kind}s"], *(name for row in rows for name in row)]))
    place = {name: column for column, name in enumerate(names)}
    counts = np.zeros((len(rows), len(names)), dtype=int)
    for row, found in zip(counts, rows, strict=True):
        for name, count in found.items():
            row[place[name]] = int(count)
    return pd.DataFrame(counts, index=numbers, columns=names)


def _measures(record: dict[str, Any], kind: str, numbers: list[int]) -> pd.DataFrame:
    clients = record["clients"]
    columns = {
        name: [client.get(f"{_prefix(kind)}{name}") for client in clients]
        for name in MEASURES
        if f"{_prefix(kind)}{name}" in (clients[0] if clients else {})
    }
    return pd.DataFrame(columns, index=numbers, dtype=float)
