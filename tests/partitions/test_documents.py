"""Whole documents: which class they count as, and how small clients are filled up with them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partitions.partition import PartitionError
from partitions.partitioners.dirichlet import Dirichlet
from partitions.partitioners.documents import fill_up, main_class, of_examples
from partitions.partitioners.iid import Iid
from partitions.statistics import client_table, label_counts
from partitions.traits import Traits


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def traits(labels, documents) -> Traits:
    return Traits(labels, [""] * len(labels), documents, lambda: [])


def held(owners, sizes, clients) -> list[int]:
    return np.bincount(owners, weights=sizes, minlength=clients).astype(int).tolist()


def test_an_example_without_a_document_stands_alone():
    numbers = of_examples(["b", "", "a", "b", ""]).tolist()
    assert numbers[0] == numbers[3]
    assert sorted(set(numbers)) == [0, 1, 2, 3]
    assert len({*numbers[:3], numbers[4]}) == 4


def test_a_corpus_without_documents():
    with pytest.raises(PartitionError) as caught:
        Iid(clients=1, whole_documents=True).split(traits(["x"] * 3, [""] * 3), rng())
    expected = "partition.whole_documents = true, but no training example names its document in its key 'document'"
    assert str(caught.value) == expected


def test_the_class_of_a_document():
    # Document 0: classes 1, 1, 0, so 1. Document 1: 0 and 2 once each; class 0 has 3 examples in all, class 2 two: 2.
    # Document 2: 0. Document 3: 2.
    document = np.array([0, 0, 0, 1, 1, 2, 3])
    assert main_class(document, np.array([1, 1, 0, 0, 2, 0, 2])).tolist() == [1, 2, 0, 2]
    # Document 0: classes 3, 3, 1, so 3; document 1: 0. No document is mainly 1 or 2: numbered without gaps.
    assert main_class(np.array([0, 0, 0, 1, 1, 1]), np.array([3, 3, 1, 0, 0, 2])).tolist() == [1, 0]


def test_documents_move_from_the_largest_client():
    # Client 0 has four documents of 3, client 1 one of 2, client 2 none; each is to hold 3. One document moves to
    # client 2 and one to client 1: 6, 5, 3.
    owners = fill_up(np.array([0, 0, 0, 0, 1]), np.array([3, 3, 3, 3, 2]), 3, 3, rng())
    assert held(owners, [3, 3, 3, 3, 2], 3) == [6, 5, 3]


def test_documents_are_dealt_anew_where_none_can_be_spared():
    # 6 + 6 and 4 + 4 with at least 10: client 0 cannot spare a document of 6. Largest first: 6 and 6, then 4 and 4.
    owners = fill_up(np.array([0, 0, 1, 1]), np.array([6, 6, 4, 4]), 2, 10, rng())
    assert held(owners, [6, 6, 4, 4], 2) == [10, 10]


def test_only_the_clients_that_are_needed_deal_anew():
    # As above, beside eight clients of one document of 10, which are smaller than client 0 and so are left alone.
    before = np.array([0, 0, 1, 1, *range(2, 10)])
    sizes = np.array([6, 6, 4, 4, *[10] * 8])
    after = fill_up(before, sizes, 10, 10, rng())
    assert held(after, sizes, 10) == [10] * 10
    assert after[4:].tolist() == before[4:].tolist()


def test_documents_that_are_too_large():
    documents = ["a"] * 7 + ["b"] * 2 + ["c"]
    with pytest.raises(PartitionError) as caught:
        Iid(clients=3, min_size=2, whole_documents=True).split(traits(["x"] * 10, documents), rng())
    assert str(caught.value) == (
        "3 clients of at least 2 examples each (partition.clients, partition.min_size) cannot be made of whole "
        "documents: there are 3 of 1 to 7 examples, 10 in all"
    )
    partition = Iid(clients=3, min_size=1, whole_documents=True).split(traits(["x"] * 10, documents), rng())
    assert sorted(partition.sizes.tolist()) == [1, 2, 7]


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 8), st.integers(1, 9), st.lists(st.integers(1, 12), min_size=1, max_size=40), st.data())
def test_filled_up_or_refused(clients, min_size, sizes, data):
    before = np.array([data.draw(st.integers(0, clients - 1)) for _ in sizes])
    seed = data.draw(st.integers(0, 2**32))
    try:
        after = fill_up(before, np.array(sizes), clients, min_size, rng(seed))
    except PartitionError:
        assert sum(sizes) / clients - max(sizes) < min_size
        return
    assert min(held(after, sizes, clients)) >= min_size
    assert fill_up(before, np.array(sizes), clients, min_size, rng(seed)).tolist() == after.tolist()
    if min(held(before, sizes, clients)) >= min_size:
        assert after.tolist() == before.tolist()


def test_whole_documents_keep_the_skew():
    # 200 documents of ten sentences, each of one label: spread as 200 examples would be.
    documents = [f"note {number}" for number in range(200) for _ in range(10)]
    labels = [f"label {number % 5}" for number in range(200) for _ in range(10)]

    def skew(alpha: float) -> float:
        partition = Dirichlet(clients=5, alpha=alpha, whole_documents=True).split(traits(labels, documents), rng())
        return client_table(label_counts(partition, labels))["total_variation"].mean()

    assert skew(0.05) > 0.5
    assert skew(1e6) < 0.1
