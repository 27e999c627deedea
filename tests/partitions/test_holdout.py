"""The held-out split: a partition of the rows that tears no document and no text apart."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from partitions.holdout import hold_out

ROWS = st.lists(st.tuples(st.sampled_from(["", "p1", "p2", "p3", "p4"]), st.sampled_from("aAbBcd")), max_size=30)


@given(ROWS, st.floats(0.01, 0.99), st.integers(0, 5))
def test_disjoint_covering_whole_and_repeatable(rows, share, seed):
    given_rows = [(f"row {n}", {"document": document, "text": text}) for n, (document, text) in enumerate(rows)]
    stay, held_out = hold_out(given_rows, share, np.random.default_rng(seed))
    assert (stay, held_out) == hold_out(given_rows, share, np.random.default_rng(seed))
    assert stay == [row for row in given_rows if row not in held_out]
    assert held_out == [row for row in given_rows if row not in stay]
    assert len(held_out) >= share * len(rows)

    def units(part):
        return {row["document"] or ("text", row["text"].casefold()) for _, row in part}

    assert not units(stay) & units(held_out)


def test_single_examples_are_held_out_by_the_exact_share():
    rows = [(f"row {n}", {"tokens": ["word", str(n)]}) for n in range(200)]
    stay, held_out = hold_out(rows, 0.1, np.random.default_rng(0))
    assert (len(stay), len(held_out)) == (180, 20)


def test_too_few_documents_leave_nothing():
    assert hold_out([("row 1", {"text": "a"})], 0.1, np.random.default_rng(0)) == ([], [("row 1", {"text": "a"})])
