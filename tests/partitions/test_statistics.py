"""Partition statistics against numbers derived by hand."""

import hashlib
import json
import struct
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partitions import statistics
from partitions.category import Category
from partitions.examples import LONGEST_QUOTE
from partitions.partition import Partition
from partitions.statistics import client_table, describe, label_counts, mean_pairwise_divergence, recorded_groups

# Client 0 holds a, a, b, b; client 1 holds a, a; client 2 holds b, b. All: 4 a and 4 b.
LABELS = ["a", "a", "b", "a", "b", "b", "a", "b"]
PARTITION = Partition(3, np.array([0, 1, 0, 1, 2, 0, 0, 2]))
LENGTHS = [3, 5, 7, 11, 13, 17, 19, 23]
# JS of (1/2, 1/2) and (1, 0): mixture (3/4, 1/4) with H = 2 - 3/4 log2(3) bits = 0.811278; less (1 + 0) / 2.
HALF_TO_ONE = 2 - 0.75 * np.log2(3) - 0.5
# JS of (1, 0) and (0, 1): mixture (1/2, 1/2), H = 1 bit; less 0.
MEAN_DIVERGENCE = (2 * HALF_TO_ONE + 1) / 3


def test_label_counts():
    counts = label_counts(PARTITION, LABELS)
    assert counts.to_numpy().tolist() == [[2, 2], [2, 0], [0, 2]]
    assert (counts.index.tolist(), counts.columns.tolist()) == ([0, 1, 2], ["a", "b"])


def test_client_table():
    table = client_table(label_counts(PARTITION, LABELS))
    assert table["effective_classes"].tolist() == pytest.approx([2, 1, 1])
    assert table["total_variation"].tolist() == pytest.approx([0, 0.5, 0.5])


def test_effective_classes_of_an_uneven_mixture():
    # H(3/4, 1/4) = ln 4 - 3/4 ln 3, so exp(H) = 4 / 3^(3/4).
    table = client_table(pd.DataFrame([[3, 1]], columns=["a", "b"]))
    assert table["effective_classes"].iloc[0] == pytest.approx(4 / 3**0.75)


def test_mean_pairwise_divergence():
    assert mean_pairwise_divergence(label_counts(PARTITION, LABELS)) == pytest.approx(MEAN_DIVERGENCE)


@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=2, max_size=9))
def test_divergence_is_the_mean_over_all_pairs(rows):
    counts = pd.DataFrame(rows)
    shares = [np.array(row) / sum(row) for row in rows if sum(row)]

    def entropy(p):
        return -sum(value * np.log2(value) for value in p if value > 0)

    pairs = [entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2 for p, q in combinations(shares, 2)]
    divergence = mean_pairwise_divergence(counts)
    if pairs:
        assert divergence == pytest.approx(np.mean(pairs), abs=1e-12)
        assert 0 <= divergence <= 1 + 1e-12
    else:
        assert np.isnan(divergence)


def test_divergence_of_a_sample_of_pairs_is_close_and_repeatable(monkeypatch):
    counts = pd.DataFrame(np.random.default_rng(0).multinomial(50, np.random.default_rng(1).dirichlet([0.5] * 6, 400)))
    exact = mean_pairwise_divergence(counts)
    monkeypatch.setattr(statistics, "MAX_DIVERGENCE_TERMS", 20 * counts.size)
    sampled = mean_pairwise_divergence(counts)
    assert sampled != exact
    assert sampled == pytest.approx(exact, rel=0.03)
    assert mean_pairwise_divergence(counts) == sampled


def test_describe_is_the_record_of_the_run_folder():
    record = describe(PARTITION, LABELS, LENGTHS)
    assert list(record) == ["labels", "split", "skewed_by", "statistics", "clients"]
    assert (record["labels"], record["split"], record["skewed_by"]) == (["a", "b"], "train", None)
    assert record["statistics"] == {
        "clients": 3,
        "examples": 8,
        "examples_min": 2,
        "examples_median": 2.0,
        "examples_max": 4,
        "effective_classes_all": pytest.approx(2),
        "effective_classes_mean": pytest.approx(4 / 3),
        "js_divergence_bits": pytest.approx(MEAN_DIVERGENCE),
        "total_variation_mean": pytest.approx(1 / 3),
        "total_variation_max": pytest.approx(0.5),
    }
    assert record["clients"] == [
        {
            "client": client,
            "examples": len(indices),
            "tokens": tokens,
            "label_counts": label_counts,
            "effective_classes": pytest.approx(effective),
            "total_variation": pytest.approx(distance),
            "indices_sha256": hashlib.sha256(struct.pack(f"<{len(indices)}q", *indices)).hexdigest(),
        }
        for client, (indices, tokens, label_counts, effective, distance) in enumerate(
            [
                ([0, 2, 5, 6], 3 + 7 + 17 + 19, {"a": 2, "b": 2}, 2, 0),
                ([1, 3], 5 + 11, {"a": 2}, 1, 0.5),
                ([4, 7], 13 + 23, {"b": 2}, 1, 0.5),
            ]
        )
    ]
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_describe_one_client_and_an_empty_client():
    alone = describe(Partition(1, np.zeros(3, dtype=int)), ["a", "a", "b"], np.array([1, 2, 3]))
    assert alone["statistics"]["js_divergence_bits"] is None
    assert alone["statistics"]["total_variation_mean"] == 0
    record = describe(Partition(2, np.zeros(2, dtype=int)), ["a", "a"], [1, 1])
    assert record["clients"][1] == {
        "client": 1,
        "examples": 0,
        "tokens": 0,
        "label_counts": {},
        "effective_classes": None,
        "total_variation": None,
        "indices_sha256": hashlib.sha256(b"").hexdigest(),
    }
    assert record["statistics"]["effective_classes_mean"] == 1
    json.dumps(record, allow_nan=False)


def test_describe_without_lengths_has_no_tokens():
    assert "tokens" not in describe(PARTITION, LABELS)["clients"][0]


def test_describe_counts_every_label_of_multi_label_text():
    # Client 0 holds {a, b} and {a}: shares 2/3 and 1/3. Client 1 holds {b} and a text without any. Together 1/2.
    record = describe(Partition(2, np.array([0, 0, 1, 1])), [["a", "b"], ["a"], ["b"], []])
    assert [client["label_counts"] for client in record["clients"]] == [{"a": 2, "b": 1}, {"b": 1}]
    assert [client["examples"] for client in record["clients"]] == [2, 2]
    assert [client["total_variation"] for client in record["clients"]] == pytest.approx([1 / 6, 1 / 2])
    assert record["statistics"]["examples"] == 4


def test_describe_counts_groups_where_there_are_any():
    # Groups of client 0: x, x, y, y; of client 1: x, x; of client 2: y, y: as the labels, so the same statistics.
    groups = [{"a": "x", "b": "y"}[label] for label in LABELS]
    record = describe(PARTITION, LABELS, groups=groups)
    assert record["groups"] == ["x", "y"]
    assert record["group_statistics"] == {
        name: value for name, value in record["statistics"].items() if not name.startswith(("clients", "examples"))
    }
    assert record["clients"][1]["group_counts"] == {"x": 2}
    assert record["clients"][1]["group_total_variation"] == 0.5
    assert "groups" not in describe(PARTITION, LABELS, groups=[""] * 8)


def test_groups_that_may_be_text_are_recorded_by_number():
    """Patients and complaints recur as wards do: only a short single word is surely no text."""
    assert recorded_groups(["ICU", "site-A", "", "ICU"]) == ["ICU", "site-A", "", "ICU"]
    assert recorded_groups(["chest pain", "ICU", "Ann Lee"] * 5) == ["group 2", "ICU", "group 1"] * 5
    assert recorded_groups(["胸痛", "x" * (LONGEST_QUOTE + 1)]) == ["group 2", "group 1"]
    many = [f"seen for pain {number:02}" for number in range(12)]
    assert recorded_groups(many) == [f"group {number:02}" for number in range(1, 13)]
    record = describe(PARTITION, LABELS, groups=["seen for pain", "afebrile today"] * 4)
    assert record["groups"] == ["group 1", "group 2"]
    assert "pain" not in str(record)


def test_no_two_groups_get_one_name():
    groups = ["group 1", "group 2", "Ann Lee", "group-1", "group 10"]
    assert len(set(recorded_groups(groups))) == 5
    # Sorted: Ann Lee, group 1, group 10, group 2.
    assert recorded_groups(groups) == ["group 2", "group 4", "group 1", "group-1", "group 3"]


@given(st.lists(st.text(alphabet="gr oup 0123", max_size=8)))
def test_groups_stay_as_many_as_they_were(groups):
    named = recorded_groups(groups)
    assert len(set(zip(groups, named, strict=True))) == len(set(groups)) == len(set(named))


def test_describe_says_what_the_partition_is_skewed_by():
    clusters = Category.of("cluster", ["1", "1", "2", "1", "2", "2", "1", "2"])
    record = describe(Partition(3, PARTITION.owners, clusters), LABELS)
    assert record["skewed_by"] == "cluster"
    assert record["clusters"] == ["1", "2"]
    assert record["clients"][2]["cluster_counts"] == {"2": 2}
    labels = Category.of("label", LABELS)
    assert describe(Partition(3, PARTITION.owners, labels), LABELS)["skewed_by"] == "label"
    assert json.loads(json.dumps(record, allow_nan=False)) == record
