"""Whole synthetic notes: full multi-section notes with their entities, and plain text for language modelling."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from partitions.corpora.synthetic.grammar import Tagged
from partitions.corpora.synthetic.hospitals import HEADERS, HOSPITALS, Hospital
from partitions.corpora.synthetic.vignettes import vignette
from partitions.corpora.synthetic.writer import Writer, writer

_STREAM = 90
_MISSPELLINGS = 0.01
_TOKENISED = 0.3
_SHORT = 0.35
_JOINED = 0.35
_PLAIN_SECTIONS = ("complaint", "allergies", "medications", "family")
_CLOSING = re.compile(r" (?=[.,;:)%]|'s\b)")


@dataclass(frozen=True)
class Section:
    """One section of a full note.

    Attributes:
        header: the header's tokens, with its colon.
        sentences: its sentences, tagged.
    """

    header: list[str]
    sentences: list[Tagged]


def full_note(author: Writer) -> list[Section]:
    """A note of many sections, in the order and of the length that are usual at its hospital."""
    hospital, draws = author.hospital, author.draws
    sections = []
    for section, usual in hospital.sections.items():
        sentences: list[Tagged] = []
        for _ in range(max(1, usual - 1 + draws.below(3))):
            ambiguous = section not in _PLAIN_SECTIONS and draws.chance(hospital.ambiguous)
            sentence = author.sentence("ambiguous" if ambiguous else f"section.{section}")
            if sentences and sentences[-1].tokens[-1] == "." and draws.chance(_JOINED):
                sentences[-1] = _joined(sentences[-1], sentence, (",", ";", "and")[draws.below(3)])
            else:
                sentences.append(sentence)
        sections.append(Section(_header(section, hospital), sentences))
    return sections


def _joined(first: Tagged, second: Tagged, link: str) -> Tagged:
    """Two sentences run together by a comma, a semicolon or ``and``."""
    start = second.tokens[0]
    if start[1:].islower():
        start = start.lower()
    return Tagged(
        [*first.tokens[:-1], link, start, *second.tokens[1:]],
        [*first.tags[:-1], "O", *second.tags],
    )


def _header(section: str, hospital: Hospital) -> list[str]:
    long, short = HEADERS[section]
    styles = {"title": long.capitalize(), "upper": long.upper(), "lower": long, "short": short.upper()}
    return [*styles[hospital.headers].split(), ":"]


def prose(tokens: Sequence[str]) -> str:
    """Tokens as running text: no space before closing punctuation or after an opening parenthesis."""
    return _CLOSING.sub("", " ".join(tokens)).replace("( ", "(")


def notes(seed: int, count: int) -> Iterator[str]:
    """Plain text to pre-train a language model on: full notes, and short ones that state a reason for the visit.

    About a third of the notes keep spaces around punctuation, as tokenised corpora do. Each full note names the
    service it was written on. The notes share no random stream with a corpus of any seed.

    Args:
        seed: of the whole series.
        count: how many notes.

    Yields:
        One note at a time, its sections or sentences separated by line breaks and spaces.
    """
    for index in range(count):
        author = writer(HOSPITALS[index % len(HOSPITALS)], _MISSPELLINGS, seed, _STREAM, index)
        render = " ".join if author.draws.chance(_TOKENISED) else prose
        if author.draws.chance(_SHORT):
            yield render([token for sentence in vignette(author).sentences for token in sentence.tokens])
            continue
        lines = [author.sentence("section.opening", author.specialty).tokens]
        for section in full_note(author):
            lines.append(section.header + [token for sentence in section.sentences for token in sentence.tokens])
        yield "\n".join(render(line) for line in lines)
