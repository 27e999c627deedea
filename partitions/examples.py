"""Checks on labelled examples that come from a user's own files.

Messages never quote clinical text: they hold keys, positions, counts, and of ids and the train split's labels, which
may be text in the wrong column, only short single words (`quotable`); of tags, which a word may resemble ("I-131"),
only their form, and of unknown labels only the place.
"""

from collections.abc import Mapping
from typing import Any

from datasets import Features, List, Value

from partitions.corpus import CorpusError, Task

OUTSIDE = "O"
KEYS: dict[Task, tuple[str, str]] = {
    "ner": ("tokens", "tags"),
    "classification": ("text", "label"),
    "multilabel": ("text", "labels"),
}
"""The keys that an example must have: what is read, and its annotation."""
_TYPES = {
    "tokens": List(Value("string")),
    "tags": List(Value("string")),
    "text": Value("string"),
    "label": Value("string"),
    "labels": List(Value("string")),
}
_NAMES = {"group": Value("string"), "document": Value("string")}
FEATURES: dict[Task, Features] = {
    task: Features({"id": Value("string"), **{key: _TYPES[key] for key in keys}, **_NAMES})
    for task, keys in KEYS.items()
}
"""The columns of a split, in order."""
LONGEST_QUOTE = 60


def find_task(row: Mapping[str, Any]) -> Task:
    """The task whose keys an example has.

    Raises:
        CorpusError: if it has all keys of no task, or of several.
    """
    complete = [task for task, keys in KEYS.items() if all(key in row for key in keys)]
    if len(complete) == 1:
        return complete[0]
    if complete:
        raise CorpusError(f"has the keys of several tasks; set corpus.task to {' or '.join(complete)}")
    needed = ", ".join(f"{' and '.join(map(repr, keys))} ({task})" for task, keys in KEYS.items())
    present = sorted({key for keys in KEYS.values() for key in keys if key in row})
    found = f"of these it has only {' and '.join(map(repr, present))}" if present else "it has none of these"
    raise CorpusError(f"an example needs the keys {needed}; {found}")


def check_example(row: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """An example with the columns of its task; keys beyond those are dropped.

    Args:
        row: the keys of its task and ``id``; ``group`` and ``document`` may be absent. These three may be strings or
            integers.
        task: the corpus's task.

    Raises:
        CorpusError: at the first mistake.
    """
    _check_keys(row, task)
    read, annotation = KEYS[task]
    if task == "ner":
        _check_tokens(row[read])
        _check_tags(row[annotation], len(row[read]))
    else:
        _check_string(read, row[read])
        if task == "classification":
            _check_string(annotation, row[annotation])
        else:
            _check_labels(row[annotation])
    if not (name := _name(row, "id")):
        raise CorpusError("has no id")
    content = {key: row[key] for key in (read, annotation)}
    return {"id": name, **content, "group": _name(row, "group"), "document": _name(row, "document")}


def labels_of(example: Mapping[str, Any], task: Task) -> set[str]:
    """The entity types (ner) or the classes of a checked example."""
    if task == "ner":
        return {tag[2:] for tag in example["tags"] if tag != OUTSIDE}
    return {example["label"]} if task == "classification" else set(example["labels"])


def quotable(value: str) -> bool:
    """Whether a value from a file may stand in a message: a short word, in ASCII, as some scripts part no words."""
    return len(value) <= LONGEST_QUOTE and value.isascii() and not any(map(str.isspace, value))


def quote(value: str) -> str:
    """A name from a file for a message; one that may be text only by its length."""
    return repr(value) if quotable(value) else f"of {len(value)} characters"


def succession(tag: str, before: str) -> str:
    """A tag and the one before it for a message, without their types: "I-TYPE after B-TYPE of another type"."""
    other = " of another type" if OUTSIDE not in (tag, before) and tag[2:] != before[2:] else ""
    return f"{form(tag)} after {form(before)}{other}"


def form(tag: str) -> str:
    """A tag without its type: O, B-TYPE or I-TYPE."""
    return tag if tag == OUTSIDE else f"{tag[0]}-TYPE"


def _check_keys(row: Mapping[str, Any], task: Task) -> None:
    missing = [key for key in KEYS[task] if key not in row]
    if not missing:
        return
    for other in KEYS:
        if all(key in row for key in KEYS[other]):
            raise CorpusError(f"is a {other} example in a {task} corpus; all examples of all splits share one task")
    raise CorpusError(f"has no key {missing[0]!r}; a {task} example needs {' and '.join(map(repr, KEYS[task]))}")


def _check_tokens(tokens: Any) -> None:
    _check_strings("tokens", tokens)
    if not tokens:
        raise CorpusError("tokens is empty; expected at least one token")
    if not all(map(str.strip, tokens)):
        position = next(place for place, token in enumerate(tokens, 1) if not token.strip())
        raise CorpusError(f"token {position} of {len(tokens)} is blank")


def _check_tags(tags: Any, tokens: int) -> None:
    """IOB2: each tag is O, B-TYPE or I-TYPE, and an I-TYPE follows B-TYPE or I-TYPE."""
    _check_strings("tags", tags)
    if len(tags) != tokens:
        raise CorpusError(f"has {tokens} tokens but {len(tags)} tags; expected one tag a token")
    before = OUTSIDE
    for position, tag in enumerate(tags, 1):
        if tag != OUTSIDE:
            prefix, kind = tag[:2], tag[2:]
            if prefix not in ("B-", "I-") or not kind or kind != kind.strip():
                found = (
                    f"begins with {prefix!r}" if prefix in ("E-", "S-", "L-", "U-") else f"has {len(tag)} characters"
                )
                raise CorpusError(f"tag {position} of {tokens} {found}; expected O, B-TYPE or I-TYPE (IOB2)")
            if prefix == "I-" and before[2:] != kind:
                raise CorpusError(
                    f"tag {position} of {tokens} is {succession(tag, before)}; in IOB2 an entity begins with B-TYPE"
                )
        before = tag


def _check_labels(labels: Any) -> None:
    """Any number of labels, each once."""
    _check_strings("labels", labels)
    for position, label in enumerate(labels, 1):
        if not label.strip():
            raise CorpusError(f"label {position} of {len(labels)} is blank")
        if (first := labels.index(label) + 1) < position:
            raise CorpusError(f"label {position} of {len(labels)} repeats label {first}")


def _check_strings(key: str, values: Any) -> None:
    if not isinstance(values, list):
        raise CorpusError(f"{key} is {_kind(values)}; expected a list of strings")
    if not all(type(value) is str for value in values):
        position, value = next((place, value) for place, value in enumerate(values, 1) if type(value) is not str)
        raise CorpusError(f"{key}: item {position} of {len(values)} is {_kind(value)}; expected strings")


def _check_string(key: str, value: Any) -> None:
    if not isinstance(value, str):
        raise CorpusError(f"{key} is {_kind(value)}; expected a string")
    if not value.strip():
        raise CorpusError(f"{key} is empty")


def _name(row: Mapping[str, Any], key: str) -> str:
    """An optional string or integer as a string; empty when absent."""
    value = row.get(key)
    if value is None:
        return ""
    if type(value) not in (str, int):
        raise CorpusError(f"{key} is {_kind(value)}; expected a string or an integer")
    return str(value)


def _kind(value: Any) -> str:
    """What a value is: in JSON's own words, or by its Python type where JSON has none such."""
    if value is None:
        return "null"
    kinds = {
        bool: "a boolean",
        int: "an integer",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    return kinds.get(type(value), f"of the type {type(value).__name__}")
