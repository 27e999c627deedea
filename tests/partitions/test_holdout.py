"""The held-out split: a partition of the rows that tears no document or text apart and leaves train every label."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from partitions.holdout import hold_out

DOCUMENTS = st.sampled_from(["", "p1", "p2", "p3", "p4", "p5", "p6"])
ROWS = st.lists(st.tuples(DOCUMENTS, st.sampled_from("aAbBcdefghij"), st.sampled_from("xyz")), max_size=30)
TASKS = st.sampled_from(["classification", "multilabel", "ner"])


def example(task: str, document: str, text: str, label: str) -> dict:
    content = {
        "classification": {"text": text, "label": label},
        "multilabel": {"text": text, "labels": [] if label == "x" else [label]},
        "ner": {"tokens": [text], "tags": ["O" if label == "x" else f"B-{label}"]},
    }
    return {"document": document, **content[task]}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(TASKS, ROWS, st.floats(0.01, 0.99), st.integers(0, 5))
def test_disjoint_covering_whole_and_repeatable(task, rows, share, seed):
    given_rows = [(f"row {n}", example(task, *row)) for n, row in enumerate(rows)]
    stay, held_out = hold_out(given_rows, task, share, rng(seed))
    assert (stay, held_out) == hold_out(given_rows, task, share, rng(seed))
    assert stay == [row for row in given_rows if row not in held_out]
    assert held_out == [row for row in given_rows if row not in stay]

    def documents(part):
        return {row["document"] for _, row in part} - {""}

    def texts(part):
        alone = (row for _, row in part if task != "ner" or not row["document"])
        return {str(row.get("text", row.get("tokens"))).casefold() for row in alone}

    def labels(part):
        values = (row.get("label", row.get("labels", row.get("tags"))) for _, row in part)
        return {label for value in values for label in value}

    assert not documents(stay) & documents(held_out)
    assert not texts(stay) & texts(held_out)
    assert labels(held_out) <= labels(stay)


def test_single_examples_are_held_out_by_the_exact_share():
    rows = [(f"row {n}", {"tokens": ["word", str(n)], "tags": ["O", "O"]}) for n in range(200)]
    stay, held_out = hold_out(rows, "ner", 0.1, rng())
    assert (len(stay), len(held_out)) == (180, 20)


def test_documents_are_chained_by_the_texts_they_share():
    chain = [("p1", "a"), ("p1", "b"), ("p2", "B"), ("p2", "c"), ("", "C"), ("p3", "d")]
    rows = [(f"row {n}", example("classification", *row, "x")) for n, row in enumerate(chain)]
    for seed in range(5):
        parts = hold_out(rows, "classification", 0.1, rng(seed))
        assert sorted(map(len, parts)) == [1, 5]
    tokens = [(f"row {n}", example("ner", *row, "x")) for n, row in enumerate(chain)]  # documents alone, but for row 4
    sizes = {len(hold_out(tokens, "ner", 0.1, rng(seed))[1]) for seed in range(20)}
    assert sizes == {1, 2}


def test_the_last_examples_of_a_label_stay():
    labels = ["a"] * 8 + ["b", "c"]
    rows = [(f"row {n}", {"text": str(n), "label": label}) for n, label in enumerate(labels)]
    stay, held_out = hold_out(rows, "classification", 0.99, rng())
    assert [row["label"] for _, row in stay] == ["a", "b", "c"]
    assert [row["label"] for _, row in held_out] == ["a"] * 7


def test_too_few_documents_hold_nothing_out():
    rows = [("row 1", {"text": "a", "label": "x"})]
    assert hold_out(rows, "classification", 0.1, rng()) == (rows, [])
    assert hold_out([], "classification", 0.1, rng()) == ([], [])
