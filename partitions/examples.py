"""Checks on labelled examples that come from a user's own files.

Messages never quote clinical text: they hold keys, positions, counts, ids, tags and labels, and of these no long or
malformed value, which might be text in the wrong column.
"""

from collections.abc import Mapping
from typing import Any

from datasets import Features, List, Value

from partitions.corpus import CorpusError, Task

OUTSIDE = "O"
KEYS: dict[Task, tuple[str, str]] = {"ner": ("tokens", "tags"), "classification": ("text", "label")}
"""The keys that an example must have: what is read, and its annotation."""
FEATURES: dict[Task, Features] = {
    "ner": Features(
        id=Value("string"), tokens=List(Value("string")), tags=List(Value("string")), group=Value("string")
    ),
    "classification": Features(id=Value("string"), text=Value("string"), label=Value("string"), group=Value("string")),
}
"""The columns of a split, in order."""
LONGEST_QUOTE = 60


def find_task(row: Mapping[str, Any]) -> Task:
    """The task whose keys an example has.

    Raises:
        CorpusError: if it has all keys of no task, or of both.
    """
    complete = [task for task, keys in KEYS.items() if all(key in row for key in keys)]
    if len(complete) == 1:
        return complete[0]
    if complete:
        raise CorpusError("has the keys of both tasks; set corpus.task to ner or classification")
    for keys in KEYS.values():
        present = [key for key in keys if key in row]
        if present:
            (missing,) = set(keys) - set(present)
            raise CorpusError(f"has the key {present[0]!r} but no key {missing!r}")
    raise CorpusError("has neither the keys 'tokens' and 'tags' (ner) nor 'text' and 'label' (classification)")


def check_example(row: Mapping[str, Any], task: Task, default_id: str) -> dict[str, Any]:
    """An example with the columns of its task; keys beyond those are dropped.

    Args:
        row: ``tokens`` and ``tags`` (ner) or ``text`` and ``label`` (classification); ``id`` and ``group`` may be
            strings, integers or absent.
        task: the corpus's task.
        default_id: the id of an example without one.

    Raises:
        CorpusError: at the first mistake.
    """
    _check_keys(row, task)
    if task == "ner":
        tokens, tags = row["tokens"], row["tags"]
        _check_tokens(tokens)
        _check_tags(tags, len(tokens))
        content = {"tokens": tokens, "tags": tags}
    else:
        text, label = row["text"], row["label"]
        _check_string("text", text)
        _check_string("label", label)
        content = {"text": text, "label": label}
    return {"id": _name(row, "id") or default_id, **content, "group": _name(row, "group")}


def labels_of(example: Mapping[str, Any], task: Task) -> set[str]:
    """The entity types (ner) or the class (classification) of a checked example."""
    if task == "ner":
        return {tag[2:] for tag in example["tags"] if tag != OUTSIDE}
    return {example["label"]}


def quote(value: str) -> str:
    """A name for a message; a long one, which may be text, only by its length."""
    return repr(value) if len(value) <= LONGEST_QUOTE else f"of {len(value)} characters"


def _check_keys(row: Mapping[str, Any], task: Task) -> None:
    missing = [key for key in KEYS[task] if key not in row]
    if not missing:
        return
    (other,) = set(KEYS) - {task}
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
                    f"tag {position} of {tokens} is {quote(tag)} after {quote(before)}; "
                    f"in IOB2 an entity begins with {quote('B-' + kind)}"
                )
        before = tag


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
    """What a JSON value is, in JSON's own words."""
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
    return kinds[type(value)]
