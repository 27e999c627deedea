"""Averages over clients that do not depend on order: weighted sums in fixed point."""

import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch

from simulate.exchange.channel import State
from simulate.exchange.pieces import flat_pieces, groups, joined, pieces

FRACTION_BITS = 44
"""Binary places kept of a weighted average: a grid of 5.7e-14, far below float32's 6e-8 at 1."""

LARGEST = 2.0**18
"""The largest update element that can be summed: twice this would leave int64."""


ROUNDING = torch.tensor(1.5 * 2.0**52, dtype=torch.float64)
"""Added to a number below 2**51 it leaves no binary places: the bits of the sum count units, from those of this on."""

ROUNDING_BITS = int(ROUNDING.view(torch.int64))


class AggregationError(ValueError):
    """An update that cannot be averaged; the message names the tensor."""


def largest_element(update: Mapping[str, torch.Tensor]) -> float:
    """The largest size of an element of an update.

    Raises:
        AggregationError: if it is not finite, or more than `LARGEST`.
    """
    found = [torch.stack(torch.aminmax(piece)) for piece in flat_pieces(update) if len(piece)]
    largest = float(torch.stack(found).abs().max()) if found else 0.0
    if largest <= LARGEST:
        return largest
    for name, tensor in update.items():
        if tensor.numel() and not (size := float(tensor.abs().max())) <= LARGEST:
            raise AggregationError(f"the update of {name} has an element of size {size}, more than {LARGEST:g}")
    raise AssertionError("one of the tensors holds the largest element")


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
        self.sums: dict[str, list[torch.Tensor]] = {}  # the first is our own, others came with `merge`
        self.weights: dict[str, int] = {}
        self.senders: dict[str, int] = {}
        self.surplus: dict[str, int] = {}  # in the sums of all parts, modulo 2**64, see `_grid`

    def add(self, update: Mapping[str, torch.Tensor], weight: int, unweighted: frozenset[str] = frozenset()) -> None:
        """Add one client's update.

        Args:
            update: float tensors by name.
            weight: the client's weight, a positive integer.
            unweighted: names whose weight is 1 for every client.

        Raises:
            AggregationError: if an element is not finite, or larger than `LARGEST`; then nothing is added.
        """
        largest = largest_element(update)
        for name, tensor in update.items():
            if name not in self.sums:
                self.sums[name] = [torch.zeros(tensor.shape, dtype=torch.int64, device=tensor.device)]
            self._count(name, 1 if name in unweighted else weight, 1)
        for counted, names in ((1, unweighted & update.keys()), (weight, update.keys() - unweighted)):
            scale = counted * 2.0**self.places
            small = largest * scale < 2.0**51
            for name in names if small else ():
                self.surplus[name] = self.surplus.get(name, 0) + ROUNDING_BITS
            part = {name: tensor for name, tensor in update.items() if name in names}
            for group in groups(part):
                totals = [self.sums[name][0].view(-1) for name in group]
                if len(group) > 1:
                    grid = _grid(joined([part[name] for name in group]), scale, small)
                    torch._foreach_add_(totals, grid.split([len(total) for total in totals]))
                    continue
                for total, piece in pieces(totals[0], part[group[0]]):
                    total += _grid(piece, scale, small)

    def merge(self, other: "ExactSum") -> None:
        """Add another worker's sum to this one, whose tensors it refers to from now on."""
        if other.places != self.places:
            raise AggregationError(f"sums of {other.places} and {self.places} binary places cannot be merged")
        for name, parts in other.sums.items():
            self.sums.setdefault(name, []).extend(parts)
            self.surplus[name] = self.surplus.get(name, 0) + other.surplus.get(name, 0)
            self._count(name, other.weights[name], other.senders[name])

    def average(self) -> State:
        """The weighted mean per name, float32."""
        means = {}
        for name, parts in self.sums.items():
            means[name] = torch.empty(parts[0].shape)
            surplus = (self.surplus.get(name, 0) + 2**63) % 2**64 - 2**63
            for mean, first, *others in pieces(means[name], *parts):
                total = sum(others, start=first - surplus)
                mean.copy_(total.to(torch.float64) / (self.weights[name] * 2.0**self.places))
        return means

    def participation(self, clients: int) -> dict[str, float]:
        """The share of all `clients` that sent each name."""
        return {name: senders / clients for name, senders in self.senders.items()}

    def _count(self, name: str, weight: int, senders: int) -> None:
        self.weights[name] = self.weights.get(name, 0) + weight
        self.senders[name] = self.senders.get(name, 0) + senders

    def __getstate__(self) -> dict[str, object]:
        """As arrays, which processes of one machine share without a copy."""
        return {**vars(self), "sums": {name: [part.numpy() for part in parts] for name, parts in self.sums.items()}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*not writable")  # another worker's sums are only read
            sums = {name: [torch.from_numpy(part) for part in parts] for name, parts in state["sums"].items()}
        vars(self).update(state, sums=sums)


def _grid(flat: torch.Tensor, scale: float, small: bool) -> torch.Tensor:
    """Scaled elements rounded to whole numbers, half to even, int64.

    Args:
        small: whether all are below 2**51. That allows a faster way, which gives `ROUNDING_BITS` more.
    """
    exact = flat.to(torch.float64)
    if small:
        return torch.add(ROUNDING, exact, alpha=scale, out=exact).view(torch.int64)
    return exact.mul_(scale).round_().to(torch.int64)
