"""Partitions: every example has one owner, the same seed gives the same owners, and alpha sets the skew."""

import importlib
from functools import cache

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from partitions.labels import partition_labels
from partitions.partition import Partition, PartitionError
from partitions.partitioners import PARTITIONERS
from partitions.partitioners.base import fill_up
from partitions.partitioners.dirichlet import Dirichlet, systematic_round
from partitions.partitioners.iid import Iid
from partitions.statistics import client_table, label_counts

BALANCED = np.repeat([f"label {index}" for index in range(5)], 400)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def owners(partition: Partition) -> list[int]:
    return partition.owners.tolist()


@st.composite
def tasks(draw):
    """A partitioner and labels that it can spread."""
    clients, min_size = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    size = draw(st.integers(clients * min_size, clients * min_size + 60))
    labels = draw(st.lists(st.sampled_from("abcd"), min_size=size, max_size=size))
    alpha = draw(st.sampled_from([5e-324, 1e-3, 0.1, 0.5, 1.0, 100.0, 1e9]))
    partitioner = draw(
        st.sampled_from(
            [Iid(clients=clients, min_size=min_size), Dirichlet(clients=clients, min_size=min_size, alpha=alpha)]
        )
    )
    return partitioner, labels, draw(st.integers(0, 2**32))


@settings(max_examples=200, deadline=None)
@given(tasks())
def test_disjoint_covering_deterministic_and_never_too_small(task):
    partitioner, labels, seed = task
    partition = partitioner.split(labels, rng(seed))
    shards = [partition.indices(client) for client in range(partition.num_clients)]
    assert partition.num_clients == partitioner.clients
    assert sorted(np.concatenate(shards).tolist()) == list(range(len(labels)))
    assert all(shard.dtype == np.int64 and (np.diff(shard) > 0).all() for shard in shards)
    assert partition.sizes.tolist() == [len(shard) for shard in shards]
    assert partition.sizes.min() >= partitioner.min_size
    assert owners(partitioner.split(np.array(labels), rng(seed))) == owners(partition)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 20), st.integers(1, 200), st.integers(0, 2**32))
def test_iid_sizes_differ_by_at_most_one(clients, extra, seed):
    sizes = Iid(clients=clients).split(["x"] * (clients + extra), rng(seed)).sizes
    assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("partitioner", [Iid(clients=4), Dirichlet(clients=4)])
def test_another_seed_gives_another_partition(partitioner):
    assert owners(partitioner.split(BALANCED, rng(1))) != owners(partitioner.split(BALANCED, rng(2)))


def test_the_names_of_labels_play_no_part_but_their_order():
    renamed = np.char.replace(BALANCED, "label", "type")
    assert owners(Dirichlet().split(BALANCED, rng())) == owners(Dirichlet().split(renamed, rng()))


@cache
def skew(alpha: float) -> float:
    """Mean total variation of clients to all examples, over clients and ten seeds."""
    partitioner = Dirichlet(clients=10, alpha=alpha)
    tables = [client_table(label_counts(partitioner.split(BALANCED, rng(seed)), BALANCED)) for seed in range(10)]
    return float(np.mean([table["total_variation"].mean() for table in tables]))


def test_smaller_alpha_means_more_skew():
    skews = [skew(alpha) for alpha in (0.01, 0.1, 0.5, 1.0, 10.0, 100.0)]
    assert skews == sorted(skews, reverse=True)
    assert skews[0] > 0.6
    assert skews[-1] < 0.1


def test_alpha_of_a_million_is_iid():
    # 5 labels of 400 examples over 10 clients: 40 of each label, rounded down or up from shares within 0.1 % of 1/10.
    counts = label_counts(Dirichlet(clients=10, alpha=1e6).split(BALANCED, rng()), BALANCED)
    assert counts.to_numpy().min() >= 39
    assert counts.to_numpy().max() <= 41


def test_rounding_favours_no_client():
    # 3 examples of each of 200 labels over 10 clients: 60 examples a client in expectation, standard deviation
    # sqrt(200 * 0.3 * 0.7) = 6.5. Cuts rounded without a random start would serve the same three clients every time.
    labels = np.repeat(np.arange(200), 3).astype(str)
    sizes = Dirichlet(clients=10, alpha=1e6).split(labels, rng()).sizes
    assert sizes.min() > 60 - 4 * 6.5
    assert sizes.max() < 60 + 4 * 6.5


def test_dirichlet_sizes_and_mixtures_both_differ():
    counts = label_counts(Dirichlet(clients=10, alpha=0.5).split(BALANCED, rng()), BALANCED)
    sizes = counts.sum(axis="columns")
    assert sizes.max() > 2 * sizes.min()
    assert (counts.sum(axis="index") == 400).all()


def test_systematic_rounding_by_hand():
    # Cuts of 10 at the cumulated shares: 2.5, 5, 10. Start 0: 2, 5, 10. Start 0.5: floor(3.0), floor(5.5), 10.
    shares = np.array([0.25, 0.25, 0.5])
    assert systematic_round(shares, 10, 0.0).tolist() == [2, 3, 5]
    assert systematic_round(shares, 10, 0.5).tolist() == [3, 2, 5]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.integers(0, 10**6), st.floats(0, 1, exclude_max=True))
def test_systematic_rounding_rounds_down_or_up(weights, total, start):
    shares = (np.array(weights) + 1e-9) / (np.array(weights) + 1e-9).sum()
    counts = systematic_round(shares, total, start)
    assert counts.sum() == total
    assert counts.min() >= 0
    assert (np.abs(counts - shares * total) < 1 + 1e-6).all()


def test_fill_up_levels_the_largest_clients_down():
    # Sizes 10, 7, 1, 0 with at least 3 each: 2 + 3 examples are missing. Levelled to 6 the largest give 4 + 1 = 5.
    before = np.repeat([0, 1, 2], [10, 7, 1])
    after = fill_up(before, 4, 3, rng())
    assert np.bincount(after).tolist() == [6, 6, 3, 3]
    moved = before != after
    assert set(after[moved]) == {2, 3}
    assert set(before[moved]) == {0, 1}
    assert moved.sum() == 5


def test_fill_up_can_need_every_example():
    assert np.bincount(fill_up(np.zeros(12, dtype=np.int64), 4, 3, rng())).tolist() == [3, 3, 3, 3]


def test_fill_up_leaves_a_good_assignment_and_the_generator_alone():
    generator = rng()
    before = np.array([0, 1, 1, 0])
    assert fill_up(before, 2, 2, generator).tolist() == [0, 1, 1, 0]
    assert generator.random() == rng().random()


def test_fill_up_takes_a_random_sample():
    before = np.repeat([0, 1], [1000, 1])
    moved = np.flatnonzero(fill_up(before, 2, 200, rng()) != before)
    assert len(moved) == 199
    assert 400 < moved.mean() < 600


@pytest.mark.parametrize("partitioner", [Iid(clients=10, min_size=8), Dirichlet(clients=10, min_size=8)])
def test_too_few_examples(partitioner):
    expected = (
        "10 clients of at least 8 examples each (partition.clients, partition.min_size) need 80 examples; there are 79"
    )
    with pytest.raises(PartitionError) as caught:
        partitioner.split(["x"] * 79, rng())
    assert str(caught.value) == expected
    assert partitioner.split(["x"] * 80, rng()).sizes.tolist() == [8] * 10


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        (Iid, {"clients": 0}),
        (Iid, {"min_size": 0}),
        (Iid, {"alpha": 0.5}),
        (Dirichlet, {"alpha": 0}),
        (Dirichlet, {"alpha": float("nan")}),
        (Dirichlet, {"alpha": float("inf")}),
    ],
)
def test_settings_out_of_range(schema, values):
    with pytest.raises(ValidationError):
        schema(**values)


@pytest.mark.parametrize("name", PARTITIONERS)
def test_registered_partitioners_load_and_split(name):
    module, _, attribute = PARTITIONERS[name].partition(":")
    assert getattr(importlib.import_module(module), attribute)(clients=3).split(["a", "b", "a"], rng()).num_clients == 3


def test_partition_by_hand():
    partition = Partition(3, np.array([2, 0, 2, 2]))
    assert [partition.indices(client).tolist() for client in range(3)] == [[1], [], [0, 2, 3]]
    assert partition.sizes.tolist() == [1, 0, 3]
    with pytest.raises(IndexError, match=r"client 3; expected 0 to 2"):
        partition.indices(3)
    with pytest.raises(ValueError, match="read-only"):
        partition.indices(0)[0] = 1


def test_partition_keeps_its_own_copy():
    given_owners = np.array([0, 1])
    partition = Partition(2, given_owners)
    given_owners[0] = 1
    assert owners(partition) == [0, 1]


@pytest.mark.parametrize(
    ("clients", "wrong", "expected"),
    [
        (0, [0], "0 clients; expected at least 1"),
        (2, [0, 1, 2], "example 2 belongs to client 2; expected 0 to 1"),
        (2, [0, -1], "example 1 belongs to client -1; expected 0 to 1"),
        (2, [0.0, 1.0], "owners of shape (2,) and type float64; expected a row of integers"),
        (2, [[0, 1]], "owners of shape (1, 2) and type int64; expected a row of integers"),
    ],
)
def test_partition_refuses_wrong_owners(clients, wrong, expected):
    with pytest.raises(PartitionError) as caught:
        Partition(clients, np.array(wrong))
    assert str(caught.value) == expected


def test_partition_labels_of_classification():
    assert partition_labels(Dataset.from_dict({"text": ["x", "y"], "label": ["b", "a"]}), "classification") == [
        "b",
        "a",
    ]


def test_partition_labels_of_ner():
    tags = [
        ["B-problem", "I-problem", "B-problem", "B-test"],  # two problems, one test
        ["B-problem", "B-test"],  # a tie: the split holds 4 problems and 3 tests, so test
        ["O", "O"],
        ["B-zoster", "B-allergy"],  # a tie of types that the split holds once each: by name
        ["B-test", "I-test", "I-test", "O", "B-problem", "B-zone", "B-zone"],  # two zones, however long the test
    ]
    split = Dataset.from_dict({"tags": tags})
    assert partition_labels(split, "ner") == ["problem", "test", "none", "allergy", "zone"]


def test_ten_thousand_clients():
    labels = rng().choice([f"label {index}" for index in range(13)], 200_000)
    partition = Dirichlet(clients=10_000, alpha=0.1, min_size=10).split(labels, rng())
    assert partition.sizes.min() >= 10
    assert partition.sizes.sum() == 200_000
