"""A validation split held out from train, without tearing a document or text apart, or taking a label's last one."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from partitions.corpus import Task
from partitions.examples import KEYS

Row = tuple[str, Mapping[str, Any]]


def hold_out(rows: Sequence[Row], task: Task, share: float, rng: np.random.Generator) -> tuple[list[Row], list[Row]]:
    """Divide the rows of a split in two.

    What is drawn, until it holds the share, is whole: a document, together with all documents that have a text in
    common with it, in whatever case (a sentence of ner may recur in any document and joins only examples without one).
    What has a label that nothing else left in train has stays, so that validation may end up smaller than its share.

    Args:
        rows: examples with their places, as `partitions.assembly.assemble` takes them; not yet checked.
        task: whose keys they have.
        share: of the rows to hold out, between 0 and 1.
        rng: where the draw comes from.

    Returns:
        The rows that stay and the rows held out, each in the order given. Either may be empty if the documents are too
        few.
    """
    units = _units(rows, task)
    members = np.split(np.argsort(units, kind="stable"), np.cumsum(np.bincount(units))[:-1])
    labels = [{label for index in unit for label in _labels(rows[index][1], task)} for unit in members]
    left = Counter(label for unit in labels for label in unit)
    held_out: set[int] = set()
    for unit in rng.permutation(len(members)):
        if len(held_out) >= share * len(rows):
            break
        if all(left[label] > 1 for label in labels[unit]):
            held_out.update(members[unit])
            left.subtract(labels[unit])
    return (
        [row for index, row in enumerate(rows) if index not in held_out],
        [row for index, row in enumerate(rows) if index in held_out],
    )


def _units(rows: Sequence[Row], task: Task) -> np.ndarray:
    """The number of what each row is drawn with, in the order in which these first occur, shape (rows,)."""
    nodes: dict[tuple[str, str], int] = {}
    edges = [
        (index, nodes.setdefault(key, len(rows) + len(nodes)))
        for index, (_, row) in enumerate(rows)
        for key in _keys(row, task)
    ]
    size = len(rows) + len(nodes)
    graph = coo_array((np.ones(len(edges)), np.array(edges, dtype=int).reshape(-1, 2).T), shape=(size, size))
    return pd.factorize(connected_components(graph, directed=False)[1][: len(rows)])[0]


def _keys(row: Mapping[str, Any], task: Task) -> Iterator[tuple[str, str]]:
    """What must not be torn apart: the row's document, its text, or both."""
    document = row.get("document")
    if document:
        yield "document", str(document)
    if not document or task != "ner":
        yield "text", str(row[KEYS[task][0]]).casefold()


def _labels(row: Mapping[str, Any], task: Task) -> set[str]:
    """The labels or tags of a row, whatever it holds."""
    value = row[KEYS[task][1]]
    return set(map(str, value if isinstance(value, list) else [value]))
