"""What every corpus reader gives: labelled examples in three splits, as Arrow tables."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from datasets import Dataset

Task = Literal["ner", "classification"]
SPLITS = ("train", "validation", "test")


class CorpusError(ValueError):
    """A corpus that cannot be used as it is; the message names the file and the line, or the setting, to mend."""


@dataclass(frozen=True)
class Corpus:
    """Labelled clinical text.

    Attributes:
        name: what the corpus is called in records and figures.
        task: ``"ner"`` (one IOB2 tag a token) or ``"classification"`` (one label a text).
        labels: entity types (ner) or class names (classification), sorted.
        splits: ``"train"``, ``"validation"`` and ``"test"``, each a table with the columns
            ``id, tokens, tags, group`` (ner) or ``id, text, label, group`` (classification); ``tags`` and ``label``
            are strings, ``group`` names the natural origin (hospital, note type) and may be empty.
    """

    name: str
    task: Task
    labels: tuple[str, ...]
    splits: Mapping[str, Dataset]


class CorpusReader(Hashable, Protocol):
    """The settings of one corpus, and how to read it."""

    def describe(self) -> tuple[Task, tuple[str, ...]]:
        """The task and the sorted labels, read from the settings where they say."""
        ...

    def load(self) -> Corpus:
        """Read the corpus.

        Raises:
            CorpusError: if a file is missing, malformed or empty.
        """
        ...
