"""What every corpus reader is: settings that can be read into a corpus."""

from abc import abstractmethod

from pydantic import BaseModel, ConfigDict

from partitions.corpus import Corpus, Task
from partitions.overlap import check_disjoint


class CorpusReader(BaseModel):
    """The settings of one corpus, and how to read it.

    Attributes:
        allow_overlap: accept a text or document that occurs in two splits, which is otherwise an error.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    allow_overlap: bool = False

    def describe(self) -> tuple[Task, tuple[str, ...]]:
        """The task and the sorted labels, read from the settings where they say.

        Raises:
            CorpusError: as `load`.
        """
        corpus = self.load()
        return corpus.task, corpus.labels

    def load(self) -> Corpus:
        """Read the corpus and check that its splits are disjoint.

        Raises:
            CorpusError: if a file is missing, malformed or empty, or a text or document occurs in two splits.
        """
        corpus = self.read()
        if not self.allow_overlap:
            check_disjoint(corpus)
        return corpus

    @abstractmethod
    def read(self) -> Corpus:
        """Read the corpus as its files have it.

        Raises:
            CorpusError: if a file is missing, malformed or empty.
        """
