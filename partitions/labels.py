"""The label by which each training example is spread over clients."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain

from datasets import Dataset

from partitions.corpus import Task

NO_ENTITY = "none"
"""No entity type may be called so; `partitions.assembly.assemble` refuses it."""
Labels = Sequence[str] | Sequence[Sequence[str]]
"""One label an example, or for multi-label text a list of labels an example."""


def partition_labels(split: Dataset, task: Task) -> Labels:
    """The labels of each example that its client is described by.

    Classification: the example's label. NER: the sentence's dominant entity type, the one with the most entities (B-
    tags) in the sentence; of several, the one with the fewest entities in the whole split, so that rare types are not
    swallowed by frequent ones, then the first by name. A sentence without entities is ``"none"``: such sentences are
    spread like a class of their own. Multi-label: all labels of the text, which can then only be spread by something
    else (group, cluster) or evenly.

    Args:
        split: a split of a corpus, with the columns of its task.
        task: the corpus's task.

    Returns:
        The labels, in the order of the split.
    """
    if task != "ner":
        return list(split["label" if task == "classification" else "labels"])
    sentences = [Counter(tag[2:] for tag in tags if tag.startswith("B-")) for tags in split["tags"]]
    totals = Counter(chain.from_iterable(types.elements() for types in sentences))
    return [
        min(types, key=lambda kind: (-types[kind], totals[kind], kind)) if types else NO_ENTITY for types in sentences
    ]
