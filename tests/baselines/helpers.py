"""What the tests of methods share: a model of two weights with quadratic loss, and what is exchanged of tiny-llama."""

import torch
from torch import nn
from transformers import PreTrainedModel

from simulate.clients.training import LocalTerm, TrainSettings, train_client
from simulate.method import Method
from simulate.models.backbone import ModelSettings, meta_model
from simulate.models.structure import find_structure


class TwoWeights(nn.Module):
    """Its logits are its weights."""

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(weights.clone())

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.w


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
    train_client(model, {"w": model.w}, batches, train, train.lr, term, quadratic)
    return model.w.detach() - start


def tiny_llama() -> PreTrainedModel:
    """The embedded model with a head for three tags, without weights."""
    return meta_model(ModelSettings(name="tiny-llama"), "ner", ("O", "B-problem", "I-problem"))


def elements(method: Method) -> int:
    """How many numbers a method exchanges of `tiny_llama`."""
    model = tiny_llama()
    method.prepare(model)
    scope = method.scope(find_structure(model))
    return sum(model.get_parameter(name).numel() for name in scope.exchanged)
