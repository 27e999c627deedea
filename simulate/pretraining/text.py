"""The text of pre-training: the project's synthetic notes, and folders of real text of which only train is read.

A document is read in one of two renderings, because fine-tuning meets both: *running* text, as people write it, and
*spaced* sentences, whose words and punctuation marks stand apart as in a corpus for entity recognition.
"""

import gzip
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SENTENCES_PER_DOCUMENT = 12
"""Sentences are joined while their ids share a document, and at most so many: some corpora name no document."""

HELD_OUT_NAMES = re.compile(r"(^|[^a-z])(test|valid|validation|dev|devel|eval)($|[^a-z])", re.IGNORECASE)


class TextError(ValueError):
    """A folder of text that cannot be used; the message names the file and the line."""


@dataclass(frozen=True)
class Document:
    """One document in both renderings.

    Attributes:
        running: the text as written.
        sentences: its sentences (or lines), words and punctuation marks separated by single spaces.
    """

    running: str
    sentences: tuple[str, ...]


def read_folder(folder: Path) -> list[Document]:
    """The documents of a folder that may be trained on.

    A folder with ``train.jsonl`` or ``train.jsonl.gz`` gives that file and nothing else: no argument leads to another
    split. Rows are ``{"tokens": [...]}`` (sentences) or ``{"text": "..."}`` (documents). Any other folder gives its
    ``*.txt`` files, one document each.

    Raises:
        TextError: if there is nothing to read, a row is malformed, or a text file is named like a held-out split.
    """
    for name in ("train.jsonl", "train.jsonl.gz"):
        if (folder / name).is_file():
            return _read_jsonl(folder / name)
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise TextError(f"{folder}: expected train.jsonl, train.jsonl.gz or *.txt")
    for file in files:
        if HELD_OUT_NAMES.search(file.stem):
            raise TextError(f"{file}: named like a held-out split; pre-training reads training text only")
    return [plain(file.read_text(encoding="utf-8")) for file in files]


def plain(text: str) -> Document:
    """A document given as running text."""
    lines = (" ".join(re.findall(r"\w+|[^\w\s]", line)) for line in text.splitlines())
    return Document(text.strip(), tuple(line for line in lines if line))


def tokenized(sentences: Sequence[Sequence[str]]) -> Document:
    """A document given as sentences of tokens; after one that ends without a mark comes a new line."""
    running = ""
    for sentence in map(detokenize, sentences):
        running += (" " if running[-1:] in ".?!:;" else "\n") + sentence
    return Document(running.strip(), tuple(" ".join(tokens) for tokens in sentences))


def detokenize(tokens: Sequence[str]) -> str:
    """Running text from the tokens of a sentence.

    Marks join the word they belong to: ``. , ; : ? ! % ) ]`` the one before, ``( [`` the one after, ``- / '`` and a
    decimal point both; double quotes open and close in turn. Signs such as ``=`` and ``<`` keep their spaces.
    """
    text = " ".join(tokens)
    text = re.sub(r'" ([^"]*) "', r'"\1"', text)
    text = re.sub(r" ([.,;:?!%)\]])", r"\1", text)
    text = re.sub(r"([(\[]) ", r"\1", text)
    text = re.sub(r"(\w) ?([-/']) (\w)", r"\1\2\3", text)
    text = re.sub(r"(\w) ?([-/']) (\w)", r"\1\2\3", text)  # again: single letters between two marks overlap
    return re.sub(r"(\d\.) (?=\d)", r"\1", text)


def split_off(documents: Sequence[Document], share: float) -> tuple[list[Document], list[Document]]:
    """Training documents and the last `share` of them, held out.

    The last ones, in file order, because neighbouring documents may be parts of one text: only one border is shared.
    """
    kept = len(documents) - round(share * len(documents))
    return list(documents[:kept]), list(documents[kept:])


def _read_jsonl(file: Path) -> list[Document]:
    opener = gzip.open if file.suffix == ".gz" else open
    rows = []
    with opener(file, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                rows.append((str(row.get("id", "")), row["tokens"] if "tokens" in row else row["text"]))
            except (ValueError, KeyError, AttributeError) as error:
                raise TextError(f'{file}, line {number}: expected {{"id", "tokens"}} or {{"id", "text"}}') from error
    documents = []
    for _, group in itertools.groupby(rows, key=lambda row: row[0].rpartition("-")[0]):
        contents = [content for _, content in group]
        for start in range(0, len(contents), SENTENCES_PER_DOCUMENT):
            block = contents[start : start + SENTENCES_PER_DOCUMENT]
            documents += [plain(text) for text in block if isinstance(text, str)]
            sentences = [tokens for tokens in block if not isinstance(tokens, str)]
            documents += [tokenized(sentences)] if sentences else []
    if not documents:
        raise TextError(f"{file}: no rows")
    return documents
