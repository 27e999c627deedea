"""A folder of brat standoff annotations: NAME.txt with NAME.ann in train, validation and test."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from partitions.assembly import Rows, assemble
from partitions.corpus import SPLITS, Corpus, CorpusError, Task
from partitions.entities import Entity, sentences, settle_overlaps, warn_of
from partitions.files import AnnotatedNote, annotated_files, text_lines
from partitions.reader import CorpusReader, Names

_OTHER_ANNOTATIONS = tuple("REAMN*#")
"""How lines of relations, events, attributes, normalisations, equivalences and comments begin."""
_ENTITY = re.compile(r"T[^\s]+\t([^\s]+) (\d{1,9} \d{1,9}(?:;\d{1,9} \d{1,9})*)\t(.*)", re.ASCII)
_TOKEN = re.compile(r"\w+|[^\w\s]")


class Brat(CorpusReader):
    """Entities in brat's standoff format (Stenetorp et al. 2012, EACL), such as those of n2c2 2018.

    The folders ``train``, ``validation`` and ``test`` hold a ``NAME.ann`` for each ``NAME.txt``, in subfolders if
    wanted: ``document`` is the path below the split without suffix, ``group`` the subfolder. Only entities are read:
    ``T1<TAB>TYPE START END<TAB>TEXT``, where positions count characters from 0, END one past the last, and TEXT must
    be that of the note, but for whitespace. A byte order mark is not counted, a carriage return is.

    An example is a line of the note; lines that one entity spans make one example, blank lines none. Tokens are runs
    of letters, digits and ``_``, and every other character that is no space; they are cut where an entity begins or
    ends, so that no border is lost. IOB2 has no form for two things, which a warning counts: of entities that overlap
    the longest stays; and one in several parts (``START END;START END``) is read from its first character to its last,
    gaps included. A gap of mere whitespace, as brat writes a line end, is none.

    Attributes:
        path: the folder.
        types: the entity types to read, others being passed over; by default all. With it the corpus can be planned
            for before its files exist.
    """

    path: Path
    types: Names | None = None

    def declared(self) -> tuple[Task, Names | None]:
        """The task, and the entity types where they are set."""
        return "ner", self.types

    def read(self) -> Corpus:
        """Read and check the three splits.

        Raises:
            CorpusError: at the first mistake, naming file and line, never quoting clinical text.
        """
        folder = self.path.expanduser()
        for needed in (folder, *(folder / split for split in SPLITS)):
            if not needed.is_dir():
                raise CorpusError(
                    f"{needed}: no such folder; corpus.path names the folder that holds {', '.join(SPLITS)}"
                )
        left_out: list[Entity] = []
        bridged: list[Entity] = []
        splits = {split: (str(folder / split), self._rows(folder / split, left_out, bridged)) for split in SPLITS}
        corpus = assemble(folder.resolve().name, splits, "ner", self.types)
        for what, entities in (
            ("entities left out as they repeat or overlap a longer one", left_out),
            ("entities in several parts, read with the gaps between them", bridged),
        ):
            warn_of(f"brat corpus {corpus.name}: {what}", [entity.place for entity in entities])
        return corpus

    def _rows(self, split: Path, left_out: list[Entity], bridged: list[Entity]) -> Rows:
        """The examples of a split; entities that IOB2 cannot hold as they are are added to the lists."""
        for note in annotated_files(split, split, ".ann"):
            text = "".join(line for _, line in text_lines(note.text))
            found = [
                mention for mention in _mentions(note, text) if not self.types or mention.entity.kind in self.types
            ]
            bridged += [mention.entity for mention in found if mention.bridged]
            entities, overlapping = settle_overlaps(mention.entity for mention in found)
            left_out += overlapping
            lines, spans = _tokenize(text, entities)
            group = PurePosixPath(note.name).parent
            for number, tokens, tags in sentences(lines, spans):
                yield (
                    f"{note.text}, line {number}",
                    {
                        "id": f"{note.name}-{number}",
                        "tokens": tokens,
                        "tags": tags,
                        "group": str(group) if group.parts else "",
                        "document": note.name,
                    },
                )


class Mention(NamedTuple):
    """An entity as annotated.

    Attributes:
        entity: its extent in characters.
        bridged: whether the extent takes in words between its parts.
    """

    entity: Entity
    bridged: bool


def parse_entity(line: str) -> tuple[str, list[tuple[int, int]], str]:
    """A ``T`` line: type, the start and end of each part, text.

    Raises:
        CorpusError: if it is malformed; never quoting its text.
    """
    match = _ENTITY.fullmatch(line.rstrip("\r\n"))
    if not match:
        raise CorpusError("not an entity; expected T1<TAB>TYPE START END<TAB>TEXT")
    kind, parts, text = match.groups()
    pairs = (part.split() for part in parts.split(";"))
    return kind, [(int(start), int(end)) for start, end in pairs], text


def _mentions(note: AnnotatedNote, text: str) -> Iterator[Mention]:
    for number, line in text_lines(note.annotations):
        if not line.strip() or line.startswith(_OTHER_ANNOTATIONS):
            continue
        place = f"{note.annotations}, line {number}"
        try:
            kind, parts, quoted = parse_entity(line)
            for start, end in parts:
                if not start < end <= len(text):
                    raise CorpusError(f"{start} to {end} is no span of a note of {len(text)} characters")
            words = " ".join(text[start:end] for start, end in parts).split()
            if words != quoted.split():
                spans = ", ".join(f"{start} to {end}" for start, end in parts)
                raise CorpusError(f"its text is not that of the characters {spans} of {note.text}")
            if not words:
                raise CorpusError("an entity of mere whitespace")
        except CorpusError as error:
            raise CorpusError(f"{place}: {error}") from None
        parts.sort()
        entity = Entity(parts[0][0], max(end for _, end in parts), kind, place)
        yield Mention(entity, any(text[end:start].strip() for (_, end), (start, _) in pairwise(parts)))


def _tokenize(text: str, entities: Sequence[Entity]) -> tuple[list[list[str]], list[Entity]]:
    """The tokens of each line, and the entities by token."""
    borders = sorted({border for entity in entities for border in (entity.start, entity.end)})
    lines: list[list[str]] = []
    starts: list[int] = []
    begin = 0
    for line in text.split("\n"):
        end = begin + len(line)
        cuts = borders[bisect_left(borders, begin) : bisect_left(borders, end)]
        found = [match for piece in pairwise([begin, *cuts, end]) for match in _TOKEN.finditer(text, *piece)]
        lines.append([match[0] for match in found])
        starts += [match.start() for match in found]
        begin = end + 1
    return lines, [
        entity._replace(start=bisect_left(starts, entity.start), end=bisect_left(starts, entity.end))
        for entity in entities
    ]
