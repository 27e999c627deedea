"""FedNova: the effective steps, the step of the server by hand, and where it is FedAvg."""

import pytest
import torch
from safetensors.torch import load_file

from baselines.fednova import EFFECTIVE_STEPS, FedNova, effective_steps
from simulate.clients.training import TrainSettings
from simulate.exchange.aggregation import ExactSum
from simulate.exchange.channel import Float32Channel
from simulate.method import Visit
from tests.baselines.helpers import change
from tests.runs import experiment, run, scope_shapes

SGD = {"optimizer": "sgd", "weight_decay": 0.0, "clip_norm": None}


def settings(**changes) -> TrainSettings:
    return TrainSettings(**(SGD | changes))


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        (settings(), 3.0),
        (settings(momentum=0.5), 4.25),  # 1.75 + 1.5 + 1: the first gradient moves all three steps, 1 + 1/2 + 1/4
        (TrainSettings(), 3.0),  # AdamW: its steps
    ],
)
def test_effective_steps_by_hand(train, expected):
    assert effective_steps(3, train) == pytest.approx(expected)


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9])
def test_effective_steps_are_what_the_optimizer_makes_of_a_constant_gradient(momentum):
    """Curvature 1e-6 at the distance 1e6: the gradient stays at -1 to within 1e-5, so that the change is lr |a|_1."""
    train = settings(lr=0.25, momentum=momentum)
    labels = torch.tensor([[1e6, 1e6], [1e-6, 1e-6]])
    moved = change(torch.zeros(2), labels, 7, train)
    assert moved.tolist() == pytest.approx([0.25 * effective_steps(7, train)] * 2, rel=1e-4)


def server_step(visits: list[tuple[list[float], int, int]]) -> list[float]:
    """The new weights, from 0, after clients of (change, steps, examples)."""
    method, total = FedNova(), ExactSum(sum(examples for *_, examples in visits))
    for delta, steps, examples in visits:
        update, kept = method.upload({"w": torch.tensor(delta)}, Visit({}, {}, steps, 0.1, settings()))
        assert not kept
        total.add(update, examples, method.unweighted(update))
    new = method.server_step({"w": torch.zeros(2)}, total.average(), total.participation(len(visits)))
    assert set(new) == {"w"}
    return new["w"].tolist()


def test_the_server_step_by_hand():
    """One example and step to (2, 0), three examples and four steps to (0, 8).

    tau_eff = 1/4 * 1 + 3/4 * 4 = 13/4; the mean of (2, 0) / 1 and (0, 8) / 4 is (1/2, 3/2); the step (13/8, 39/8),
    where FedAvg's is (1/2, 6).
    """
    assert server_step([([2, 0], 1, 1), ([0, 8], 4, 3)]) == [13 / 8, 39 / 8]


def test_equal_steps_are_fedavg_by_hand():
    assert server_step([([2, 0], 4, 1), ([0, 8], 4, 3)]) == [0.5, 6]


def test_unlike_steps_keep_the_optimum_of_the_mean():
    """F_1 = |w|^2 / 2 takes one step a round, F_2 = |w - 1|^2 / 2 four: FedAvg ends nearer the second's minimum.

    In the limit of small lr FedNova meets in the middle, FedAvg at 4 / 5.
    """
    w, plain = torch.zeros(2), torch.zeros(2)
    train = settings(lr=0.003)
    clients = [(torch.tensor([[0.0, 0], [1, 1]]), 1), (torch.tensor([[1.0, 1], [1, 1]]), 4)]
    for _ in range(1000):
        visits = [(change(w, labels, steps, train).tolist(), steps, 1) for labels, steps in clients]
        w = w + torch.tensor(server_step(visits))
        plain = plain + sum(change(plain, labels, steps, train) for labels, steps in clients) / 2
    assert w.tolist() == pytest.approx([0.5, 0.5], abs=2e-3)
    assert plain.tolist() == pytest.approx([0.8, 0.8], abs=2e-3)


@pytest.mark.parametrize("scope", [{}, {"layers": 2}, {"budgets": [1, 3]}], ids=str)
def test_equally_many_steps_are_fedavg(scope, tiny_decoder, ner_corpus, tmp_path):
    train = SGD | {"lr": 0.1, "batch_size": 4, "local_steps": 3}
    for method in ("fedprox", "fednova"):
        settings = {"name": method, **scope} | ({"mu": 0} if method == "fedprox" else {})
        run(experiment(tiny_decoder, ner_corpus, settings, train=train), tmp_path / method)
    left, right = (load_file(tmp_path / name / "model" / "exchanged.safetensors") for name in ("fedprox", "fednova"))
    assert left.keys() == right.keys()
    assert all(torch.allclose(left[name], right[name], atol=1e-5) for name in left)


@pytest.mark.parametrize("scope", [{}, {"layers": 2}], ids=str)
def test_one_number_more_goes_up_and_nothing_more_comes_down(scope, tiny_decoder, ner_corpus, tmp_path):
    what = experiment(tiny_decoder, ner_corpus, {"name": "fednova", **scope}, rounds=3)
    summary = run(what, tmp_path / "run")
    shapes = scope_shapes(what)
    size = Float32Channel().size
    assert summary["bytes"]["up"] == 3 * 4 * size([*shapes.items(), (EFFECTIVE_STEPS, (1,))])
    assert summary["bytes"]["down"] == 2 * 4 * size(shapes.items())
    assert set(load_file(tmp_path / "run" / "model" / "exchanged.safetensors")) == set(shapes)
