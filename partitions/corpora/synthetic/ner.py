"""Synthetic entity recognition: sentences of full notes with problems, treatments and tests."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from datasets import Dataset

from partitions.corpora.synthetic.hospitals import HOSPITALS
from partitions.corpora.synthetic.noise import noisy_tags
from partitions.corpora.synthetic.notes import full_note
from partitions.corpora.synthetic.reader import SyntheticCorpus
from partitions.corpora.synthetic.writer import writer
from partitions.corpus import Task

_STREAMS = {"train": 10, "validation": 11, "test": 12}
_NOISE_STREAM = 13
_SHORTEST = 3


@dataclass(frozen=True)
class _Sentence:
    id: str
    document: str
    tokens: list[str]
    tags: list[str]
    group: str

    @property
    def text(self) -> str:
        return " ".join(self.tokens).casefold()


class SyntheticNer(SyntheticCorpus):
    """Named entity recognition in the sense of i2b2-2010 on generated clinical notes; an example is a sentence.

    The sentences of one note stay in one split. Annotation noise gives a training entity another type, moves one of its
    boundaries by a token, or leaves it out.
    """

    name: ClassVar[str] = "synthetic-ner"
    task: ClassVar[Task] = "ner"
    labels: ClassVar[tuple[str, ...]] = ("problem", "test", "treatment")

    def _split(self, split: str, count: int, seen: set[str]) -> Dataset:
        columns: dict[str, list] = {"id": [], "tokens": [], "tags": [], "group": [], "document": []}
        for sentence in self._sentences(split):
            if len(columns["id"]) == count:
                break
            if sentence.text in seen:
                continue
            seen.add(sentence.text)
            tags = sentence.tags
            if split == "train" and self.noise:
                rng = np.random.default_rng([self.seed, _NOISE_STREAM, len(columns["id"])])
                tags = noisy_tags(tags, self.noise, self.labels, rng)
            columns["id"].append(sentence.id)
            columns["tokens"].append(sentence.tokens)
            columns["tags"].append(tags)
            columns["group"].append(sentence.group)
            columns["document"].append(sentence.document)
        return Dataset.from_dict(columns)

    def _sentences(self, split: str) -> Iterator[_Sentence]:
        """All sentences of a split's endless notes; the first of a section carries the section's header."""
        index = 0
        while True:
            hospital = HOSPITALS[index % self.hospitals]
            document, place = f"{split}-{index:05d}", 0
            for section in full_note(writer(hospital, self.misspellings, self.seed, _STREAMS[split], index)):
                header = section.header
                for sentence in section.sentences:
                    if len(sentence.tokens) >= _SHORTEST:
                        tokens, tags = header + sentence.tokens, ["O"] * len(header) + sentence.tags
                        yield _Sentence(f"{document}-{place:02d}", document, tokens, tags, hospital.name)
                        header = []
                    place += 1
            index += 1
