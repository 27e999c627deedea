"""What the tests of methods share: a model of two weights with quadratic loss, and the shapes of a scope."""

from types import SimpleNamespace

import torch
from torch import nn

from simulate.clients.training import LocalTerm, TrainSettings, train_client
from simulate.config import Experiment
from simulate.plan import outline


class TwoWeights(nn.Module):
    """Its logits are its weights."""

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(weights.clone())

    def forward(self) -> SimpleNamespace:
        return SimpleNamespace(logits=self.w)


def quadratic(weights: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """curvature / 2 (w - b)^2, summed; labels are the rows b and curvature. The gradient is curvature (w - b)."""
    target, curvature = labels
    return (curvature * (weights - target).square()).sum() / 2


def change(
    start: torch.Tensor, labels: torch.Tensor, steps: int, train: TrainSettings, term: LocalTerm = lambda _: None
) -> torch.Tensor:
    """What local training changes."""
    model = TwoWeights(start)
    batches = ({"labels": labels} for _ in range(steps))
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=False)
    train_client(model, {"w": model.w}, batches, train, train.lr, term, quadratic, autocast)
    return model.w.detach() - start


def scope_shapes(what: Experiment) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the model's tensors that an experiment exchanges, found without weights."""
    model = outline(what)
    return {name: model.shapes[name] for name in model.scope.exchanged}
