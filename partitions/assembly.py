"""A corpus from the examples of its three splits, each checked and named by where it stands."""

from collections.abc import Iterable, Mapping
from typing import Any

from datasets import Dataset

from partitions.corpus import Corpus, CorpusError, Task
from partitions.examples import FEATURES, KEYS, check_example, find_task, labels_of, quotable, quote
from partitions.labels import NO_ENTITY

MOST_LISTED = 20
"""Labels listed in a message; more are counted."""
ENOUGH_TO_TELL = 20
"""From so many classes given in a train split on, more than half as many different ones are taken for text."""

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
        labels: entity types or classes; by default those of the train split, where classes that mostly differ are
            refused (`ENOUGH_TO_TELL`): as labels they would stand in messages, records and pictures.

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
                    raise CorpusError(f"{_first(unknown, example, task)} is not among {where}: {_listed(known, given)}")
            except CorpusError as error:
                raise CorpusError(f"{place}: {error}") from None
            places[example["id"]] = place
            known |= unknown
            examples.append(example)
        if not examples or task is None:
            raise CorpusError(f"{origin}: holds no examples")
        if split == "train":
            _check_labels(origin, examples, task, known, given)
        columns = {key: [example[key] for example in examples] for key in FEATURES[task]}
        tables[split] = Dataset.from_dict(columns, features=FEATURES[task])
    assert task is not None
    return Corpus(name, task, tuple(sorted(known)), tables)


def _check_labels(origin: str, examples: list[dict[str, Any]], task: Task, known: set[str], given: bool) -> None:
    """Check the labels that a train split has, and those of the corpus: given with it, or else told from the split."""
    count = sum(len(labels_of(example, task)) for example in examples)
    if task == "ner":
        if not known:
            raise CorpusError(f"{origin}: none of its {len(examples)} sentences holds an entity; expected B- tags")
        if NO_ENTITY in known:
            raise CorpusError(
                f"{origin}: an entity type is called {NO_ENTITY!r}, which stands for sentences without entities where "
                "examples are spread over clients; give it another name"
            )
    elif not count:
        raise CorpusError(f"{origin}: none of its {len(examples)} texts has a label")
    elif not given and count >= ENOUGH_TO_TELL and len(known) > count / 2:
        raise CorpusError(
            f"{origin}: {len(known)} different labels among the {count} of its {len(examples)} examples; is the text "
            "in the label column? corpus.labels names the labels"
        )


def _first(unknown: set[str], example: Mapping[str, Any], task: Task) -> str:
    """The first of an example's labels that is unknown, by its place: it may be text."""
    annotation = example[KEYS[task][1]]
    if task == "classification":
        return f"its label ({len(annotation)} characters)"
    names = [tag[2:] for tag in annotation] if task == "ner" else annotation
    position, name = next((place, name) for place, name in enumerate(names, 1) if name in unknown)
    what = "the type of tag" if task == "ner" else "label"
    return f"{what} {position} of {len(names)} ({len(name)} characters)"


def _listed(labels: Iterable[str], given: bool) -> str:
    """Labels for a message: all where the user gave them, else those that cannot be text; the others are counted."""
    names = sorted(labels)
    if len(names) > MOST_LISTED:
        return f"{len(names)} labels"
    shown = [repr(name) for name in names if given or quotable(name)]
    others = len(names) - len(shown)
    return ", ".join(shown + [f"{others} {'more' if shown else 'labels'}"] * bool(others))
