"""i2b2/VA 2010 concepts (problem, test, treatment), in the layout of the n2c2 portal."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from partitions.assembly import Rows, assemble
from partitions.corpus import Corpus, CorpusError, Task
from partitions.entities import Entity, sentences, settle_overlaps, warn_of
from partitions.files import AnnotatedNote, annotated_files, text_lines
from partitions.reader import CorpusReader

LABELS = ("problem", "test", "treatment")
TRAINING = "concept_assertion_relation_training_data"
TEST_NOTES = "test_data"
TEST_CONCEPTS = "reference_standard_for_test_data/concepts"
TEST_SITE = "test"
OBTAIN = (
    "to obtain it: sign the data use agreement of the n2c2 portal (DBMI, Harvard Medical School), download the three "
    f"archives of the 2010 relations challenge and unpack {TRAINING}, reference_standard_for_test_data and "
    f"{TEST_NOTES} into this folder"
)
_CONCEPT = re.compile(r'c="(.*)" (\d{1,9}):(\d{1,9}) (\d{1,9}):(\d{1,9})\|\|t="([^"]*)"', re.ASCII)


class I2b2Concepts(CorpusReader):
    """Concepts of Uzuner et al. 2011 (JAMIA 18(5), "2010 i2b2/VA challenge"), in the official layout::

        PATH/concept_assertion_relation_training_data/SITE/{txt/NAME.txt,concept/NAME.con}
        PATH/test_data/NAME.txt
        PATH/reference_standard_for_test_data/concepts/NAME.con

    Whatever sites the training folder has are read, so both the challenge's release and the smaller one for research
    load; notes without annotations (``partners/unannotated``) are not used. A line of a ``.con`` file,
    ``c="chest pain" 12:3 12:4||t="problem"``, gives the first and last word as line (from 1) and word (from 0) of the
    note, whose words whitespace parts; the words in ``c`` must be those of the note, in whatever case.

    An example is a line of a note; lines that one concept spans make one example, blank lines none. ``document`` is
    ``SITE/NAME`` and ``group`` the site; the test notes' names do not tell their sites, so that their site is
    ``test``. The release holds a few concepts inside others: the longest stays, and a warning counts those left out.

    The release has no validation split, so whole notes of each site are held out: those whose SHA-256 of seed, site
    and name is smallest, at least one of every site that has two. Which they are depends neither on the order of the
    files nor much on what other notes there are.

    The 2012 and 2018 n2c2 tasks have other layouts: XML (2012), brat (2018; see `partitions.corpora.brat`).

    Attributes:
        path: the folder that holds the three above.
        validation: share of each site's training notes that is held out.
        seed: which notes are held out.
    """

    path: Path
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    seed: int = 0

    def declared(self) -> tuple[Task, tuple[str, ...]]:
        """The task and the labels."""
        return "ner", LABELS

    def read(self) -> Corpus:
        """Read and check all notes.

        Raises:
            CorpusError: at the first mistake, naming file and line, never quoting clinical text.
        """
        folder = self.path.expanduser()
        for needed in (folder, folder / TRAINING, folder / TEST_NOTES, folder / TEST_CONCEPTS):
            if not needed.is_dir():
                raise CorpusError(f"{needed}: no such folder; {OBTAIN}")
        training = _training_notes(folder / TRAINING)
        held_out = {site: self._held_out(site, notes) for site, notes in training.items()}
        if not any(held_out.values()):
            raise CorpusError(f"{folder / TRAINING}: no site has two notes, so none can be held out for validation")
        test = {TEST_SITE: annotated_files(folder / TEST_NOTES, folder / TEST_CONCEPTS, ".con")}
        kept = {site: [note for note in notes if note not in held_out[site]] for site, notes in training.items()}
        left_out: list[Entity] = []
        splits = {
            "train": (str(folder / TRAINING), _rows(kept, left_out)),
            "validation": (str(folder / TRAINING), _rows(held_out, left_out)),
            "test": (str(folder / TEST_NOTES), _rows(test, left_out)),
        }
        corpus = assemble("i2b2-2010", splits, "ner", LABELS)
        places = [entity.place for entity in left_out]
        warn_of("i2b2-2010: concepts left out as they repeat or overlap a longer one", places)
        return corpus

    def _held_out(self, site: str, notes: Sequence[AnnotatedNote]) -> list[AnnotatedNote]:
        """A site's notes for validation, in order of name."""
        count = min(max(round(self.validation * len(notes)), 1), len(notes) - 1) if notes else 0
        by_digest = sorted(notes, key=lambda note: hashlib.sha256(f"{self.seed}/{site}/{note.name}".encode()).digest())
        return sorted(by_digest[:count])


class Concept(NamedTuple):
    """A line of a ``.con`` file.

    Attributes:
        words: its text, case folded.
        first: line (from 1) and word (from 0) of its first word.
        last: of its last.
        kind: one of `LABELS`.
    """

    words: list[str]
    first: tuple[int, int]
    last: tuple[int, int]
    kind: str


def parse_concept(line: str) -> Concept:
    """A line of a ``.con`` file.

    Raises:
        CorpusError: if it is malformed; never quoting its text.
    """
    match = _CONCEPT.fullmatch(line.strip())
    if not match:
        raise CorpusError('not a concept; expected c="TEXT" LINE:WORD LINE:WORD||t="TYPE"')
    text, *positions, kind = match.groups()
    first_line, first_word, last_line, last_word = map(int, positions)
    if kind not in LABELS:
        raise CorpusError(f"its type ({len(kind)} characters) is not among {', '.join(LABELS)}")
    if (last_line, last_word) < (first_line, first_word):
        raise CorpusError(f"ends at {last_line}:{last_word}, before its beginning at {first_line}:{first_word}")
    return Concept(text.casefold().split(), (first_line, first_word), (last_line, last_word), kind)


def _training_notes(folder: Path) -> dict[str, list[AnnotatedNote]]:
    """The annotated notes of each site, sites in order of name."""
    sites = {}
    for site in sorted(folder.iterdir()):
        texts, concepts = site / "txt", site / "concept"
        missing = [part for part in (texts, concepts) if not part.is_dir()]
        if len(missing) == 1:
            raise CorpusError(f"{missing[0]}: no such folder; a site has the folders txt and concept")
        if not missing:
            sites[site.name] = annotated_files(texts, concepts, ".con")
    return sites


def _rows(sites: dict[str, list[AnnotatedNote]], left_out: list[Entity]) -> Rows:
    """The examples of all sites' notes; concepts that cannot stay are added to a list."""
    for site, notes in sites.items():
        for note in notes:
            document = f"{site}/{note.name}"
            lines = [line.split() for _, line in text_lines(note.text)]
            concepts, overlapping = settle_overlaps(_concepts(note, lines))
            left_out += overlapping
            for number, tokens, tags in sentences(lines, concepts):
                yield (
                    f"{note.text}, line {number}",
                    {"id": f"{document}-{number}", "tokens": tokens, "tags": tags, "group": site, "document": document},
                )


def _concepts(note: AnnotatedNote, lines: Sequence[Sequence[str]]) -> Iterator[Entity]:
    """The concepts of a note as spans of its tokens."""
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    tokens = [token for line in lines for token in line]
    for number, line in text_lines(note.annotations):
        if not line.strip():
            continue
        place = f"{note.annotations}, line {number}"
        try:
            concept = parse_concept(line)
            start, last = (_position(at, lines, starts) for at in (concept.first, concept.last))
            if concept.words != _words(tokens[start : last + 1]):
                first, end = ("{}:{}".format(*at) for at in (concept.first, concept.last))
                raise CorpusError(f"the text in c= is not that of {first} to {end} in {note.text}")
        except CorpusError as error:
            raise CorpusError(f"{place}: {error}") from None
        yield Entity(start, last + 1, concept.kind, place)


def _position(at: tuple[int, int], lines: Sequence[Sequence[str]], starts: Sequence[int]) -> int:
    """A word's place among the tokens of the note."""
    line, word = at
    if not 1 <= line <= len(lines):
        raise CorpusError(f"{line}:{word} is outside the note, which has {len(lines)} lines (from 1)")
    if word >= len(lines[line - 1]):
        raise CorpusError(f"{line}:{word} is outside its line, which has {len(lines[line - 1])} words (from 0)")
    return starts[line - 1] + word


def _words(tokens: Iterable[str]) -> list[str]:
    return " ".join(tokens).casefold().split()
