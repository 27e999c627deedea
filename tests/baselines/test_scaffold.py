"""SCAFFOLD: variates by hand on two weights, its fixed point, its bytes, and what it refuses."""

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from baselines.scaffold import PREFIX, Scaffold
from simulate.clients.training import TrainSettings
from simulate.engine.serial_executor import SerialExecutor
from simulate.exchange.aggregation import ExactSum
from simulate.exchange.channel import Float32Channel
from simulate.method import MethodError, Visit
from tests.baselines.helpers import change
from tests.runs import experiment, run, scope_shapes, tensors

SGD = {"optimizer": "sgd", "weight_decay": 0.0, "clip_norm": None}
W, C = "w", PREFIX + "w"
PLAIN = {"lr": 0.05, "batch_size": 4, **SGD}


class Federation:
    """Rounds of SCAFFOLD on two weights, through its hooks and the real local training and sum."""

    def __init__(self, clients: list[list[list[float]]], steps: list[int], lr: float) -> None:
        self.clients = [torch.tensor(labels) for labels in clients]
        self.steps = steps
        self.train = TrainSettings(lr=lr, **SGD)
        self.method = Scaffold()
        self.state = {W: torch.zeros(2), C: torch.zeros(2)}
        self.memories: list[dict[str, torch.Tensor]] = [{} for _ in clients]

    def round(self, cohort: list[int]) -> None:
        total = ExactSum(100)
        for client in cohort:
            memory = self.memories[client]
            delta = change(
                self.state[W],
                self.clients[client],
                self.steps[client],
                self.train,
                lambda trained, memory=memory: self.method.local_term(trained, self.state, memory),
            )
            visit = Visit(self.state, memory, self.steps[client], self.train.lr, self.train)
            update, self.memories[client] = self.method.upload({W: delta}, visit)
            total.add(update, 10 + client, self.method.unweighted(update))
        self.state |= self.method.server_step(self.state, total.average(), total.participation(len(self.clients)))

    def own(self, client: int) -> list[float]:
        return self.memories[client].get(C, torch.zeros(2)).tolist()


def test_two_rounds_by_hand():
    """Two clients with F_i = |w - b_i|^2 / 2, b_1 = (1, 0), b_2 = (0, 4); lr 1/2, K = 2, so that K lr = 1.

    Round 1, from 0 without corrections: client 1 meets the gradients (-1, 0), (-1/2, 0) and ends at (3/4, 0), so that
    c_1 = (-3/4, 0); client 2 meets (0, -4), (0, -2): (0, 3) and c_2 = (0, -3). x = (3/8, 3/2), c = (-3/8, -3/2).

    Round 2: client 1 adds c - c_1 = (3/8, -3/2). Gradient (-5/8, 3/2), corrected (-1/4, 0), to (1/2, 3/2); then
    (-1/2, 3/2), corrected (-1/8, 0), to (9/16, 3/2). c_1 is the mean of its gradients: (-9/16, 3/2).
    Client 2 adds (-3/8, 3/2): (3/8, -5/2) becomes (0, -1), to (3/8, 2); (3/8, -2) becomes (0, -1/2), to (3/8, 9/4).
    c_2 = (3/8, -9/4). x = (15/32, 15/8) and c, the mean of c_1 and c_2, = (-3/32, -3/8).
    """
    federation = Federation([[[1, 0], [1, 1]], [[0, 4], [1, 1]]], steps=[2, 2], lr=0.5)
    federation.round([0, 1])
    assert [federation.own(0), federation.own(1)] == [[-0.75, 0], [0, -3]]
    assert [federation.state[W].tolist(), federation.state[C].tolist()] == [[0.375, 1.5], [-0.375, -1.5]]
    federation.round([0, 1])
    assert [federation.own(0), federation.own(1)] == [[-9 / 16, 1.5], [0.375, -2.25]]
    assert [federation.state[W].tolist(), federation.state[C].tolist()] == [[15 / 32, 15 / 8], [-3 / 32, -3 / 8]]


def test_a_part_of_the_clients_moves_the_server_variate_by_its_share():
    """The first of two clients alone: c = 1/2 c_1 = (-3/8, 0), the mean over all, the other one's being zero."""
    federation = Federation([[[1, 0], [1, 1]], [[0, 4], [1, 1]]], steps=[2, 2], lr=0.5)
    federation.round([0])
    assert federation.state[W].tolist() == [0.75, 0]
    assert federation.state[C].tolist() == [-0.375, 0]


@pytest.mark.parametrize("steps", [[4, 4], [2, 8]])
def test_unlike_clients_meet_at_the_optimum_of_their_mean(steps):
    """F_1 = w^2 / 2 and F_2 = 4 (w - 1)^2 / 2 in both weights: the mean has its minimum at 4 / 5.

    Without corrections the clients end between their own minima: w = mean of w q_1 and 1 + (w - 1) q_2 with
    q_i = (1 - lr a_i)^K, for K = 4 and lr = 0.1 at (1 - q_2) / (2 - q_1 - q_2) = 0.717.
    """
    federation = Federation([[[0, 0], [1, 1]], [[1, 1], [4, 4]]], steps, lr=0.1)
    for _ in range(200):
        federation.round([0, 1])
    assert federation.state[W].tolist() == pytest.approx([0.8, 0.8], abs=1e-5)
    assert federation.state[C].tolist() == pytest.approx([0, 0], abs=1e-5)


def test_clients_of_the_same_data_train_as_without_corrections():
    """c_i = c from the first round on, so that each client takes plain steps: q^(K rounds) of the way is left."""
    federation = Federation([[[1, 2], [1, 1]]] * 3, steps=[2, 2, 2], lr=0.5)
    for _ in range(3):
        federation.round([0, 1, 2])
    assert federation.state[W].tolist() == pytest.approx([1 - 0.5**6, 2 * (1 - 0.5**6)])


@pytest.mark.parametrize(
    ("train", "named"),
    [
        (
            {},
            "train.optimizer = adamw, train.weight_decay = 0.01, train.clip_norm = 1.0: "
            "set train.optimizer=sgd train.weight_decay=0 train.clip_norm=null",
        ),
        (SGD | {"momentum": 0.9}, "train.momentum = 0.9: set train.momentum=0"),
        (SGD | {"weight_decay": 0.1}, "train.weight_decay = 0.1: set train.weight_decay=0"),
        (SGD | {"clip_norm": 2.0}, "train.clip_norm = 2.0: set train.clip_norm=null"),
        (SGD | {"decay": "linear", "final_lr": 0}, "train.final_lr = 0.0: set train.final_lr=0.1"),
    ],
)
def test_anything_but_plain_sgd_is_refused_when_the_experiment_is_read(train, named, tiny_decoder, ner_corpus):
    with pytest.raises(MethodError, match=rf"^method scaffold needs plain SGD, not {named}$"):
        experiment(tiny_decoder, ner_corpus, "scaffold", train=train)


def test_with_one_client_it_is_fedavg(tiny_decoder, ner_corpus, tmp_path):
    """c = c_1 in every round; the fixed-point sums differ in their last places by the client's weight."""
    one = {"partition": {"name": "iid", "clients": 1, "min_size": 1}, "rounds": 3, "train": PLAIN}
    for method in ("fedavg", "scaffold"):
        run(experiment(tiny_decoder, ner_corpus, method, **one), tmp_path / method)
    left, right = (load_file(tmp_path / name / "model" / "exchanged.safetensors") for name in ("fedavg", "scaffold"))
    assert left.keys() == right.keys()
    assert all(torch.allclose(left[name], right[name], atol=1e-6) for name in left)


@pytest.mark.parametrize("scope", [{}, {"layers": 2}])
def test_the_variates_double_the_bytes_both_ways(scope, tiny_decoder, ner_corpus, tmp_path):
    """All four clients in all three rounds; the set-up has brought what round 1 begins with, and variates are zero."""
    method = {"name": "scaffold", **scope}
    what = experiment(tiny_decoder, ner_corpus, method, rounds=3, train=PLAIN)
    summary = run(what, tmp_path / "run")
    shapes = scope_shapes(what)
    doubled = Float32Channel().size([*shapes.items(), *((PREFIX + name, shape) for name, shape in shapes.items())])
    assert 2 * Float32Channel().size(shapes.items()) < doubled + 16
    assert summary["bytes"]["up"] == 3 * 4 * doubled
    assert summary["bytes"]["down"] == 2 * 4 * doubled
    assert set(tensors(tmp_path / "run")) == set(shapes)


@pytest.mark.parametrize(
    "scope",
    [{}, {"layers": 1, "policy": "random"}, {"budgets": [1, 3]}, {"layers": 2, "policy": "gradient_norm"}],
    ids=str,
)
def test_the_server_variate_stays_the_mean_of_all_clients(scope, tiny_decoder, ner_corpus, tmp_path):
    """Whoever took part and whatever they trained; of a client that never trained a tensor the variate is zero."""
    what = experiment(
        tiny_decoder,
        ner_corpus,
        {"name": "scaffold", **scope},
        rounds=4,
        cohort={"count": 2},
        train=PLAIN | {"decay": "cosine"},
    )
    workers = SerialExecutor(what.engine)
    run(what, tmp_path / "run", workers)
    assert workers._worker is not None
    variates = workers._worker.extras
    assert sum(bool(variate.any()) for variate in variates.values()) > 5
    for name, variate in variates.items():
        own = [state[name] for state in workers._states.values() if name in state]
        assert torch.allclose(variate, sum(own, torch.zeros_like(variate)) / 4, atol=1e-6)
    assert pd.read_csv(tmp_path / "run" / "rounds.csv")["test_loss"].notna().all()
