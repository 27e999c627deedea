"""Synthetic note classification: the specialty of the reason for a visit."""

from typing import ClassVar

import numpy as np
from datasets import Dataset

from partitions.corpora.synthetic.hospitals import HOSPITALS
from partitions.corpora.synthetic.lexicon import SPECIALTIES
from partitions.corpora.synthetic.noise import noisy_label
from partitions.corpora.synthetic.notes import prose
from partitions.corpora.synthetic.reader import SyntheticCorpus
from partitions.corpora.synthetic.vignettes import vignette
from partitions.corpora.synthetic.writer import writer
from partitions.corpus import Task

_STREAMS = {"train": 20, "validation": 21, "test": 22}
_NOISE_STREAM = 23


class SyntheticNotes(SyntheticCorpus):
    """Classification of generated clinical notes into ten specialties; an example is a note.

    A note states one reason for the visit and mentions the patient's past, the family and what was ruled out; the
    class is the specialty of the reason. Annotation noise gives a training note a wrong label.
    """

    name: ClassVar[str] = "synthetic-notes"
    task: ClassVar[Task] = "classification"
    labels: ClassVar[tuple[str, ...]] = tuple(sorted(SPECIALTIES))

    def _split(self, split: str, count: int, seen: set[str]) -> Dataset:
        columns: dict[str, list[str]] = {"id": [], "text": [], "label": [], "group": [], "document": []}
        index = 0
        while len(columns["id"]) < count:
            hospital = HOSPITALS[index % self.hospitals]
            note = vignette(writer(hospital, self.misspellings, self.seed, _STREAMS[split], index))
            text = prose([token for sentence in note.sentences for token in sentence.tokens])
            label = note.label
            if split == "train" and self.noise:
                label = noisy_label(
                    label, self.noise, self.labels, np.random.default_rng([self.seed, _NOISE_STREAM, index])
                )
            index += 1
            if text.casefold() in seen:
                continue
            seen.add(text.casefold())
            columns["id"].append(f"{split}-{index - 1:05d}")
            columns["document"].append(columns["id"][-1])
            columns["text"].append(text)
            columns["label"].append(label)
            columns["group"].append(hospital.name)
        return Dataset.from_dict(columns)
