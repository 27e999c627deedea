"""Partitions: every example has one owner, the same seed gives the same owners, and alpha sets the skew."""

import importlib
import time
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
from partitions.partitioners.apportionment import apportion
from partitions.partitioners.dealing import cut, fill_up
from partitions.partitioners.dirichlet import Dirichlet
from partitions.partitioners.dirichlet_per_client import DirichletPerClient, draw
from partitions.partitioners.iid import Iid
from partitions.partitioners.natural import Natural
from partitions.partitioners.pathological import Pathological
from partitions.partitioners.quantity import Quantity
from partitions.statistics import client_table, label_counts
from partitions.traits import Traits, traits_of

BALANCED = np.repeat([f"label {index}" for index in range(5)], 400).tolist()
ALPHAS = [5e-324, 1e-3, 0.1, 0.5, 1.0, 100.0, 1e9]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def traits(labels, groups=None, documents=None, texts=None, task="classification") -> Traits:
    nothing = [""] * len(labels)
    return Traits(labels, groups or nothing, documents or nothing, lambda: texts or nothing, task)


def owners(partition: Partition) -> list[int]:
    return partition.owners.tolist()


@st.composite
def tasks(draw):
    """A partitioner, examples that it can spread, and a seed."""
    clients, min_size = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    size = draw(st.integers(clients * min_size, clients * min_size + 60))
    names = st.lists(st.sampled_from("abcd"), min_size=size, max_size=size)
    labels, groups = draw(names), draw(names)
    by = draw(st.sampled_from(["label", "group"]))
    kinds = len(set(labels if by == "label" else groups))
    common = {"clients": clients, "min_size": min_size}
    alpha = draw(st.sampled_from(ALPHAS))
    partitioner = draw(
        st.sampled_from(
            [
                Iid(**common),
                Dirichlet(**common, alpha=alpha, by=by),
                DirichletPerClient(**common, alpha=alpha, by=by),
                Quantity(**common, alpha=alpha),
                Quantity(**common, exponent=draw(st.sampled_from([0.1, 1.0, 10.0]))),
                Natural(**common),
                Pathological(**common, by=by, classes=draw(st.integers(-(-kinds // clients), kinds))),
            ]
        )
    )
    return partitioner, traits(labels, groups), draw(st.integers(0, 2**32))


def check_partition(partitioner, examples, partition, seed):
    shards = [partition.indices(client) for client in range(partition.num_clients)]
    assert partition.num_clients == partitioner.clients
    assert sorted(np.concatenate(shards).tolist()) == list(range(len(examples)))
    assert all(shard.dtype == np.int64 and (np.diff(shard) > 0).all() for shard in shards)
    assert partition.sizes.tolist() == [len(shard) for shard in shards]
    assert partition.sizes.min() >= partitioner.min_size
    assert owners(partitioner.split(examples, rng(seed))) == owners(partition)


@settings(max_examples=500, deadline=None)
@given(tasks())
def test_disjoint_covering_deterministic_and_never_too_small(task):
    partitioner, examples, seed = task
    check_partition(partitioner, examples, partitioner.split(examples, rng(seed)), seed)


@settings(max_examples=300, deadline=None)
@given(tasks(), st.data())
def test_documents_are_never_split(task, data):
    partitioner, examples, seed = task
    size = len(examples)
    numbers = st.integers(0, data.draw(st.integers(0, size)))
    documents = [
        f"note {number}" if number else "" for number in data.draw(st.lists(numbers, min_size=size, max_size=size))
    ]
    documents[0] = "note 1"
    examples = traits(examples.labels, examples.groups, documents)
    partitioner = partitioner.model_copy(update={"whole_documents": True})
    try:
        partition = partitioner.split(examples, rng(seed))
    except PartitionError as error:
        refusal = str(error)
    else:
        refusal = ""
    if "whole documents" in refusal:
        # Dealing the largest document first to the smallest client leaves every client at least 1 / m of all examples
        # less one document, so a refusal needs documents as large as that.
        largest = max(documents.count(document) if document else 1 for document in documents)
        assert size / partitioner.clients - largest < partitioner.min_size
    elif refusal:  # the main classes of the documents are fewer than the classes of the examples
        assert "but the examples have" in refusal
    if refusal:
        return
    check_partition(partitioner, examples, partition, seed)
    for document in set(documents) - {""}:
        assert len({owner for owner, other in zip(owners(partition), documents, strict=True) if other == document}) == 1


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 20), st.integers(1, 200), st.integers(0, 2**32), st.sampled_from(ALPHAS[1:]))
def test_iid_and_per_client_sizes_differ_by_at_most_one(clients, extra, seed, alpha):
    examples = traits(["x", "y"] * (clients + extra))
    for partitioner in (Iid(clients=clients), DirichletPerClient(clients=clients, alpha=alpha)):
        sizes = partitioner.split(examples, rng(seed)).sizes
        assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize(
    "partitioner",
    [Iid(clients=4), Dirichlet(clients=4), DirichletPerClient(clients=4), Quantity(clients=4), Pathological(clients=4)],
)
def test_another_seed_gives_another_partition(partitioner):
    partitioner = (
        partitioner.model_copy(update={"classes": 3}) if isinstance(partitioner, Pathological) else partitioner
    )
    examples = traits(BALANCED)
    assert owners(partitioner.split(examples, rng(1))) != owners(partitioner.split(examples, rng(2)))


def test_the_names_of_labels_play_no_part_but_their_order():
    renamed = [label.replace("label", "type") for label in BALANCED]
    assert owners(Dirichlet().split(traits(BALANCED), rng())) == owners(Dirichlet().split(traits(renamed), rng()))


def test_a_group_is_spread_as_a_label_would_be():
    swapped = traits(["same"] * len(BALANCED), BALANCED)
    for kind in (Dirichlet, DirichletPerClient):
        by_label = kind(by="label").split(traits(BALANCED), rng())
        by_group = kind(by="group").split(swapped, rng())
        assert owners(by_label) == owners(by_group)
        assert (by_label.skewed_by.kind, by_group.skewed_by.kind) == ("label", "group")
    assert Iid().split(swapped, rng()).skewed_by is None


@cache
def skew(kind: type, alpha: float) -> float:
    """Mean total variation of clients to all examples, over clients and ten seeds."""
    partitioner = kind(clients=10, alpha=alpha)
    partitions = [partitioner.split(traits(BALANCED), rng(seed)) for seed in range(10)]
    tables = [client_table(label_counts(partition, BALANCED)) for partition in partitions]
    return float(np.mean([table["total_variation"].mean() for table in tables]))


@pytest.mark.parametrize("kind", [Dirichlet, DirichletPerClient])
def test_smaller_alpha_means_more_skew(kind):
    skews = [skew(kind, alpha) for alpha in (0.01, 0.1, 0.5, 1.0, 10.0, 100.0)]
    assert skews == sorted(skews, reverse=True)
    assert skews[0] > 0.6
    assert skews[-1] < 0.13


def test_alpha_of_a_million_is_iid():
    # 5 labels of 400 examples over 10 clients: 40 of each label, rounded down or up from shares within 0.1 % of 1/10.
    counts = label_counts(Dirichlet(clients=10, alpha=1e6).split(traits(BALANCED), rng()), BALANCED)
    assert counts.to_numpy().min() >= 39
    assert counts.to_numpy().max() <= 41


def test_per_client_at_large_alpha_is_a_random_draw_from_all():
    # 200 draws of 5 equal labels: 40 of each, standard deviation sqrt(200 * 0.2 * 0.8) = 5.7 at most.
    counts = label_counts(DirichletPerClient(clients=10, alpha=1e6).split(traits(BALANCED), rng()), BALANCED).to_numpy()
    assert counts.min() > 40 - 4 * 5.7
    assert counts.max() < 40 + 4 * 5.7


def test_rounding_favours_no_client():
    # 3 examples of each of 200 labels over 10 clients: 60 examples a client in expectation, standard deviation
    # sqrt(200 * 0.3 * 0.7) = 6.5. Cuts rounded without a random start would serve the same three clients every time.
    labels = np.repeat(np.arange(200), 3).astype(str).tolist()
    sizes = Dirichlet(clients=10, alpha=1e6).split(traits(labels), rng()).sizes
    assert sizes.min() > 60 - 4 * 6.5
    assert sizes.max() < 60 + 4 * 6.5


def test_dirichlet_sizes_and_mixtures_both_differ():
    counts = label_counts(Dirichlet(clients=10, alpha=0.5).split(traits(BALANCED), rng()), BALANCED)
    sizes = counts.sum(axis="columns")
    assert sizes.max() > 2 * sizes.min()
    assert (counts.sum(axis="index") == 400).all()


def test_cuts_by_hand():
    # Cuts of 10 at the cumulated shares: 2.5, 5, 10. Units of size 1 begin at 0, 1, ... and with start 0 stand for
    # their ends 1, 2, ...: two lie up to 2.5, three more up to 5. With start 0.5 they stand for 0.5, 1.5, 2.5, ...
    shares, ones = np.array([0.25, 0.25, 0.5]), np.ones(10, dtype=int)
    assert np.bincount(cut(shares, ones, 0.0)).tolist() == [2, 3, 5]
    assert np.bincount(cut(shares, ones, 0.5)).tolist() == [3, 2, 5]
    assert np.bincount(cut(4 * shares, ones, 0.5)).tolist() == [3, 2, 5]
    # Sizes 4, 4, 2 end at 4, 8, 10 and with start 0.5 stand for 2, 6, 9: one each before 2.5 and 5 is client 0 and 2.
    assert cut(shares, np.array([4, 4, 2]), 0.5).tolist() == [0, 2, 2]


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=8),
    st.lists(st.integers(1, 9), min_size=1, max_size=50),
    st.floats(0, 1, exclude_max=True),
)
def test_a_client_gets_its_share_to_within_one_unit(weights, sizes, start):
    shares = (np.array(weights) + 1e-9) / (np.array(weights) + 1e-9).sum()
    given_to = cut(shares, np.array(sizes), start)
    totals = np.bincount(given_to, weights=sizes, minlength=len(shares))
    assert totals.sum() == sum(sizes)
    assert (np.abs(totals - shares * sum(sizes)) < max(sizes) + 1e-6).all()


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


@pytest.mark.parametrize("kind", [Iid, Dirichlet, DirichletPerClient, Quantity, Natural])
def test_too_few_examples(kind):
    partitioner = kind(clients=10, min_size=8)
    expected = (
        "10 clients of at least 8 examples each (partition.clients, partition.min_size) need 80 examples; there are 79"
    )
    with pytest.raises(PartitionError) as caught:
        partitioner.split(traits(["x"] * 79, ["g"] * 79), rng())
    assert str(caught.value) == expected
    assert partitioner.split(traits(["x"] * 80, ["g"] * 80), rng()).sizes.tolist() == [8] * 10


def test_draw_goes_on_where_a_label_is_exhausted():
    # All probability on label 0, of which 3 are left; then on label 1 by the mixture; then on what is left.
    assert draw(np.array([1.0, 0.0]), 5, np.array([3, 4]), rng()).tolist() == [3, 2]
    assert draw(np.array([0.5, 0.5]), 7, np.array([3, 4]), rng()).tolist() == [3, 4]
    assert draw(np.array([0.0, 1.0]), 3, np.array([3, 4]), rng()).tolist() == [0, 3]


def test_per_client_mixtures_follow_the_labels_prior():
    # At a vanishing alpha a client holds one label, drawn from the prior, until labels run out: here 9 to 1.
    labels = ["common"] * 900 + ["rare"] * 100
    counts = label_counts(DirichletPerClient(clients=100, alpha=1e-6).split(traits(labels), rng()), labels)
    assert (counts.gt(0).sum(axis="columns") > 1).sum() <= 2
    assert (counts.sum(axis="columns") == 10).all()


def test_apportionment_by_hand():
    # After one seat each, of 100, 60, 20: 100/2, 60/2 = 30 beside 100/3 = 33.3, so 50, 33.3, 30, 25 (100/4), and
    # then 20 twice (100/5 and 60/3), of which the first counts first.
    assert apportion([100, 60, 20], 3, 9) == [1, 1, 1]
    assert apportion([100, 60, 20], 5, 9) == [3, 1, 1]
    assert apportion([100, 60, 20], 8, 9) == [5, 2, 1]
    assert apportion([100, 60, 20], 9, 9) == [5, 3, 1]
    assert apportion([100, 60, 20], 6, 2) == [2, 2, 2]
    assert apportion([5], 1, 1) == [1]


@settings(deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=9), st.integers(1, 9), st.data())
def test_apportionment_gives_every_seat_within_the_limits(sizes, most, data):
    seats = data.draw(st.integers(len(sizes), len(sizes) * most))
    given = apportion(sizes, seats, most)
    assert sum(given) == seats
    assert min(given) >= 1
    assert max(given) <= most


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 30), st.integers(1, 5), st.integers(0, 2**32))
def test_pathological_clients_hold_at_most_so_many_labels(clients, classes, seed):
    if clients * classes < 5:
        return
    partition = Pathological(clients=clients, classes=classes).split(traits(BALANCED), rng(seed))
    counts = label_counts(partition, BALANCED)
    assert (counts > 0).sum(axis="columns").tolist() == [classes] * clients  # 400 of a label, so none goes short


def test_pathological_sizes_by_hand():
    # 600 a, 300 b, 100 c over 5 clients of 2: of 10 places a gets 5, its most; of the other five b and c have one each,
    # and b's 300/2, 300/3 and 300/4 come before c's 100/2: b 4 and c 1. So a client of a and b holds 600/5 + 300/4 =
    # 195, that of a and c 600/5 + 100 = 220.
    labels = ["a"] * 600 + ["b"] * 300 + ["c"] * 100
    assert sorted(Pathological(clients=5).split(traits(labels), rng()).sizes.tolist()) == [195, 195, 195, 195, 220]


def test_pathological_labels_meet_at_random():
    counts = label_counts(Pathological(clients=60).split(traits(BALANCED), rng()), BALANCED)
    pairs = {tuple(np.flatnonzero(row)) for row in counts.to_numpy()}
    assert len(pairs) == 10  # all pairs of five labels


@pytest.mark.parametrize(
    ("settings_", "expected"),
    [
        (
            {"clients": 2, "classes": 2},
            "2 clients of 2 labels each (partition.clients, partition.classes) cannot hold all 5 labels; "
            "set partition.classes to at least 3",
        ),
        ({"clients": 4, "classes": 6}, "partition.classes = 6, but the examples have 5 labels"),
    ],
)
def test_pathological_that_cannot_be(settings_, expected):
    with pytest.raises(PartitionError) as caught:
        Pathological(**settings_).split(traits(BALANCED), rng())
    assert str(caught.value) == expected


def test_quantity_power_law_by_hand():
    # Shares 1, 1/2, 1/4 of exponent... r ** -1 for r = 1, 2, 3 is 6/11, 3/11, 2/11: of 110 examples 60, 30, 20.
    sizes = Quantity(clients=3, exponent=1.0).split(traits(["x"] * 110), rng()).sizes
    assert sorted(sizes.tolist()) == [20, 30, 60]


def test_quantity_leaves_the_labels_alone():
    partition = Quantity(clients=5, alpha=0.5).split(traits(BALANCED), rng())
    counts = label_counts(partition, BALANCED)
    large = counts[counts.sum(axis="columns") > 300]
    assert client_table(large)["total_variation"].max() < 0.1
    spreads = [Quantity(alpha=alpha).split(traits(BALANCED), rng()).sizes.std() for alpha in (0.1, 1, 10, 1e6)]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[-1] < 2


def test_natural_clients_are_the_groups():
    groups = ["b"] * 5 + ["a"] * 9 + ["c"] * 7
    assert owners(Natural(clients=3).split(traits(["x"] * 21, groups), rng())) == [1] * 5 + [0] * 9 + [2] * 7


def test_natural_merges_the_smallest_groups():
    # Of 2, 9, 3, 7, 4 (a to e) to three clients: a and c make 5; e (4) and that make 9.
    groups = ["a"] * 2 + ["b"] * 9 + ["c"] * 3 + ["d"] * 7 + ["e"] * 4
    partition = Natural(clients=3).split(traits(["x"] * 25, groups), rng())
    assert owners(partition) == [0] * 2 + [1] * 9 + [0] * 3 + [2] * 7 + [0] * 4
    # To five clients of at least 4: a and c (5) are one, so that a client is left for the largest, b: 9 as 4 and 5.
    partition = Natural(clients=5, min_size=4).split(traits(["x"] * 25, groups), rng())
    counts = label_counts(partition, groups)
    assert counts.loc[0].tolist() == [2, 0, 3, 0, 0]
    assert sorted(counts["b"].tolist()) == [0, 0, 0, 4, 5]
    assert partition.sizes.tolist()[3:] == [7, 4]


def test_natural_splits_the_largest_groups():
    # 90 and 10 over 4 clients: the two beyond one each go to the larger, 90/2 and 90/3 before 10/2.
    groups = ["large"] * 90 + ["small"] * 10
    assert Natural(clients=4).split(traits(["x"] * 100, groups), rng()).sizes.tolist() == [30, 30, 30, 10]


@pytest.mark.parametrize("partitioner", [Natural(clients=1), Dirichlet(clients=1, by="group")])
def test_examples_without_a_group(partitioner):
    expected = (
        "2 of 3 training examples have no group, so they cannot be spread by group; choose partition.by=label or "
        "cluster, or name the origin of each example in its key 'group'"
    )
    with pytest.raises(PartitionError) as caught:
        partitioner.split(traits(["x"] * 3, ["", "g", ""]), rng())
    assert str(caught.value) == expected


def test_multi_label_text_has_no_label_to_be_spread_by():
    examples = traits([["a", "b"], [], ["a"]], groups=["x", "y", "y"], task="multilabel")
    expected = (
        "multi-label text has no single label to be spread by; set partition.by=cluster (what texts are about) or "
        "partition.by=group (where they come from)"
    )
    for partitioner in (Dirichlet(clients=2), DirichletPerClient(clients=2), Pathological(clients=2)):
        with pytest.raises(PartitionError) as caught:
            partitioner.split(examples, rng())
        assert str(caught.value) == expected
    for partitioner in (Iid(clients=2), Quantity(clients=2), Dirichlet(clients=2, by="group"), Natural(clients=2)):
        assert partitioner.split(examples, rng()).sizes.sum() == 3


TOPICS = {"heart": ["chest", "murmur", "angina", "aorta"], "skin": ["rash", "hives", "itching", "arm"]}


def test_clusters_are_what_texts_are_about():
    topics = ["heart", "skin"] * 20
    texts = [" ".join(rng(number).permutation(TOPICS[topic])[:3]) for number, topic in enumerate(topics)]
    examples = traits([[]] * len(texts), texts=texts, task="multilabel")
    partitioner = Pathological(clients=2, by="cluster", clusters=2, classes=1)
    partition = partitioner.split(examples, rng())
    assert partition.skewed_by.names == ["cluster 1", "cluster 2"]
    assert set(zip(topics, owners(partition), strict=True)) in (
        {("heart", 0), ("skin", 1)},
        {("heart", 1), ("skin", 0)},
    )
    assert owners(partitioner.split(examples, rng())) == owners(partition)


def test_many_words_are_reduced_and_clusters_stay_the_same_by_seed():
    words = rng().choice([f"word{number}" for number in range(400)], (300, 12))
    examples = traits(["x"] * 300, texts=[" ".join(row) for row in words])
    first, again = (Dirichlet(by="cluster", clusters=7).split(examples, rng(3)) for _ in range(2))
    assert first.skewed_by.codes.tolist() == again.skewed_by.codes.tolist()
    assert owners(first) == owners(again)
    assert len(first.skewed_by.names) == 7


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["a"] * 3, "partition.clusters = 4 needs as many training examples; there are 3"),
        (["?"] * 4, "the training texts hold no words; partition.by=cluster needs some"),
    ],
)
def test_texts_that_make_no_clusters(texts, expected):
    with pytest.raises(PartitionError) as caught:
        Dirichlet(clients=1, by="cluster", clusters=4).split(traits(["x"] * len(texts), texts=texts), rng())
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        (Iid, {"clients": 0}),
        (Iid, {"min_size": 0}),
        (Iid, {"alpha": 0.5}),
        (Iid, {"by": "group"}),
        (Natural, {"by": "label"}),
        (Dirichlet, {"alpha": 0}),
        (Dirichlet, {"alpha": float("nan")}),
        (Dirichlet, {"alpha": float("inf")}),
        (Dirichlet, {"by": "hospital"}),
        (Dirichlet, {"clusters": 1}),
        (DirichletPerClient, {"alpha": 0}),
        (Pathological, {"classes": 0}),
        (Quantity, {"exponent": 0}),
        (Quantity, {"alpha": -1}),
    ],
)
def test_settings_out_of_range(schema, values):
    with pytest.raises(ValidationError):
        schema(**values)


@pytest.mark.parametrize("name", PARTITIONERS)
def test_registered_partitioners_load_and_split(name):
    module, _, attribute = PARTITIONERS[name].partition(":")
    partitioner = getattr(importlib.import_module(module), attribute)(clients=3)
    assert partitioner.split(traits(["a", "b", "a"], ["g", "h", "h"]), rng()).num_clients == 3


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


def test_traits_of_each_task():
    common = {"id": ["1", "2"], "group": ["g", ""], "document": ["", "d"]}
    ner = traits_of(Dataset.from_dict({**common, "tokens": [["a", "b"], ["c"]], "tags": [["O", "B-x"], ["O"]]}), "ner")
    assert (ner.labels, ner.groups, ner.documents, ner.texts()) == (["x", "none"], ["g", ""], ["", "d"], ["a b", "c"])
    several = traits_of(Dataset.from_dict({**common, "text": ["a", "b"], "labels": [["y", "x"], []]}), "multilabel")
    assert (several.labels, several.texts(), len(several)) == ([["y", "x"], []], ["a", "b"], 2)


@cache
def million() -> Traits:
    generator = rng()
    labels = generator.choice([f"label {index}" for index in range(13)], 1_000_000).tolist()
    groups = [f"group {number}" for number in generator.integers(0, 300, 1_000_000)]
    documents = [f"note {number}" for number in generator.integers(0, 100_000, 1_000_000)]
    return traits(labels, groups, documents)


@pytest.mark.parametrize("whole_documents", [False, True])
@pytest.mark.parametrize("name", PARTITIONERS)
def test_ten_thousand_clients_of_a_million_examples_take_seconds(name, whole_documents):
    module, _, attribute = PARTITIONERS[name].partition(":")
    kind = getattr(importlib.import_module(module), attribute)
    partitioner = kind(clients=10_000, min_size=10, whole_documents=whole_documents)
    examples = million()
    start = time.perf_counter()
    partition = partitioner.split(examples, rng())
    assert time.perf_counter() - start < 10
    assert partition.sizes.min() >= 10
    assert partition.sizes.sum() == 1_000_000
