"""What the two synthetic corpora share: their settings, and splits that hold no text twice."""

from abc import abstractmethod
from typing import ClassVar

from datasets import Dataset
from pydantic import Field

from partitions.corpora.synthetic.hospitals import HOSPITALS
from partitions.corpus import SPLITS, Corpus, Task
from partitions.reader import CorpusReader


class SyntheticCorpus(CorpusReader):
    """Generated clinical notes. No text occurs twice, in whatever case; ``group`` is the hospital,
    ``document`` the note.

    Attributes:
        train: number of training examples.
        validation: number of validation examples.
        test: number of test examples.
        hospitals: how many hospitals write the notes, in equal numbers of notes.
        seed: of the corpus; independent of the seed of a run.
        noise: share of the training annotations (entities, or the label of a note) that are corrupted. Validation and
            test are clean.
        misspellings: share of words misspelt at an average hospital.
    """

    name: ClassVar[str]
    task: ClassVar[Task]
    labels: ClassVar[tuple[str, ...]]

    train: int = Field(2000, ge=1)
    validation: int = Field(300, ge=1)
    test: int = Field(500, ge=1)
    hospitals: int = Field(6, ge=1, le=len(HOSPITALS))
    seed: int = Field(2010, ge=0)
    noise: float = Field(0.03, ge=0, le=0.5)
    misspellings: float = Field(0.01, ge=0, le=0.5)

    def declared(self) -> tuple[Task, tuple[str, ...]]:
        """The task and the labels."""
        return self.task, self.labels

    def read(self) -> Corpus:
        """Generate the corpus."""
        seen: set[str] = set()
        # The training split comes last, so that its size does not touch what the others hold.
        splits = {split: self._split(split, getattr(self, split), seen) for split in reversed(SPLITS)}
        return Corpus(self.name, self.task, self.labels, {split: splits[split] for split in SPLITS})

    @abstractmethod
    def _split(self, split: str, count: int, seen: set[str]) -> Dataset:
        """A split of `count` examples, none of whose texts (case-folded) is in `seen`; they are added to it."""
