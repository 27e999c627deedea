"""The channel's exact sizes, the ledger's versions, and averages that do not depend on order."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simulate.exchange.aggregation import LARGEST, AggregationError, ExactSum
from simulate.exchange.channel import Float32Channel
from simulate.exchange.ledger import Ledger

CHANNEL = Float32Channel()


def test_encoding_returns_every_bit_and_counts_its_header():
    state = {"a.weight": torch.randn(3, 5), "b": torch.tensor(1.5), "ü": torch.zeros(0, 4)}
    payload = CHANNEL.encode(state)
    decoded = CHANNEL.decode(payload)
    assert decoded.keys() == state.keys()
    assert all(torch.equal(decoded[name], state[name]) and decoded[name].dtype == torch.float32 for name in state)
    assert len(payload) == 8 + int.from_bytes(payload[:8], "little") + 4 * (15 + 1 + 0)


def test_bfloat16_tensors_travel_as_float32():
    state = {"w": torch.tensor([1.0, -2.5], dtype=torch.bfloat16)}
    assert CHANNEL.decode(CHANNEL.encode(state))["w"].tolist() == [1.0, -2.5]


def test_nothing_to_send_is_no_bytes():
    assert CHANNEL.encode({}) == b""
    assert CHANNEL.decode(b"") == {}
    assert CHANNEL.size([]) == 0


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__" and name.isprintable()),
        st.lists(st.integers(0, 4), max_size=3),
        max_size=5,
    )
)
def test_planned_size_is_the_encoded_length(shapes):
    state = {name: torch.ones(tuple(shape)) for name, shape in shapes.items()}
    planned = CHANNEL.size((name, tuple(shape)) for name, shape in shapes.items())
    assert planned == len(CHANNEL.encode(state))


def test_average_is_weighted_by_hand():
    total = ExactSum(total_weight=4)
    total.add({"w": torch.tensor([1.0, 0.0])}, 3)
    total.add({"w": torch.tensor([-1.0, 2.0])}, 1)
    assert total.average()["w"].tolist() == [0.5, 0.5]  # (3 * 1 - 1) / 4, (0 + 2) / 4


def test_each_name_is_averaged_over_those_who_sent_it():
    total = ExactSum(total_weight=6)
    total.add({"a": torch.tensor([6.0]), "b": torch.tensor([1.0])}, 1)
    total.add({"a": torch.tensor([0.0])}, 2)
    total.add({"b": torch.tensor([5.0])}, 3)
    average = total.average()
    assert average["a"].tolist() == [2.0]  # (1 * 6 + 2 * 0) / 3
    assert average["b"].tolist() == [4.0]  # (1 * 1 + 3 * 5) / 4


def test_order_and_split_over_workers_change_no_bit():
    rng = np.random.default_rng(0)
    updates = [({"w": torch.from_numpy(rng.normal(size=50).astype("f4"))}, int(rng.integers(1, 99))) for _ in range(5)]
    bound = sum(weight for _, weight in updates)
    results = set()
    for order in itertools.permutations(range(5)):
        parts = [ExactSum(bound), ExactSum(bound)]
        for place, index in enumerate(order):
            parts[place % 2].add(*updates[index])
        parts[0].merge(parts[1])
        results.add(parts[0].average()["w"].numpy().tobytes())
    assert len(results) == 1


@given(st.lists(st.tuples(st.floats(-100, 100, width=32), st.integers(1, 1000)), min_size=1, max_size=8))
def test_average_agrees_with_float64(pairs):
    total = ExactSum(sum(weight for _, weight in pairs))
    for value, weight in pairs:
        total.add({"w": torch.tensor([value])}, weight)
    expected = sum(value * weight for value, weight in pairs) / sum(weight for _, weight in pairs)
    assert total.average()["w"].item() == pytest.approx(expected, rel=1e-6, abs=1e-10)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -2 * LARGEST])
def test_what_cannot_be_summed_is_refused_by_name(bad):
    with pytest.raises(AggregationError, match=r"update of layer\.w"):
        ExactSum(1).add({"layer.w": torch.tensor([0.0, bad])}, 1)


def test_sums_of_different_scale_do_not_mix():
    with pytest.raises(AggregationError, match="binary places"):
        ExactSum(1).merge(ExactSum(1000))


def test_clients_download_what_changed_since_their_last_visit():
    ledger = Ledger(["a", "b"])
    assert ledger.joins(0)
    assert list(ledger.download(0)) == []  # the set-up transfer brought version 0
    ledger.publish(["a", "b"])
    assert not ledger.joins(0)
    assert list(ledger.download(0)) == ["a", "b"]
    assert list(ledger.download(0)) == []
    ledger.publish(["b"])
    ledger.publish(["b"])
    assert list(ledger.download(0)) == ["b"]  # away for two changes of b: one download
    assert ledger.joins(1)
    assert list(ledger.download(1)) == ["a", "b"]  # joins late: all that changed since version 0
