"""What every corpus reader is: settings that can be read into a corpus."""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from partitions.corpus import Corpus, Task
from partitions.overlap import check_disjoint

Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]
"""Labels in a setting."""


class CorpusReader(BaseModel):
    """The settings of one corpus, and how to read it.

    Attributes:
        allow_overlap: accept a text or document that occurs in two splits, which is otherwise an error.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    allow_overlap: bool = False

    def declared(self) -> tuple[Task | None, Iterable[str] | None]:
        """The task and the labels, as far as the settings say; None where they do not."""
        return None, None

    def describe(self, load: Callable[[], Corpus] | None = None) -> tuple[Task, tuple[str, ...]]:
        """The task and the sorted labels; the data are read only where the settings do not say.

        Args:
            load: gives the corpus, where it is also needed for something else; by default `load`.

        Raises:
            CorpusError: as `load`.
        """
        task, labels = self.declared()
        if task and labels:
            return task, tuple(sorted(set(labels)))
        corpus = (load or self.load)()
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
