"""A folder of CoNLL files: a token and its tag a line, a blank line after each sentence."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from partitions.assembly import Rows, assemble
from partitions.corpus import Corpus, CorpusError, Task
from partitions.examples import OUTSIDE, form, succession
from partitions.files import split_files, text_lines
from partitions.reader import CorpusReader, Names

Scheme = Literal["iob2", "iob1", "iobes"]
DOCUMENT_START = "-DOCSTART-"
_PREFIXES: dict[Scheme, str] = {"iob2": "BI", "iob1": "BI", "iobes": "BIES"}


class Conll(CorpusReader):
    """``train``, ``validation`` and ``test``, each ``.conll``, ``.tsv`` or ``.txt``, as of CoNLL-2003.

    The columns of a line are parted by tabs or, in a line without a tab, by spaces: the first is the token, the last
    its tag, any between are ignored. Blank lines part sentences. A line whose token is ``-DOCSTART-`` begins a new
    document: ``document`` is then ``<split>-<number>``, and empty where the file has no such line. ``group`` is empty.

    Attributes:
        path: the folder.
        scheme: how the tags mark where an entity begins and ends (Ramshaw and Marcus 1995; Tjong Kim Sang and
            Veenstra 1999). All are given as ``iob2``: an entity begins with ``B-TYPE`` and goes on with ``I-TYPE``.
            ``iob1``: it may begin with ``I-TYPE``, ``B-TYPE`` being needed only right after another of its type.
            ``iobes``: it ends with ``E-TYPE``, and an entity of one token is ``S-TYPE``.
        labels: the entity types; by default those of the train split. With them the corpus can be planned for before
            its files exist.
    """

    path: Path
    scheme: Scheme = "iob2"
    labels: Names | None = None

    def declared(self) -> tuple[Task, Names | None]:
        """The task, and the labels where they are set."""
        return "ner", self.labels

    def read(self) -> Corpus:
        """Read and check the three splits.

        Raises:
            CorpusError: at the first mistake, naming file and line, never quoting clinical text.
        """
        folder = self.path.expanduser()
        files = split_files(folder, "CoNLL", [".conll", ".tsv", ".txt"])
        splits = {split: (str(file), _rows(split, file, self.scheme)) for split, file in files.items()}
        return assemble(folder.resolve().name, splits, "ner", self.labels)


def iob2(tag: str, before: str, scheme: Scheme) -> str:
    """A tag in IOB2.

    Args:
        tag: in the given scheme.
        before: the tag before it in the sentence, in the given scheme; ``O`` at the beginning.
        scheme: of both.

    Raises:
        CorpusError: if the tag is none of the scheme, or may not follow the one before.
    """
    if tag == OUTSIDE:
        prefix, kind = OUTSIDE, ""
    else:
        prefix, kind = tag[:1], tag[2:]
        if prefix not in _PREFIXES[scheme] or tag[1:2] != "-" or not kind or kind != kind.strip():
            expected = ", ".join(f"{known}-TYPE" for known in _PREFIXES[scheme])
            other = "; set corpus.scheme=iobes" if tag[:2] in ("E-", "S-") else ""
            raise CorpusError(f"the tag is of {len(tag)} characters and not O, {expected} ({scheme}){other}")
    goes_on = prefix in ("I", "E")
    if scheme == "iob1":
        goes_on = goes_on and before[2:] == kind
    elif scheme == "iob2":
        if goes_on and before[2:] != kind:
            raise CorpusError(
                f"the tag is {succession(tag, before)}; in iob2 an entity begins with B-TYPE (or set "
                "corpus.scheme=iob1)"
            )
    elif goes_on != _open(before) or (goes_on and before[2:] != kind):
        raise CorpusError(
            f"the tag is {succession(tag, before)}; in iobes an entity is one S-TYPE, or runs from B-TYPE over I-TYPE "
            "to E-TYPE"
        )
    return tag if tag == OUTSIDE else f"{'I' if goes_on else 'B'}-{kind}"


class _Token(NamedTuple):
    line: int
    text: str
    tag: str


def _rows(split: str, file: Path, scheme: Scheme) -> Rows:
    documents = 0
    for sentence in _sentences(file):
        if sentence[0].text == DOCUMENT_START:
            documents += 1
            continue
        tags = list(_tags(file, sentence, scheme))
        first = sentence[0].line
        row = {"id": f"{split}-{first}", "tokens": [token.text for token in sentence], "tags": tags}
        yield f"{file}, line {first}", {**row, "document": f"{split}-{documents}" if documents else ""}


def _sentences(file: Path) -> Iterator[list[_Token]]:
    """The tokens of each sentence; the line that starts a document stands alone."""
    sentence: list[_Token] = []
    for line, text in text_lines(file):
        columns = [column.strip() for column in text.split("\t")] if "\t" in text else text.split()
        starts_document = columns[:1] == [DOCUMENT_START]
        if sentence and (starts_document or not any(columns)):
            yield sentence
            sentence = []
        if starts_document:
            yield [_Token(line, DOCUMENT_START, OUTSIDE)]
        elif any(columns):
            if len(columns) < 2:
                raise CorpusError(f"{file}, line {line}: has one column; expected a token and its tag")
            if not columns[0]:
                raise CorpusError(f"{file}, line {line}: the token, in the first column, is blank")
            sentence.append(_Token(line, columns[0], columns[-1]))
    if sentence:
        yield sentence


def _tags(file: Path, sentence: list[_Token], scheme: Scheme) -> Iterator[str]:
    before = OUTSIDE
    for token in sentence:
        try:
            yield iob2(token.tag, before, scheme)
        except CorpusError as error:
            raise CorpusError(f"{file}, line {token.line}: {error}") from None
        before = token.tag
    if scheme == "iobes" and _open(before):
        raise CorpusError(f"{file}, line {sentence[-1].line}: the sentence ends after {form(before)}, within an entity")


def _open(tag: str) -> bool:
    """Whether an entity of IOBES goes on after a tag."""
    return tag[0] in "BI"
