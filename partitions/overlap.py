"""No leak from training to test: a text or document belongs to one split."""

import hashlib
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from datasets import Dataset

from partitions.corpus import Corpus, CorpusError
from partitions.examples import KEYS, quote

_AT_ONCE = 1_000


def check_disjoint(corpus: Corpus) -> None:
    """Check that no document, and no text, occurs in two splits.

    Texts are compared in lower case: those of classification each by itself; the sentences of ner, of which a section
    header or a negative finding recurs in many notes, as whole documents where the corpus names these.

    Raises:
        CorpusError: naming an example of each split that share a document or text; never quoting it.
    """
    read, sentences = KEYS[corpus.task][0], corpus.task == "ner"
    documents, texts = {}, {}
    for name, split in corpus.splits.items():
        documents[name], texts[name] = _keys(split, read, sentences)
    for first, second in combinations(corpus.splits, 2):
        _compare(corpus.name, "document", {name: documents[name] for name in (first, second)})
        _compare(corpus.name, "text", {name: texts[name] for name in (first, second)})


def _compare(corpus: str, what: str, splits: Mapping[str, Mapping[Any, str]]) -> None:
    (first, mine), (second, theirs) = splits.items()
    if shared := mine.keys() & theirs.keys():
        a, b = min((mine[key], theirs[key]) for key in shared)
        raise CorpusError(
            f"corpus {corpus}: {len(shared)} {what}{'s' * (len(shared) > 1)} in both {first} and {second}, such as "
            f"that of the examples {quote(a)} ({first}) and {quote(b)} ({second}); "
            "set corpus.allow_overlap=true to accept it"
        )


def _keys(split: Dataset, read: str, sentences: bool) -> tuple[dict[str, str], dict[bytes, str]]:
    """The documents of a split, and digests of its texts, each with its first example's id.

    Args:
        split: of a corpus.
        read: the column of the text.
        sentences: a document is one text, if it has a name.
    """
    documents: dict[str, str] = {}
    digests: dict[str, tuple[str, hashlib._Hash]] = {}
    texts: dict[bytes, str] = {}
    for example, document, content in _examples(split, read):
        text = (" ".join(content) if isinstance(content, list) else content).casefold().encode() + b"\n"
        if document:
            documents.setdefault(document, example)
        if document and sentences:
            digests.setdefault(document, (example, hashlib.sha256()))[1].update(text)
        else:
            texts.setdefault(hashlib.sha256(text).digest(), example)
    for example, digest in digests.values():
        texts.setdefault(digest.digest(), example)
    return documents, texts


def _examples(split: Dataset, read: str) -> Iterator[tuple[str, str, str | list[str]]]:
    for batch in split.select_columns(["id", "document", read]).iter(_AT_ONCE):
        yield from zip(batch["id"], batch["document"], batch[read], strict=True)
