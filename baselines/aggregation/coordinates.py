"""What median and trimmed mean share: each number of an update is made of the same number of all clients' updates.

Each client counts alike, whatever its number of examples, which a liar could invent. Where clients train different
layers, each tensor is made of the updates of those that sent it. The clients' updates pass the exact sums under names
of their own, as sums of one tensor each, so that a worker holds 8 bytes for each number of each update of its clients,
and the server 12 for each of the whole cohort's.
"""

from abc import abstractmethod
from typing import ClassVar

import torch

from simulate.aggregator import Aggregator
from simulate.exchange.aggregation import ExactSum
from simulate.exchange.channel import State


class Coordinates(Aggregator):
    apart: ClassVar[bool] = True

    def receive(self, update: State, client: int) -> State:
        return {f"{name}@{client}": tensor for name, tensor in update.items()}

    def aggregate(self, total: ExactSum, clients: int) -> tuple[State, dict[str, float]]:
        sent: dict[str, list[torch.Tensor]] = {}
        for name, tensor in sorted(total.average().items()):
            sent.setdefault(name.rpartition("@")[0], []).append(tensor)
        update = {name: self.combine(torch.stack(tensors).sort(dim=0).values) for name, tensors in sent.items()}
        return update, {name: len(tensors) / clients for name, tensors in sent.items()}

    @abstractmethod
    def combine(self, ordered: torch.Tensor) -> torch.Tensor:
        """One tensor of several.

        Args:
            ordered: of shape (clients, ...), float32, ascending along the first dimension.
        """
