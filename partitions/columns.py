"""Tables of whatever columns as labelled examples: which column holds what, and what its integers stand for."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from datasets import Features
from pydantic import BaseModel, ConfigDict, Field, model_validator

from partitions.assembly import Rows, assemble
from partitions.corpus import SPLITS, Corpus, CorpusError, Task
from partitions.examples import KEYS, labels_of
from partitions.holdout import hold_out
from partitions.reader import CorpusReader, Name, Names

Split = Literal["train", "validation", "test"]

IDENTITY = ("id", "group", "document")
LISTS = ("tokens", "tags", "labels")


class Columns(BaseModel):
    """The column of each key of an example; by default that of the key's own name, where there is one.

    Attributes:
        text: what is read (classification, multilabel).
        tokens: what is read, as tokens (ner).
        label: the class (classification).
        labels: the classes (multilabel).
        tags: the IOB2 tags (ner).
        id: unique in its split; by default ``<split>-<number>``, the number being that of its line (CSV, TSV) or row.
        group: the natural origin, such as the hospital.
        document: the note or patient that the example is part of.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Name | None = None
    tokens: Name | None = None
    label: Name | None = None
    labels: Name | None = None
    tags: Name | None = None
    id: Name | None = None
    group: Name | None = None
    document: Name | None = None

    @model_validator(mode="after")
    def _of_one_task(self) -> "Columns":
        if not self._tasks():
            choices = ", ".join(f"{' and '.join(keys)} ({task})" for task, keys in KEYS.items())
            raise ValueError(f"expected columns for one task: {choices}")
        return self

    @property
    def task(self) -> Task | None:
        """The task, where a column is named that no other task has."""
        tasks = self._tasks()
        return tasks[0] if len(tasks) == 1 else None

    def among(self, present: Sequence[str], header: bool = False) -> tuple[Task, dict[str, str]]:
        """The task that a table has columns for, and the column of each key: of the task's, and of `IDENTITY`.

        Args:
            present: the columns of the table.
            header: whether that is the first line of a file, which in one without a header is text.

        Raises:
            CorpusError: if a named column is missing, or the table has columns for no task or for several.
        """
        named = self.model_dump(exclude_none=True)
        for key, column in named.items():
            if column not in present:
                raise CorpusError(f"has no column {column!r} (corpus.columns.{key}); {_listed(present, header)}")
        found = {key: key for key in type(self).model_fields if key in present} | named
        complete = [task for task in self._tasks() if all(key in found for key in KEYS[task])]
        if not complete:
            needed = " or ".join(f"{' and '.join(KEYS[task])} ({task})" for task in self._tasks())
            raise CorpusError(f"needs columns for {needed}; name them in corpus.columns; {_listed(present, header)}")
        if len(complete) > 1:
            choices = " or ".join(f"corpus.columns.{KEYS[task][1]}" for task in complete)
            raise CorpusError(f"has columns for several tasks; name the one to learn in {choices}")
        (task,) = complete
        return task, {key: column for key, column in found.items() if key in (*KEYS[task], *IDENTITY)}

    def _tasks(self) -> list[Task]:
        """The tasks that all named columns belong to."""
        named = set(self.model_dump(exclude_none=True)).difference(IDENTITY)
        return [task for task, keys in KEYS.items() if named <= set(keys)]


class Table(NamedTuple):
    """A split whose columns are still the user's own.

    Attributes:
        origin: file, or data set and split, for messages.
        columns: their names.
        classes: column -> the names of its integers from 0, where the data themselves give them.
        read: from some columns' names to the rows, each with its number and as column -> value.
        unit: what is numbered: a ``line`` of the file, or a ``row``, from 1.
    """

    origin: str
    columns: Sequence[str]
    classes: Mapping[str, Sequence[str]]
    read: Callable[[list[str]], Iterator[tuple[int, Mapping[str, Any]]]]
    unit: Literal["line", "row"] = "row"


def class_names(features: Features) -> dict[str, list[str]]:
    """The columns of ``ClassLabel`` integers, or of lists of these, with their names."""
    inner = {column: getattr(feature, "feature", feature) for column, feature in features.items()}
    return {column: feature.names for column, feature in inner.items() if hasattr(feature, "names")}


class ColumnReader(CorpusReader):
    """What readers of tables have in common.

    Attributes:
        columns: which column holds what.
        label_names: what integer tags or labels stand for: a list that counts from 0, or ``{1: neoplasms, ...}``. By
            default as the data say (the class names that `datasets` stores).
        labels: the entity types or classes; by default those of the names of integers, else of the train split. Given
            together with the column of tags, label or labels, the corpus can be planned for before its data exist.
        separator: what lies between the items of tokens, tags or labels, where a list is one string.
        splits: where train, validation and test lie, if not under these names.
        holdout: share of the train examples to hold out as validation, in place of a split of its own. Documents stay
            whole, examples of the same text stay together, and train keeps every label (`partitions.holdout`).
        seed: of the draw of what is held out.
    """

    columns: Columns = Columns()
    label_names: Names | Annotated[dict[int, Name], Field(min_length=1)] | None = None
    labels: Names | None = None
    separator: Name | None = None
    splits: Annotated[dict[Split, Name], Field(default_factory=dict)]
    holdout: Annotated[float | None, Field(gt=0, lt=1)] = None
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _one_validation_split(self) -> "ColumnReader":
        if self.holdout and "validation" in self.splits:
            raise ValueError("give holdout or splits.validation, not both")
        return self

    def __hash__(self) -> int:
        """Equal settings have equal hashes; the mappings among them have none of their own."""
        return hash(json.dumps(self.model_dump(mode="json"), sort_keys=True))

    def declared(self) -> tuple[Task | None, set[str] | None]:
        """The task, where a column of its own is named, and then the labels, where they or integers have names."""
        task = self.columns.task
        return task, self._labels(task, self._integers()) if task else None

    def sources(self) -> dict[str, str]:
        """Split -> its name in the data, for the splits that the data must have."""
        names = {split: split for split in SPLITS if split != "validation" or not self.holdout}
        return names | {**self.splits}

    def corpus_of(self, name: str, tables: Mapping[str, Table]) -> Corpus:
        """The corpus of the tables of `sources`.

        Raises:
            CorpusError: at the first mistake, naming the table and its line or row.
        """
        task, _, integers = self._layout(tables["train"])
        rows: dict[str, Rows] = {split: self._rows(split, table) for split, table in tables.items()}
        if self.holdout:
            origin, whole = tables["train"].origin, list(rows["train"])
            train, held_out = hold_out(whole, task, self.holdout, np.random.default_rng(self.seed))
            if bool(train) != bool(held_out):
                # A row that is wrong is told of first.
                assemble(name, {"train": (origin, whole)}, task, self._labels(task, integers))
                raise CorpusError(f"{origin}: too few documents or texts of each label to hold some out")
            rows = rows | {"train": train, "validation": held_out}
        origins = {split: tables[split if split in tables else "train"].origin for split in SPLITS}
        splits = {split: (origins[split], rows[split]) for split in SPLITS}
        return assemble(name, splits, task, self._labels(task, integers))

    def _layout(self, table: Table) -> tuple[Task, dict[str, str], Mapping[int, str]]:
        """The task of a table, the column of each key, and what integer tags or labels stand for."""
        try:
            task, columns = self.columns.among(table.columns, header=table.unit == "line")
        except CorpusError as error:
            raise CorpusError(f"{table.origin}: {error}") from None
        stored = table.classes.get(columns[KEYS[task][1]], ())
        return task, columns, self._integers() or dict(enumerate(stored))

    def _integers(self) -> Mapping[int, str]:
        names = self.label_names or ()
        return names if isinstance(names, dict) else dict(enumerate(names))

    def _labels(self, task: Task, integers: Mapping[int, str]) -> set[str] | None:
        if self.labels:
            return set(self.labels)
        names = list(integers.values())
        return (labels_of({"tags": names}, task) if task == "ner" else set(names)) or None

    def _rows(self, split: str, table: Table) -> Rows:
        task, columns, integers = self._layout(table)
        annotation = KEYS[task][1]
        strings = {str(code): name for code, name in integers.items()} | {name: name for name in integers.values()}
        for number, values in table.read(list(dict.fromkeys(columns.values()))):
            place = f"{table.origin}, {table.unit} {number}"
            row = {key: values[column] for key, column in columns.items()}
            try:
                for key in filter(columns.__contains__, LISTS):
                    row[key] = self._list(key, row[key])
                row[annotation] = _translated(annotation, row[annotation], integers, strings)
            except CorpusError as error:
                raise CorpusError(f"{place}: {error}") from None
            if row.get("id") in (None, ""):
                row["id"] = f"{split}-{number}"
            yield place, row

    def _list(self, key: str, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if self.separator is None:
            raise CorpusError(f"{key} is a string; set corpus.separator to what lies between its items")
        return [item.strip() for item in value.split(self.separator)] if value.strip() else []


def _translated(key: str, value: Any, integers: Mapping[int, str], strings: Mapping[str, str]) -> Any:
    """Tags or labels with names in place of integers, and of what stands for an integer in a file of strings."""
    if isinstance(value, list):
        return [_translated(key, item, integers, strings) for item in value]
    if isinstance(value, str):
        return strings.get(value, value)
    if type(value) is not int:
        return value
    if not integers:
        raise CorpusError(f"{key}: holds integers; set corpus.label_names to what they stand for")
    if value not in integers:
        raise CorpusError(f"{key}: {value} is none of the {len(integers)} integers that have a name")
    return integers[value]


def _listed(columns: Sequence[str], header: bool) -> str:
    """The columns for a message; of a header, and of what does not look like a name, only how many there are."""
    if header:
        return f"its first line, the header, has {len(columns)} columns"
    names = [repr(column) for column in columns if re.fullmatch(r"[\w.-]{1,40}", column)]
    others = len(columns) - len(names)
    return f"its columns: {', '.join(names + [f'{others} more'] * bool(others))}"
