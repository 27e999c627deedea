"""What a partitioner may look at: of each training example its labels, group, document and text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from datasets import Dataset

from partitions.category import Category, Kind
from partitions.clusters import cluster
from partitions.corpus import Task
from partitions.examples import KEYS
from partitions.labels import Labels, partition_labels
from partitions.partition import PartitionError


@dataclass(frozen=True, eq=False)
class Traits:
    """The n examples of a split as a partitioner sees them.

    Attributes:
        labels: a label each, or for multi-label text a list of labels each; see `partitions.labels`.
        groups: the natural origin each; empty where unknown.
        documents: the document or patient each; empty where unknown.
        texts: gives the text each; called only when it is needed.
        task: the corpus's task.
    """

    labels: Labels
    groups: Sequence[str]
    documents: Sequence[str]
    texts: Callable[[], Sequence[str]]
    task: Task = "classification"

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.labels)

    def category(self, kind: Kind, clusters: int = 0, seed: int = 0) -> Category:
        """What examples are told apart by.

        Args:
            kind: ``label``, ``group`` or ``cluster``.
            clusters: number of clusters.
            seed: of the clusters.

        Raises:
            PartitionError: if the examples have several labels, no groups, or too few texts for so many clusters.
        """
        if kind == "cluster":
            return cluster(self.texts(), clusters, seed)
        if kind == "group":
            if missing := sum(not group for group in self.groups):
                raise PartitionError(
                    f"{missing} of {len(self)} training examples have no group, so they cannot be spread by group; "
                    "choose partition.by=label or cluster, or name the origin of each example in its key 'group'"
                )
            return Category.of("group", self.groups)
        if self.task == "multilabel":
            raise PartitionError(
                "multi-label text has no single label to be spread by; set partition.by=cluster (what texts are "
                "about) or partition.by=group (where they come from)"
            )
        return Category.of("label", cast(Sequence[str], self.labels))


def traits_of(split: Dataset, task: Task) -> Traits:
    """The traits of a split of a corpus."""
    read = KEYS[task][0]
    return Traits(
        labels=partition_labels(split, task),
        groups=list(split["group"]),
        documents=list(split["document"]),
        texts=lambda: [text if isinstance(text, str) else " ".join(text) for text in split[read]],
        task=task,
    )
