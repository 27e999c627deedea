"""Server optimizers by hand on two weights, and over whole runs."""

import pytest
import torch

from baselines.server.adaptive import FedAdagrad, FedAdam, FedYogi
from baselines.server.average import Average
from baselines.server.momentum import FedAvgM
from simulate.config import build
from simulate.method import MethodError

START = torch.tensor([1.0, -1.0])
FIRST = torch.tensor([0.3, -0.4])
SECOND = torch.tensor([-0.1, 0.2])


def two_rounds(optimizer) -> tuple[list[float], list[float]]:
    """The weights after changes FIRST and SECOND of what is then the global model."""
    memory: dict[str, torch.Tensor] = {}
    one = optimizer.step({"w": START}, {"w": START + FIRST}, memory)["w"]
    two = optimizer.step({"w": one}, {"w": one + SECOND}, memory)["w"]
    return one.tolist(), two.tolist()


def test_averaging_takes_what_is_proposed():
    assert two_rounds(Average()) == ((START + FIRST).tolist(), (START + FIRST + SECOND).tolist())


def test_momentum_by_hand():
    """v1 = d1, w1 = 1 + 0.5 * 0.3; v2 = 0.5 * 0.3 - 0.1 = 0.05, w2 = w1 + 0.5 * 0.05; the other weight alike."""
    one, two = two_rounds(FedAvgM(lr=0.5, beta=0.5))
    assert one == pytest.approx([1.15, -1.2])
    assert two == pytest.approx([1.175, -1.2 + 0.5 * (0.5 * -0.4 + 0.2)])


def test_momentum_zero_is_averaging():
    assert two_rounds(FedAvgM(lr=1.0, beta=0.0)) == tuple(map(pytest.approx, two_rounds(Average())))


def expected(v1: list[float], v2: list[float], beta1: float, lr: float, tau: float) -> tuple[list[float], list[float]]:
    """Algorithm 2 of the paper, given the second moments."""
    one, two = [], []
    for w, d1, d2, a, b in zip(START, FIRST, SECOND, v1, v2, strict=True):
        m1 = (1 - beta1) * d1
        w1 = w + lr * m1 / (a**0.5 + tau)
        m2 = beta1 * m1 + (1 - beta1) * d2
        one.append(float(w1))
        two.append(float(w1 + lr * m2 / (b**0.5 + tau)))
    return one, two


def test_adagrad_by_hand():
    """tau = 0.1, so v0 = 0.01: v1 = 0.01 + 0.09, 0.01 + 0.16; v2 = v1 + 0.01, v1 + 0.04."""
    found = two_rounds(FedAdagrad(lr=0.2, beta1=0.0, tau=0.1))
    assert found == tuple(map(pytest.approx, expected([0.10, 0.17], [0.11, 0.21], 0.0, 0.2, 0.1)))


def test_adam_squares_the_change_and_not_the_momentum():
    """beta2 = 0.5: v1 = 0.005 + 0.045, 0.005 + 0.08; v2 = 0.025 + 0.005, 0.0425 + 0.02.

    With the square of the momentum (0.15 and -0.2 after the first round) v1 would be 0.01625 and 0.025.
    """
    found = two_rounds(FedAdam(lr=0.2, beta1=0.5, beta2=0.5, tau=0.1))
    assert found == tuple(map(pytest.approx, expected([0.05, 0.085], [0.03, 0.0625], 0.5, 0.2, 0.1)))


def test_yogi_moves_towards_the_square_by_its_sign():
    """v - 0.5 d^2 sign(v - d^2), from 0.01: + 0.045, then - 0.005; the other + 0.08, then - 0.02."""
    found = two_rounds(FedYogi(lr=0.2, beta1=0.5, beta2=0.5, tau=0.1))
    assert found == tuple(map(pytest.approx, expected([0.055, 0.09], [0.05, 0.07], 0.5, 0.2, 0.1)))


def test_a_tensor_that_nobody_trained_rests():
    memory: dict[str, torch.Tensor] = {}
    optimizer = FedAdam()
    state = {"a": START, "b": START}
    optimizer.step(state, {"a": START + 1, "b": START + 1}, memory)
    before = memory["v/b"].clone()
    assert set(optimizer.step(state, {"a": START + 1}, memory)) == {"a"}
    assert torch.equal(memory["v/b"], before)


@pytest.mark.parametrize(("method", "title"), [("flora", "FLoRA"), ("fedex_lora", "FedEx-LoRA")])
def test_merging_methods_take_plain_averages(method, title):
    base = {"name": "x", "corpus": "synthetic-ner", "partition": "iid", "method": method}
    with pytest.raises(MethodError, match=rf"{title} merges exact averages .* FedAdam .*: set server=average"):
        build(base | {"server": "adam"})
    assert build(base).parts["server"] == "average"
