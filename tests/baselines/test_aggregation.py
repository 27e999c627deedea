"""Robust aggregation by hand, as properties, and over whole runs."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from baselines.aggregation.mean import Mean
from baselines.aggregation.median import Median
from baselines.aggregation.norm_bound import NormBound
from baselines.aggregation.trimmed_mean import TrimmedMean
from simulate.config import ConfigError, build
from simulate.exchange.aggregation import AggregationError, ExactSum
from simulate.method import MethodError
from simulate.plan import make_plan
from tests.runs import experiment, run, scope_shapes, tensors

BASE = {"name": "x", "corpus": "synthetic-ner", "partition": "iid", "method": "fedavg"}
FLOATS = st.floats(-100, 100, width=32)


def aggregated(aggregator, updates, weights=None, order=None):
    """What becomes of the updates of clients 0, 1, ..., of ten in all: the update, and who sent each tensor."""
    weights = weights or [1] * len(updates)
    parts = [ExactSum(sum(weights)), ExactSum(sum(weights))]
    for place, client in enumerate(order or range(len(updates))):
        parts[place % 2].add(aggregator.receive(updates[client], client), weights[client])
    parts[0].merge(parts[1])
    return aggregator.aggregate(parts[0], 10)


def of(*values: float) -> list[dict[str, torch.Tensor]]:
    return [{"w": torch.tensor([value])} for value in values]


@pytest.mark.parametrize(
    ("aggregator", "values", "expected"),
    [
        (Median(), [5, 1, 1000], 5),
        (Median(), [4, -1000, 1, 2], 1.5),  # between 1 and 2
        (Median(), [7], 7),
        (TrimmedMean(trim=0.2), [3, 1000, 1, 2, -1000], 2),  # (1 + 2 + 3) / 3: one of five at each end
        (TrimmedMean(trim=0.2), [3, 1000, 1, 2], 2.5),  # 0.8 of a client is one: (2 + 3) / 2
        (TrimmedMean(trim=0.3), [1, 2, 3, 4, 5, 6, 7, 8, 9, 100], 5.5),  # three of ten: the mean of 4 to 7
        (TrimmedMean(trim=0.4), [1, 2, 9], 2),  # two of three at each end would leave none
        (TrimmedMean(trim=0.4), [1, 2], 1.5),
        (TrimmedMean(), [7], 7),
    ],
)
def test_coordinates_by_hand(aggregator, values, expected):
    update, participation = aggregated(
        aggregator, of(*values), weights=[10 * place + 1 for place in range(len(values))]
    )
    assert update["w"].tolist() == [expected]
    assert participation == {"w": len(values) / 10}


def test_each_number_has_its_own_median():
    update, _ = aggregated(Median(), [{"w": torch.tensor(w)} for w in ([[1.0, 9.0]], [[2.0, 8.0]], [[3.0, -7.0]])])
    assert update["w"].tolist() == [[2, 8]]


@pytest.mark.parametrize("aggregator", [Median(), TrimmedMean(trim=0.34)])
def test_each_tensor_is_made_of_those_who_sent_it(aggregator):
    """Eleven clients, so that names of clients do not sort as numbers do; the last three alone sent b."""
    updates = [{"a": torch.tensor([float(client)])} for client in range(11)]
    for client, value in ((8, 5.0), (9, -100.0), (10, 7.0)):
        updates[client]["b"] = torch.tensor([value])
    update, participation = aggregated(aggregator, updates)
    assert update["a"].tolist() == [5]
    assert update["b"].tolist() == [5]
    assert participation == {"a": 1.1, "b": 0.3}


@pytest.mark.parametrize("aggregator", [Median(), TrimmedMean(trim=0.25), NormBound(bound=1.0)])
def test_order_and_split_over_workers_change_no_bit(aggregator):
    rng = torch.Generator().manual_seed(0)
    updates = [{"w": torch.randn(50, generator=rng), "v": torch.randn(3, 3, generator=rng)} for _ in range(5)]
    results = {
        tuple(tensor.numpy().tobytes() for _, tensor in sorted(aggregated(aggregator, updates, order=order)[0].items()))
        for order in itertools.permutations(range(5))
    }
    assert len(results) == 1


@given(st.lists(FLOATS, min_size=1, max_size=5), st.integers(1, 7))
def test_equal_updates_give_that_update_as_the_mean_does(values, clients):
    updates = [{"w": torch.tensor(values)}] * clients
    mean = aggregated(Mean(), updates)[0]["w"]
    for aggregator in (Median(), TrimmedMean(trim=0.3), NormBound(bound=1e6)):
        assert torch.equal(aggregated(aggregator, updates)[0]["w"], mean)


@given(st.lists(FLOATS, min_size=3, max_size=7), st.data())
def test_a_minority_of_liars_stays_within_what_honest_clients_sent(honest, data):
    liars = data.draw(st.lists(st.floats(-1e5, 1e5, width=32), max_size=len(honest) - 1))
    values = data.draw(st.permutations([*honest, *liars]))
    for aggregator in (Median(), TrimmedMean(trim=0.49)):
        result = aggregated(aggregator, of(*values))[0]["w"].item()
        assert min(honest) - 1e-6 <= result <= max(honest) + 1e-6


def test_the_norm_bound_by_hand():
    """(3, 0) and (0, 4) together have norm 5: under 2.5 half of them counts; (0.3, 0.4) is short enough."""
    long = {"a": torch.tensor([3.0]), "b": torch.tensor([0.0, 4.0])}
    short = {"a": torch.tensor([0.3]), "b": torch.tensor([0.0, 0.4])}
    bound = NormBound(bound=2.5)
    assert {name: tensor.tolist() for name, tensor in bound.receive(long, 0).items()} == {"a": [1.5], "b": [0, 2]}
    assert bound.receive(short, 1) is short
    update, _ = aggregated(bound, [long, short], weights=[1, 3])
    assert update["a"].tolist() == pytest.approx([(1.5 + 3 * 0.3) / 4])
    assert update["b"].tolist() == pytest.approx([0, (2 + 3 * 0.4) / 4])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("aggregator", [Mean(), Median(), TrimmedMean(), NormBound(bound=1.0)])
def test_no_aggregation_hides_what_cannot_be_averaged(aggregator, bad):
    with pytest.raises(AggregationError, match="the update of w"):
        aggregated(aggregator, of(1.0, bad))


@pytest.mark.parametrize(
    ("aggregation", "label"),
    [
        ("median", "median"),
        ({"name": "trimmed_mean", "trim": 0.4}, "trimmed mean"),
        ({"name": "norm_bound", "bound": 1e4}, "norm bound"),
    ],
)
def test_with_one_client_all_are_the_mean(aggregation, label, tiny_decoder, ner_corpus, tmp_path):
    one = {"partition": {"name": "iid", "clients": 1, "min_size": 1}}
    run(experiment(tiny_decoder, ner_corpus, **one), tmp_path / "mean")
    summary = run(experiment(tiny_decoder, ner_corpus, aggregation=aggregation, **one), tmp_path / "robust")
    assert tensors(tmp_path / "robust") == tensors(tmp_path / "mean")
    assert summary["label"] == f"Layer skipping (2/4 layers) + {label}"


def test_a_liar_wrecks_the_mean_and_not_the_median(tiny_decoder, ner_corpus, tmp_path):
    """One of five sends noise a thousand times as long: the mean moves as far as a fifth of it, the median does not."""
    five = {"partition": {"name": "iid", "clients": 5, "min_size": 1}, "rounds": 1}
    faults = {"byzantine": 0.2, "attack": "noise", "strength": 1000}
    loss = {}
    for aggregation in ("mean", "median"):
        what = experiment(tiny_decoder, ner_corpus, aggregation=aggregation, faults=faults, **five)
        summary = run(what, tmp_path / aggregation)
        loss[aggregation] = summary["final"]["test"]["loss"]
    honest = run(experiment(tiny_decoder, ner_corpus, **five), tmp_path / "honest")["final"]["test"]["loss"]
    assert loss["median"] == pytest.approx(honest, rel=0.1)
    assert loss["mean"] > 2 * honest


@pytest.mark.parametrize(
    ("method", "title"), [("fednova", "FedNova"), ("flora", "FLoRA"), ("fedex_lora", "FedEx-LoRA")]
)
def test_methods_defined_by_the_mean_refuse_others(method, title):
    with pytest.raises(MethodError, match=rf"^{title} needs aggregation=mean, not median: .*mean"):
        build(BASE | {"method": method, "aggregation": "median"})
    assert build(BASE | {"method": method}).parts["aggregation"] == "mean"


def test_scaffold_refuses_a_bound():
    train = {"optimizer": "sgd", "weight_decay": 0, "clip_norm": None}
    with pytest.raises(MethodError, match=r"^SCAFFOLD needs aggregation=mean, not norm_bound: the server's variate is"):
        build(BASE | {"method": "scaffold", "train": train, "aggregation": {"name": "norm_bound", "bound": 1}})


@pytest.mark.parametrize(
    ("aggregation", "message"),
    [
        ("medain", "unknown aggregation 'medain'; did you mean 'median'?"),
        ("norm_bound", "aggregation.bound is not set: NormBound needs it"),
        ({"name": "trimmed_mean", "trim": 0.5}, "aggregation.trim = 0.5: Input should be less than 0.5"),
        ({"name": "median", "trim": 0.1}, "unknown key aggregation.trim; Median has no settings"),
    ],
)
def test_mistakes_are_one_line(aggregation, message):
    with pytest.raises(ConfigError) as error:
        build(BASE | {"aggregation": aggregation})
    assert str(error.value) == message


def test_a_plan_counts_the_updates_that_are_kept_apart(tiny_decoder, ner_corpus):
    """Eight bytes for each exchanged number of each client of a cohort but the first, whose sum there is anyway."""
    plans = [make_plan(experiment(tiny_decoder, ner_corpus, aggregation=name)) for name in ("mean", "median")]
    exchanged = sum(torch.Size(shape).numel() for shape in scope_shapes(experiment(tiny_decoder, ner_corpus)).values())
    assert plans[1].memory_bytes - plans[0].memory_bytes == 3 * 8 * exchanged
    assert plans[1].transfer_bytes == plans[0].transfer_bytes
