"""Importance of blocks by gradients: the norm of the mean gradient, and the empirical Fisher information."""

from collections.abc import Iterable

import torch
from torch import nn

from simulate.clients.training import Batch, LossOf
from simulate.models.structure import Structure


def gradient_norm(model: nn.Module, structure: Structure, batches: Iterable[Batch], loss: LossOf) -> list[float]:
    """The blocks of the largest gradient: the L2 norm of the mean gradient over the batches.

    Sun et al. 2024, "Exploring Selective Layer Fine-Tuning in Federated Learning" (arXiv 2408.15600, section 4), choose
    layers by local gradient norms and pull clients towards one choice; here the server averages the norms, and all
    clients of equal budget have one choice.
    """
    gradients = _gradients(model, structure, batches, loss)
    mean: list[list[torch.Tensor]] = []
    for count, batch in enumerate(gradients):
        if not count:
            mean = [[torch.zeros_like(gradient) for gradient in block] for block in batch]
        for total, block in zip(mean, batch, strict=True):
            torch._foreach_add_(total, block)
    return [_squares(block) ** 0.5 / (count + 1) for block in mean]


def fisher(model: nn.Module, structure: Structure, batches: Iterable[Batch], loss: LossOf) -> list[float]:
    """The blocks of the largest Fisher information: squared gradients, summed over a block, averaged over batches.

    The diagonal of the empirical Fisher information matrix (Kirkpatrick et al. 2017, arXiv 1612.00796) with the mean
    gradient of a batch in place of that of an example.
    """
    squares = [[_squares(block) for block in batch] for batch in _gradients(model, structure, batches, loss)]
    return torch.tensor(squares, dtype=torch.float64).mean(dim=0).tolist()


def _gradients(
    model: nn.Module, structure: Structure, batches: Iterable[Batch], loss: LossOf
) -> Iterable[list[list[torch.Tensor]]]:
    """For each batch the gradient of each tensor of each block, float32."""
    parameters = [[model.get_parameter(name) for name in block] for block in structure.blocks]
    flat = [parameter for block in parameters for parameter in block]
    needed = [parameter.requires_grad for parameter in flat]
    for parameter in flat:
        parameter.requires_grad_(True)
    try:
        for batch in batches:
            labels = batch.pop("labels")
            value = loss(model(**batch).logits, labels)
            found = iter(torch.autograd.grad(value, flat, materialize_grads=True))
            yield [[next(found).float() for _ in block] for block in parameters]
    finally:
        for parameter, before in zip(flat, needed, strict=True):
            parameter.requires_grad_(before)


def _squares(tensors: list[torch.Tensor]) -> float:
    return float(torch.stack([tensor.double().square().sum() for tensor in tensors]).sum())
