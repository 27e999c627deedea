"""A validation split held out from train, without tearing a document apart."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Row = tuple[str, Mapping[str, Any]]


def hold_out(rows: Sequence[Row], share: float, rng: np.random.Generator) -> tuple[list[Row], list[Row]]:
    """Divide the rows of a split in two.

    Documents are drawn until they hold the share; an example without a document is drawn together with those of the
    same text, in whatever case.

    Args:
        rows: examples with their places, as `partitions.assembly.assemble` takes them.
        share: of the rows to hold out, between 0 and 1.
        rng: where the draw comes from.

    Returns:
        The rows that stay and the rows held out, each in the order given. Nothing stays if the documents are too few.
    """
    units: dict[tuple[str, str], list[int]] = {}
    for index, (_, row) in enumerate(rows):
        units.setdefault(_unit(row), []).append(index)
    members = list(units.values())
    held_out: set[int] = set()
    for unit in rng.permutation(len(members)):
        if len(held_out) >= share * len(rows):
            break
        held_out.update(members[unit])
    return (
        [row for index, row in enumerate(rows) if index not in held_out],
        [row for index, row in enumerate(rows) if index in held_out],
    )


def _unit(row: Mapping[str, Any]) -> tuple[str, str]:
    if document := row.get("document"):
        return "document", str(document)
    return "text", str(row.get("tokens", row.get("text"))).casefold()
