"""The label by which each training example is spread over clients."""

from collections import Counter
from itertools import chain

from datasets import Dataset

from partitions.corpus import Task

NO_ENTITY = "none"


def partition_labels(split: Dataset, task: Task) -> list[str]:
    """One partition label an example.

    Classification: the example's label. NER: the sentence's dominant entity type, the one with the most entities (B-
    tags) in the sentence; of several, the one with the fewest entities in the whole split, so that rare types are not
    swallowed by frequent ones, then the first by name. A sentence without entities is ``"none"``: such sentences are
    spread like a class of their own.

    Args:
        split: a split of a corpus, with the columns of its task.
        task: the corpus's task.

    Returns:
        The labels, in the order of the split.
    """
    if task == "classification":
        return list(split["label"])
    sentences = [Counter(tag[2:] for tag in tags if tag.startswith("B-")) for tags in split["tags"]]
    totals = Counter(chain.from_iterable(types.elements() for types in sentences))
    return [
        min(types, key=lambda kind: (-types[kind], totals[kind], kind)) if types else NO_ENTITY for types in sentences
    ]
