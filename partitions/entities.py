"""Entities as spans of a note: overlaps settled, and the note's lines as sentences with IOB2 tags."""

import warnings
from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from partitions.examples import OUTSIDE


class Entity(NamedTuple):
    """An entity of a note.

    Attributes:
        start: its first token or character, from 0 at the note's beginning.
        end: one past its last.
        kind: its type.
        place: where it is annotated: "FILE, line 3".
    """

    start: int
    end: int
    kind: str
    place: str


def settle_overlaps(entities: Iterable[Entity]) -> tuple[list[Entity], list[Entity]]:
    """The entities that IOB2 can hold together, and those left out.

    Of entities that overlap the longest stays; of equally long ones, the first given. A repeated entity overlaps its
    first mention.

    Returns:
        The kept entities in order of position, and the others in the order given.
    """
    given = list(entities)
    kept: list[Entity] = []
    for entity in sorted(given, key=lambda entity: entity.start - entity.end):
        place = bisect(kept, entity.start, key=lambda other: other.start)
        clear_before = place == 0 or kept[place - 1].end <= entity.start
        if clear_before and (place == len(kept) or entity.end <= kept[place].start):
            kept.insert(place, entity)
    staying = set(map(id, kept))
    return kept, [entity for entity in given if id(entity) not in staying]


def sentences(lines: Sequence[Sequence[str]], entities: Iterable[Entity]) -> Iterator[tuple[int, list[str], list[str]]]:
    """Each line of a note as a sentence; lines that an entity spans are joined to one, blank lines are skipped.

    Args:
        lines: the tokens of each line.
        entities: without overlaps; positions count the tokens of the whole note.

    Yields:
        The number of the sentence's first line, from 1, its tokens and their IOB2 tags.
    """
    tags = [OUTSIDE] * sum(map(len, lines))
    for entity in entities:
        length = entity.end - entity.start
        tags[entity.start : entity.end] = [f"B-{entity.kind}"] + [f"I-{entity.kind}"] * (length - 1)
    tokens = list(chain.from_iterable(lines))
    first, start, position = 0, 0, 0
    for number, line in enumerate(lines, 1):
        if line and not tags[position].startswith("I-"):
            if position > start:
                yield first, tokens[start:position], tags[start:position]
            first, start = number, position
        position += len(line)
    if position > start:
        yield first, tokens[start:], tags[start:]


def warn_of(what: str, places: Sequence[str]) -> None:
    """Warn, where there is something to warn of, with its number and its first place.

    Args:
        what: names it.
        places: one each: "FILE, line 3".
    """
    if places:
        elsewhere = " and elsewhere" if len(places) > 1 else ""
        warnings.warn(f"{what}: {len(places)}, at {places[0]}{elsewhere}", stacklevel=2)
