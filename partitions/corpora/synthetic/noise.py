"""Annotation noise: what a tired annotator gets wrong, for training splits only."""

from collections.abc import Sequence

import numpy as np

_OUTSIDE = "O"


def noisy_tags(tags: Sequence[str], rate: float, types: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Corrupt a share of the entities of one sentence.

    Each chosen entity, with equal chances, gets another type, has one boundary moved by one token, or is left out. An
    entity whose boundary can move neither way (one token, no free neighbour) gets another type.

    Args:
        tags: IOB2 tags.
        rate: probability that an entity is corrupted.
        types: all entity types.
        rng: where the draws come from.

    Returns:
        IOB2 tags, changed in exactly the chosen entities.
    """
    out = list(tags)
    for start, end in entity_spans(tags):
        if rng.random() >= rate:
            continue
        entity = tags[start].removeprefix("B-")
        slip = ("type", "boundary", "missing")[rng.integers(3)]
        if slip == "boundary":
            moved = [(start + 1, end), (start, end - 1)] if end - start > 1 else []
            if start > 0 and out[start - 1] == _OUTSIDE:
                moved.append((start - 1, end))
            if end < len(out) and out[end] == _OUTSIDE:
                moved.append((start, end + 1))
            if moved:
                _clear(out, start, end)
                _mark(out, *moved[rng.integers(len(moved))], entity)
                continue
            slip = "type"
        if slip == "type":
            others = [other for other in types if other != entity]
            _mark(out, start, end, others[rng.integers(len(others))])
        else:
            _clear(out, start, end)
    return out


def noisy_label(label: str, rate: float, labels: Sequence[str], rng: np.random.Generator) -> str:
    """Another label with probability ``rate``, else ``label``."""
    if rng.random() >= rate:
        return label
    others = [other for other in labels if other != label]
    return others[rng.integers(len(others))]


def entity_spans(tags: Sequence[str]) -> list[tuple[int, int]]:
    """Where entities stand in IOB2 tags: half-open token ranges, in order."""
    spans = []
    for position, tag in enumerate(tags):
        if tag.startswith("B-"):
            end = position + 1
            while end < len(tags) and tags[end].startswith("I-"):
                end += 1
            spans.append((position, end))
    return spans


def _mark(tags: list[str], start: int, end: int, entity: str) -> None:
    tags[start:end] = [f"B-{entity}"] + [f"I-{entity}"] * (end - start - 1)


def _clear(tags: list[str], start: int, end: int) -> None:
    tags[start:end] = [_OUTSIDE] * (end - start)
