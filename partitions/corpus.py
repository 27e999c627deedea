"""A corpus: labelled examples in three splits, as Arrow tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # workers need the errors and names of this module, not the library
    from datasets import Dataset

Task = Literal["ner", "classification", "multilabel"]
SPLITS = ("train", "validation", "test")


class CorpusError(ValueError):
    """A corpus that cannot be used as it is; the message names the file and the line, or the setting, to mend."""


@dataclass(frozen=True)
class Corpus:
    """Labelled clinical text.

    Attributes:
        name: what the corpus is called in records and figures.
        task: ``"ner"`` (one IOB2 tag a token), ``"classification"`` (one label a text) or ``"multilabel"`` (any number
            of labels a text, none too).
        labels: entity types (ner) or class names, sorted. Of two classes the second is the positive one.
        splits: ``"train"``, ``"validation"`` and ``"test"``, each a table with the columns ``id``; ``tokens, tags``
            (ner), ``text, label`` (classification) or ``text, labels`` (multilabel); ``group`` and ``document``.
            ``tags``, ``label`` and ``labels`` are strings. ``group`` names the natural origin (hospital, note type),
            ``document`` the note, or where it is known the patient, that the example is part of; both may be empty.
    """

    name: str
    task: Task
    labels: tuple[str, ...]
    splits: Mapping[str, Dataset]
