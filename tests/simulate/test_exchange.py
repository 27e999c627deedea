"""The channel's exact sizes, the ledger's versions, and averages that do not depend on order."""

import itertools
import pickle
import subprocess
import sys
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from simulate.exchange import changes, loops
from simulate.exchange.aggregation import LARGEST, AggregationError, ExactSum, check_elements
from simulate.exchange.changes import l2_norm, take_changes
from simulate.exchange.channel import Float32Channel
from simulate.exchange.ledger import Ledger
from simulate.exchange.loops import compiled, plain

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
    assert len(CHANNEL.encode({})) == 0
    assert CHANNEL.decode(CHANNEL.encode({})) == {}
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
    payload = CHANNEL.encode(state)
    assert planned == len(payload)
    assert not state or payload.tobytes() == save(state)  # as the safetensors library writes it


def test_a_payload_that_other_processes_share_is_only_read():
    payload = CHANNEL.encode({"w": torch.tensor([1.0, 2.0])}).copy()
    payload.flags.writeable = False
    assert CHANNEL.decode(payload)["w"].tolist() == [1.0, 2.0]


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


@pytest.mark.parametrize("loops", [compiled, plain])
def test_numbers_are_rounded_to_the_grid_half_to_even(loops):
    total = np.ones(8, np.int64)
    values = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 0.499, -2.501, 2.0**18 - 0.5], np.float32)
    assert loops.add_rounded(total, values, 1.0, LARGEST) == 0
    assert (total - 1).tolist() == [0, 2, 2, 0, -2, 0, -3, 2**18]
    assert loops.add_rounded(total, values, -1.0, LARGEST) == 0
    assert total.tolist() == [1] * 8  # adding the opposite takes it back
    assert loops.add_rounded(total[:1], values[-1:], 2.0**44, LARGEST) == 0
    assert total[0] == 1 + 2**62 - 2**43
    values[:3] = np.nan, np.inf, np.nextafter(np.float32(-LARGEST), np.float32(-np.inf))
    assert loops.add_rounded(total[1:], values[:7], 1.0, LARGEST) == 3
    assert total[1:4].tolist() == [1, 1, 1]


@given(st.lists(st.floats(width=32), min_size=1, max_size=40), st.integers(0, 44), st.integers(1, 3))
def test_loops_are_the_same_compiled_or_not(elements, places, parts):
    values, scale = np.array(elements, np.float32), 3 * 2.0**places
    start = np.arange(len(values), dtype=np.float32)
    results, squares = [], []
    for form in (compiled, plain):
        totals = tuple(np.full(len(values), part, np.int64) for part in range(parts))
        with patch.object(plain, "PIECE", 3):
            left_out = form.add_rounded(totals[0], values, scale, LARGEST)
        mean, change = np.empty((2, len(values)), np.float32)
        form.divide_sum(mean, totals, scale)
        now = np.nan_to_num(values, posinf=1, neginf=1) / 4
        squares += [form.take_change(now, start, change), form.square(change)]
        results.append((left_out, totals[0].tolist(), mean.tolist(), change.tolist()))
        assert now.tolist() == start.tolist()
    assert results[0] == results[1]
    assert squares == pytest.approx([squares[0]] * 4, rel=1e-12)


def test_a_machine_without_numba_has_the_plain_loops():
    """Such as one that has PyTorch and Transformers alone, for the GPU measurements."""
    code = (
        "import sys; sys.modules['numba'] = None\nfrom simulate.exchange import loops; print(loops.square.__module__)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "simulate.exchange.loops.plain\n"
    assert loops.square is compiled.square


def test_large_and_small_numbers_add_up_in_any_order():
    values = [200_000.0, 3.0, -7.0, 0.25, -180_000.0, 1e-9]
    results = set()
    for order in itertools.permutations(values):
        parts = [ExactSum(6), ExactSum(6)]
        for place, value in enumerate(order):
            parts[place % 2].add({"w": torch.tensor([value])}, 1)
        parts[0].merge(pickle.loads(pickle.dumps(parts[1])))
        results.add(parts[0].average()["w"].item())
    assert len(results) == 1
    assert results.pop() == pytest.approx(19_996.25 / 6, rel=1e-7)


def test_what_the_channel_has_room_for_is_not_copied_and_anything_else_is():
    """The slots of two tensors, filled; then encoded as they are, exchanged, alone, and beside a third."""
    channel = Float32Channel()
    one, two = torch.arange(6.0).reshape(2, 3), torch.tensor([7.0, 8.0])

    def filled() -> dict[str, torch.Tensor]:
        slots = channel.slots({"b": (2,), "a": (2, 3)})
        slots["a"].copy_(one)
        slots["b"].copy_(two)
        return slots

    payload = channel.encode(slots := filled())
    assert payload.tobytes() == Float32Channel().encode({"a": one, "b": two}).tobytes()
    assert channel.decode(payload)["a"].data_ptr() == slots["a"].data_ptr()
    for build in (
        lambda of: {"a": of["b"], "b": of["a"]},
        lambda of: {"b": of["b"]},
        lambda of: {"a": of["a"] * 2, "aa": of["b"], "c": torch.ones(9)},
        lambda of: {"a": of["a"].T.contiguous().T, "b": of["b"].flip(0)},
    ):
        expected = Float32Channel().encode(build({"a": one, "b": two})).tobytes()
        assert channel.encode(build(filled())).tobytes() == expected


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -2 * LARGEST])
def test_what_cannot_be_summed_is_refused_by_name_and_leaves_no_trace(bad):
    """What came before it in the same update, and is in the sums already when it is found, is taken back."""
    good, total = {"a": torch.ones(2), "w": torch.full((1009,), 0.1)}, ExactSum(4)
    update = {"a": torch.tensor([3.0, 1e5]), "w": torch.rand(1009), "layer.w": torch.tensor([0.0, bad])}
    with pytest.raises(AggregationError, match=r"update of layer\.w has an element of size"):
        total.add(update, 1)
    assert not total.sums
    total.add(good, 3)
    before = {name: parts[0].tolist() for name, parts in total.sums.items()}
    update["w"][-1] = bad
    del update["layer.w"]
    with pytest.raises(AggregationError, match="update of w"):
        total.add(update, 1, frozenset({"a"}))
    assert {name: parts[0].tolist() for name, parts in total.sums.items()} == before
    assert (total.weights, total.senders) == ({"a": 3, "w": 3}, {"a": 1, "w": 1})


def test_a_sum_travels_between_processes_and_is_merged_there():
    parts = [ExactSum(3), ExactSum(3)]
    parts[0].add({"w": torch.tensor([[3.0, 0.0]])}, 1)
    parts[1].add({"w": torch.tensor([[0.0, 1.5]])}, 2)
    first, second = pickle.loads(pickle.dumps(parts))
    first.merge(second)
    assert first.average()["w"].tolist() == [[1.0, 1.0]]  # (1 * 3 + 2 * 0) / 3, (1 * 0 + 2 * 1.5) / 3
    assert first.participation(4) == {"w": 0.5}


@pytest.mark.parametrize("size", [LARGEST, -LARGEST])
def test_the_largest_element_that_can_be_summed(size):
    update = {"empty": torch.zeros(0), "w": torch.tensor([1.0, size])}
    check_elements(update)
    total = ExactSum(1)
    total.add(update, 1)
    assert total.average()["w"].tolist() == [1.0, size]
    update["w"] = torch.nextafter(update["w"], 2 * update["w"])
    with pytest.raises(AggregationError, match=r"update of w has an element of size 262144\.03"):
        check_elements(update)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_what_one_client_sent_is_its_mean_whatever_other_workers_held(parts):
    """Of long tensors that do not lie one after the other in memory, too; their norm is right in float64."""
    tensor = torch.randn(300, 501).mul_(0.01).T
    totals = [ExactSum(1) for _ in range(parts)]
    for total in totals[1:]:
        total.add({"w": torch.zeros(501, 300)}, 1, frozenset({"w"}))
    totals[0].add({"w": tensor}, 1)
    for other in totals[1:]:
        totals[0].merge(pickle.loads(pickle.dumps(other)))
    assert torch.allclose(totals[0].average()["w"] * parts, tensor, rtol=1e-6, atol=2.0**-43)
    assert l2_norm({"w": tensor}) == pytest.approx(float(tensor.double().norm()), rel=1e-12)


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


def test_changes_are_taken_and_the_start_is_put_back():
    """The norm is 5."""
    start = {"a": torch.tensor([1.0, 2.0]), "b": torch.randn(2, 3), "c": torch.randn(1005)}
    change = {name: torch.zeros_like(tensor) for name, tensor in start.items()}
    change["b"][1, 2] = 3.0
    change["c"][-1] = -4.0
    values = {name: torch.nn.Parameter(start[name] + change[name]) for name in start}
    expected = {name: values[name].detach() - start[name] for name in start}
    out = {name: torch.full_like(tensor, 9.0) for name, tensor in start.items()}
    assert take_changes(values, start, out) == pytest.approx(5.0, rel=1e-7)
    for name in start:
        assert torch.equal(out[name], expected[name])
        assert torch.equal(values[name].detach(), start[name])


def test_changes_of_which_only_some_are_wanted_and_tensors_that_cannot_be_taken_from():
    """The norm is that of all: 3 and 4 of two tensors, neither of which is wanted."""
    start = {"a": torch.zeros(2), "b": torch.zeros(3), "c": torch.zeros(1001)}
    values = {name: tensor.clone() for name, tensor in start.items()}
    values["b"][0], values["c"][-1] = 3.0, 4.0
    out = {"a": torch.ones(2)}
    assert take_changes(values, start, out) == 5.0
    assert out["a"].tolist() == [0.0, 0.0]
    assert not values["b"].any()
    assert not values["c"].any()
    turned = torch.ones(400, 400).T[:, :399]
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        take_changes({"w": turned}, {"w": torch.zeros(400, 399)}, {})


@pytest.mark.parametrize("shape", [(3,), (1,), (2, 1)])
def test_updates_of_unlike_shapes_are_not_summed(shape):
    total = ExactSum(2)
    total.add({"a": torch.ones(2), "b": torch.ones(3)}, 1)
    with pytest.raises(AggregationError, match=r"update of a has shape \[.*\], of others \[2\]"):
        total.add({"a": torch.ones(shape), "b": torch.ones(3)}, 1)
    assert total.average()["b"].tolist() == [1.0, 1.0, 1.0]
    assert total.senders == {"a": 1, "b": 1}


def test_workers_sums_of_unlike_shapes_are_not_merged():
    parts = [ExactSum(2), ExactSum(2)]
    parts[0].add({"b": torch.ones(3), "a": torch.ones(2)}, 1)
    parts[1].add({"b": torch.ones(3), "a": torch.ones(4)}, 1)
    with pytest.raises(AggregationError, match=r"update of a has shape \[4\], of others \[2\]"):
        parts[0].merge(parts[1])
    assert parts[0].average()["b"].tolist() == [1.0, 1.0, 1.0]
    assert parts[0].senders == {"a": 1, "b": 1}


def test_sums_that_are_read_only_are_merged_with_those_that_are_not():
    """As Ray shares them."""
    parts = [ExactSum(3) for _ in range(3)]
    for value, part in enumerate(parts):
        part.add({"w": torch.tensor([3.0 * value])}, 1)
    for array in parts[1].sums["w"]:
        array.flags.writeable = False
    for other in parts[1:]:
        parts[0].merge(other)
    assert parts[0].average()["w"].tolist() == [3.0]  # (0 + 3 + 6) / 3


@pytest.mark.parametrize("wanted", [True, False])
def test_changes_are_taken_on_any_device_as_on_the_cpu(wanted):
    """The way of a GPU, on the CPU."""
    start, trained = torch.randn(7, 5), torch.randn(7, 5)
    found = []
    for take in (changes._take_on_cpu, changes._take_anywhere):
        now, change = trained.clone(), torch.zeros(7, 5) if wanted else None
        found.append((float(take(now, start, change)), None if change is None else change.tolist()))
        assert torch.equal(now, start)
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12)
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize(
    ("start", "out", "told"),
    [
        ((2, 1), (2, 2), r"^w has shape \[2, 2\], its start \[2, 1\]$"),
        ((2, 2), (4,), r"^w has shape \[2, 2\], its room for the change \[4\]$"),
    ],
)
def test_changes_of_unlike_shapes_are_not_taken(start, out, told):
    with pytest.raises(ValueError, match=told):
        take_changes({"w": torch.ones(2, 2)}, {"w": torch.ones(start)}, {"w": torch.ones(out)})
