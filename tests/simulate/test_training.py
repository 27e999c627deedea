"""Local training: batches, schedules, and single steps on numbers derived by hand."""

import math
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from baselines.fedprox import FedProx
from simulate import seeds
from simulate.clients.batches import client_batches, local_steps
from simulate.clients.training import TrainSettings, learning_rate, train_client
from simulate.engine.cohort import CohortSettings, cohort, cohort_size


class Quadratic(nn.Module):
    """Loss 1/2 sum (w - target)^2, so that the gradient is w - target."""

    def __init__(self, *start: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(start))

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.w


def half_square(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return 0.5 * (logits - labels).square().sum()


def steps(model: Quadratic, settings: TrainSettings, targets: list[list[float]], term=lambda *_: None):
    trained = dict(model.named_parameters())
    start = {name: parameter.detach().clone() for name, parameter in trained.items()}
    batches = [{"labels": torch.tensor(target)} for target in targets]
    return train_client(model, trained, batches, settings, settings.lr, lambda _: term(trained, start, {}), half_square)


def sgd(**settings) -> TrainSettings:
    return TrainSettings(**{"optimizer": "sgd", "lr": 0.5, "weight_decay": 0.0, "clip_norm": None} | settings)


def test_sgd_steps_by_hand():
    model = Quadratic(1.0, 0.0)
    result = steps(model, sgd(), [[0.0, 0.0], [0.0, 0.0]])
    assert model.w.tolist() == [0.25, 0.0]  # 1 - 0.5 * 1 = 0.5; 0.5 - 0.5 * 0.5 = 0.25
    assert result.steps == 2
    assert result.loss == pytest.approx((0.5 + 0.125) / 2)


def test_weight_decay_and_momentum_by_hand():
    model = Quadratic(1.0)
    steps(model, sgd(weight_decay=0.1, momentum=0.5), [[0.0], [0.0]])
    # g1 = 1 + 0.1 = 1.1, w = 1 - 0.55 = 0.45; g2 = 0.45 + 0.045 = 0.495, v = 0.55 + 0.495 = 1.045, w = 0.45 - 0.5225
    assert model.w.item() == pytest.approx(-0.0725)


def test_adamw_first_step_moves_by_the_learning_rate():
    model = Quadratic(1.0, -3.0)
    steps(model, TrainSettings(lr=0.1, weight_decay=0.0, clip_norm=None), [[0.0, 0.0]])
    assert model.w.tolist() == pytest.approx([0.9, -2.9])  # bias-corrected m / sqrt(v) = sign of the gradient


def test_clipping_bounds_the_norm_over_all_tensors():
    model = Quadratic(3.0, 4.0)
    steps(model, sgd(clip_norm=1.0, lr=1.0), [[0.0, 0.0]])
    assert model.w.tolist() == pytest.approx([3 - 0.6, 4 - 0.8], abs=1e-5)  # gradient (3, 4) of norm 5


def test_fedprox_pulls_back_by_hand():
    model = Quadratic(1.0)
    steps(model, sgd(), [[0.0], [0.0]], FedProx(mu=0.2).local_term)
    # step 1: w = w0, no pull: 1 - 0.5 * 1 = 0.5; step 2: g = 0.5 + 0.2 * (0.5 - 1) = 0.4, w = 0.5 - 0.2 = 0.3
    assert model.w.item() == pytest.approx(0.3)


def test_fedprox_with_mu_zero_is_fedavg():
    plain, proximal = Quadratic(1.0, 2.0), Quadratic(1.0, 2.0)
    targets = [[0.3, -1.0], [5.0, 0.1], [0.0, 0.0]]
    steps(plain, sgd(), targets)
    steps(proximal, sgd(), targets, FedProx(mu=0.0).local_term)
    assert torch.equal(plain.w, proximal.w)


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("none", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 1.0, 0.8, 0.6, 0.4]),
        ("cosine", [0.5, 1.0, 1.0, 0.4 + 0.6 * (1 + math.cos(math.pi / 3)) / 2, 0.4 + 0.6 * 0.25, 0.4]),
    ],
)
def test_learning_rate_by_round(decay, expected):
    settings = TrainSettings(lr=1.0, warmup_rounds=2, decay=decay, final_lr=0.4)
    assert [learning_rate(settings, round_, 6) for round_ in range(1, 7)] == pytest.approx(expected)


def batches_of(settings: TrainSettings, shard, lengths=None, client: int = 2) -> list[list[int]]:
    lengths = np.ones(60, dtype=int) if lengths is None else np.asarray(lengths)
    drawn = client_batches(settings, np.asarray(shard), lengths, seeds.generator(0, "batches", 1, client))
    return [batch.tolist() for batch in drawn]


def test_one_epoch_visits_each_example_once_in_an_order_of_its_own():
    shard = [4, 7, 9, 12, 30]
    batches = batches_of(TrainSettings(batch_size=2, local_epochs=2), shard)
    assert sorted(map(len, batches[:3])) == sorted(map(len, batches[3:])) == [1, 2, 2]
    assert sorted(chain.from_iterable(batches[:3])) == sorted(chain.from_iterable(batches[3:])) == shard
    assert batches == batches_of(TrainSettings(batch_size=2, local_epochs=2), shard)
    whole = TrainSettings(batch_size=50)
    assert batches_of(whole, range(50)) != batches_of(whole, range(50), client=3)


def test_examples_of_similar_length_share_a_batch():
    lengths = [1, 9, 2, 8, 3, 7]
    batches = batches_of(TrainSettings(batch_size=2), range(6), lengths)
    assert {frozenset(batch) for batch in batches} == {frozenset({0, 2}), frozenset({4, 5}), frozenset({1, 3})}


def test_a_budget_of_sub_words_counts_padding():
    lengths = [5, 1, 2, 9, 2, 30, 6]
    # by length 1 2 2 5 6 9 30: 3 x 2 fit into 12, a fourth would make 4 x 5; 2 x 6 fit, 9 and 30 stand alone
    batches = batches_of(TrainSettings(batch_tokens=12), range(7), lengths)
    expected = {frozenset({1, 2, 4}), frozenset({0, 6}), frozenset({3}), frozenset({5})}
    assert {frozenset(batch) for batch in batches} == expected
    again = batches_of(TrainSettings(batch_tokens=12, local_epochs=3), range(7), lengths)
    assert {frozenset(batch) for batch in again} == expected
    assert sorted(chain.from_iterable(again)) == sorted(3 * list(range(7)))
    assert len(batches_of(TrainSettings(batch_tokens=12, local_steps=6), range(7), lengths)) == 6


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 200), st.integers(0, 5))
def test_batches_under_a_budget_are_disjoint_cover_and_fit(lengths, budget, client):
    batches = batches_of(TrainSettings(batch_tokens=budget), range(len(lengths)), lengths, client)
    assert sorted(chain.from_iterable(batches)) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget for batch in batches)


def test_local_steps_go_round_the_examples():
    batches = batches_of(TrainSettings(batch_size=2, local_steps=5), range(3))
    assert len(batches) == 5
    assert sorted(chain.from_iterable(batches[:2])) == sorted(chain.from_iterable(batches[2:4])) == [0, 1, 2]


def test_partial_work_is_drawn_evenly_and_by_address():
    """Two epochs of three batches, so 1 to 6 steps; probability 1/2. Of 600 clients each number below 6 is expected for
    600 / 12 = 50 (sd 6.8), and 6 for the remaining 350 (sd 12); bounds at 4 sd."""
    settings = TrainSettings(batch_size=4, local_epochs=2, partial_work=0.5)

    def steps(settings: TrainSettings, client: int, round_: int = 1) -> int:
        whole = settings.local_steps or 6
        return local_steps(settings, whole, seeds.generator(0, "partial_work", round_, client))

    drawn = [steps(settings, client) for client in range(600)]
    counts = [drawn.count(number) for number in range(1, 7)]
    assert sum(counts) == 600
    assert all(22 < count < 78 for count in counts[:5])
    assert 302 < counts[5] < 398
    assert drawn == [steps(settings, client) for client in range(600)]
    assert drawn != [steps(settings, client, round_=2) for client in range(600)]
    assert {steps(TrainSettings(batch_size=4, local_epochs=2), client) for client in range(50)} == {6}
    every = TrainSettings(batch_size=4, local_steps=3, partial_work=1.0)
    assert {steps(every, client) for client in range(50)} == {1, 2, 3}


def test_cohort_is_a_function_of_seed_and_round():
    settings = CohortSettings(fraction=0.25)
    rounds = [cohort(settings, 20, 3, round_) for round_ in range(40)]
    assert all(len(set(chosen)) == 5 and chosen == sorted(chosen) for chosen in rounds)
    assert cohort(settings, 20, 3, 7) == rounds[7]
    assert cohort(settings, 20, 4, 7) != rounds[7]
    assert set().union(*rounds) == set(range(20))


@pytest.mark.parametrize(
    ("settings", "clients", "expected"),
    [({}, 7, 7), ({"fraction": 0.5}, 7, 4), ({"fraction": 0.01}, 7, 1), ({"count": 3}, 7, 3), ({"count": 9}, 7, 7)],
)
def test_cohort_size(settings, clients, expected):
    assert cohort_size(CohortSettings(**settings), clients) == expected
