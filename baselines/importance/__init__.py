"""Measures of how much a block matters for a client's examples, each the name of a layer policy.

A measure is a function of the model (with the global values), its structure, batches of the client's examples and the
task's loss, which gives a score for each block and leaves the model as it was. The cohort's scores are averaged by
examples, and the server's choice goes back to the clients: both are counted.
"""

from collections.abc import Callable, Iterable

from torch import nn

from baselines.importance.attention import attention
from baselines.importance.gradients import fisher, gradient_norm
from simulate.clients.training import Batch, LossOf
from simulate.models.structure import Structure

MEASURES: dict[str, Callable[[nn.Module, Structure, Iterable[Batch], LossOf], list[float]]] = {
    "gradient_norm": gradient_norm,
    "fisher": fisher,
    "attention": attention,
}
"""Name of the policy -> measure."""
