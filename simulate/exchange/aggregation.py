"""Averages over clients that do not depend on order: weighted sums in fixed point."""

import math
from collections.abc import Mapping

import torch

from simulate.exchange.channel import State

FRACTION_BITS = 44
"""Binary places kept of a weighted average: a grid of 5.7e-14, far below float32's 6e-8 at 1."""

LARGEST = 2.0**18
"""The largest update element that can be summed: twice this would leave int64."""


class AggregationError(ValueError):
    """An update that cannot be averaged; the message names the tensor."""


class ExactSum:
    """The weighted sum of client updates, per tensor name, in int64 fixed point.

    Integer addition is associative, so any order of clients and any split of the clients over workers gives the same
    bits. Clients may send different names: each name is averaged over the clients that sent it (heterogeneous layer
    sets). A client's weight is its number of examples n_i (McMahan et al. 2017, arXiv 1602.05629, Algorithm 1).

    Args:
        total_weight: an upper bound of the weights that will be added, known before the round: the cohort's examples.
    """

    def __init__(self, total_weight: int) -> None:
        # x * n * 2**places is exact in float64 (24 + 29 bits), so that rounding to the grid is the only loss.
        self.places = FRACTION_BITS - max(0, math.ceil(math.log2(max(1, total_weight))))
        self.sums: dict[str, torch.Tensor] = {}
        self.weights: dict[str, int] = {}
        self.senders: dict[str, int] = {}

    def add(self, update: Mapping[str, torch.Tensor], weight: int, unweighted: frozenset[str] = frozenset()) -> None:
        """Add one client's update.

        Args:
            update: float tensors by name.
            weight: the client's weight, a positive integer.
            unweighted: names whose weight is 1 for every client.

        Raises:
            AggregationError: if an element is not finite, or larger than `LARGEST`.
        """
        weights = {name: 1 if name in unweighted else weight for name in update}
        grid = {}
        for name, tensor in update.items():
            largest = float(tensor.abs().max()) if tensor.numel() else 0.0
            if not largest <= LARGEST:
                raise AggregationError(f"the update of {name} has an element of size {largest}, more than {LARGEST:g}")
            grid[name] = tensor.to(torch.float64).mul_(weights[name] * 2.0**self.places).round_().to(torch.int64)
        self._accumulate(grid, weights, dict.fromkeys(grid, 1))

    def merge(self, other: "ExactSum") -> None:
        """Add another worker's sum to this one."""
        if other.places != self.places:
            raise AggregationError(f"sums of {other.places} and {self.places} binary places cannot be merged")
        self._accumulate(other.sums, other.weights, other.senders)

    def average(self) -> State:
        """The weighted mean per name, float32."""
        return {
            name: (total.to(torch.float64) / (self.weights[name] * 2.0**self.places)).to(torch.float32)
            for name, total in self.sums.items()
        }

    def participation(self, clients: int) -> dict[str, float]:
        """The share of all `clients` that sent each name."""
        return {name: senders / clients for name, senders in self.senders.items()}

    def _accumulate(
        self, sums: Mapping[str, torch.Tensor], weights: Mapping[str, int], senders: Mapping[str, int]
    ) -> None:
        for name, total in sums.items():
            if name in self.sums:
                self.sums[name] += total
            else:
                self.sums[name] = total.clone()
            self.weights[name] = self.weights.get(name, 0) + weights[name]
            self.senders[name] = self.senders.get(name, 0) + senders[name]
