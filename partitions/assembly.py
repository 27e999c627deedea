"""A corpus from the examples of its three splits, each checked and named by where it stands."""

from collections.abc import Iterable, Mapping
from typing import Any

from datasets import Dataset

from partitions.corpus import Corpus, CorpusError, Task
from partitions.examples import FEATURES, check_example, find_task, labels_of, quote

MOST_LISTED = 20
"""Labels listed in a message; more are counted."""

Rows = Iterable[tuple[str, Mapping[str, Any]]]
"""Examples as `partitions.examples.check_example` takes them, each with its place: "FILE, line 3"."""


def assemble(
    name: str,
    splits: Mapping[str, tuple[str, Rows]],
    task: Task | None = None,
    labels: Iterable[str] | None = None,
) -> Corpus:
    """Check the examples of the three splits and lay them out as tables.

    Args:
        name: of the corpus.
        splits: train first, then validation and test, each with its origin (file or folder, for messages) and rows.
        task: by default told from the keys of the first example.
        labels: entity types or classes; by default those of the train split.

    Raises:
        CorpusError: at the first mistake, naming its place, never quoting clinical text.
    """
    given = labels is not None
    known = set(labels or ())
    tables = {}
    for split, (origin, rows) in splits.items():
        examples: list[dict[str, Any]] = []
        places: dict[str, str] = {}
        for place, row in rows:
            try:
                task = task or find_task(row)
                example = check_example(row, task)
                if first := places.get(example["id"]):
                    raise CorpusError(f"id {quote(example['id'])} is already at {first}")
                unknown = labels_of(example, task) - known
                if unknown and (split != "train" or given):
                    where = "corpus.labels" if given else "the train split's"
                    raise CorpusError(f"label {quote(min(unknown))} is not among {where}: {_listed(known)}")
            except CorpusError as error:
                raise CorpusError(f"{place}: {error}") from None
            places[example["id"]] = place
            known |= unknown
            examples.append(example)
        if not examples or task is None:
            raise CorpusError(f"{origin}: holds no examples")
        if not known:
            what = "sentences holds an entity; expected B- tags" if task == "ner" else "texts has a label"
            raise CorpusError(f"{origin}: none of its {len(examples)} {what}")
        columns = {key: [example[key] for example in examples] for key in FEATURES[task]}
        tables[split] = Dataset.from_dict(columns, features=FEATURES[task])
    assert task is not None
    return Corpus(name, task, tuple(sorted(known)), tables)


def _listed(labels: Iterable[str]) -> str:
    names = sorted(labels)
    return ", ".join(map(quote, names)) if len(names) <= MOST_LISTED else f"{len(names)} labels"
