"""Averages over clients that do not depend on order: weighted sums in fixed point."""

import math
from collections.abc import Mapping

import numpy as np
import torch

from simulate.exchange.changes import flat
from simulate.exchange.channel import State
from simulate.exchange.loops import add_rounded, divide_sum
from simulate.exchange.loops.arrays import Floats, Integers

FRACTION_BITS = 44
"""Binary places kept of a weighted average: a grid of 5.7e-14, far below float32's 6e-8 at 1."""

LARGEST = 2.0**18
"""The largest update element that can be summed: twice this would leave int64."""


class AggregationError(ValueError):
    """An update that cannot be averaged; the message names the tensor."""


def check_elements(update: Mapping[str, torch.Tensor]) -> None:
    """Refuse an update that cannot be summed.

    Raises:
        AggregationError: if an element is not finite, or larger than `LARGEST`.
    """
    for name, tensor in update.items():
        if not _size(tensor) <= LARGEST:
            raise _refusal(name, tensor)


def _refusal(name: str, tensor: torch.Tensor) -> AggregationError:
    return AggregationError(f"the update of {name} has an element of size {_size(tensor)}, more than {LARGEST:g}")


def _size(tensor: torch.Tensor) -> float:
    """The largest size of an element; NaN if one is."""
    return float(torch.linalg.vector_norm(tensor, math.inf)) if tensor.numel() else 0.0


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
        self.sums: dict[str, list[Integers]] = {}  # our own, and then those that came with `merge`
        self.weights: dict[str, int] = {}
        self.senders: dict[str, int] = {}

    def add(self, update: Mapping[str, torch.Tensor], weight: int, unweighted: frozenset[str] = frozenset()) -> None:
        """Add one client's update; before anything is merged.

        Args:
            update: float32 tensors on the CPU, by name.
            weight: the client's weight, a positive integer.
            unweighted: names whose weight is 1 for every client.

        Raises:
            AggregationError: if an element is not finite, or larger than `LARGEST`, or a tensor has another shape than
                that of other clients; then nothing is added.
        """
        for name, tensor in update.items():
            self._require_shape(name, tensor.shape)
        new = update.keys() - self.sums.keys()
        for name in new:
            self.sums[name] = [np.zeros(update[name].shape, np.int64)]
        added: list[tuple[Integers, Floats, float]] = []
        for name, tensor in update.items():
            scale = (1 if name in unweighted else weight) * 2.0**self.places
            added.append((self.sums[name][0].reshape(-1), flat(tensor.contiguous()), scale))
            if add_rounded(*added[-1], LARGEST):
                for total, values, scale in added:
                    add_rounded(total, values, -scale, LARGEST)
                for other in new:
                    del self.sums[other]
                raise _refusal(name, tensor)
        for name in update:
            self._count(name, 1 if name in unweighted else weight, 1)

    def _require_shape(self, name: str, shape: tuple[int, ...]) -> None:
        if name in self.sums and (ours := self.sums[name][0].shape) != tuple(shape):
            raise AggregationError(f"the update of {name} has shape {[*shape]}, of others {[*ours]}")

    def merge(self, other: "ExactSum") -> None:
        """Add another worker's sum to this one, whose tensors it refers to from now on.

        Raises:
            AggregationError: if it counts in other units, or a tensor has another shape; then nothing is added.
        """
        if other.places != self.places:
            raise AggregationError(f"sums of {other.places} and {self.places} binary places cannot be merged")
        for name, parts in other.sums.items():
            self._require_shape(name, parts[0].shape)
        for name, parts in other.sums.items():
            self.sums.setdefault(name, []).extend(parts)
            self._count(name, other.weights[name], other.senders[name])

    def average(self) -> State:
        """The weighted mean per name, float32."""
        means = {}
        for name, parts in self.sums.items():
            means[name] = torch.empty(parts[0].shape)
            divide_sum(flat(means[name]), tuple(map(_read, parts)), self.weights[name] * 2.0**self.places)
        return means

    def participation(self, clients: int) -> dict[str, float]:
        """The share of all `clients` that sent each name."""
        return {name: senders / clients for name, senders in self.senders.items()}

    def _count(self, name: str, weight: int, senders: int) -> None:
        self.weights[name] = self.weights.get(name, 0) + weight
        self.senders[name] = self.senders.get(name, 0) + senders


def _read(total: Integers) -> Integers:
    """A flat view that is only read, as are those of other processes: loops take arrays of one kind."""
    view = total.reshape(-1)
    view.flags.writeable = False
    return view
