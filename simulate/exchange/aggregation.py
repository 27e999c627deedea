"""Averages over clients that do not depend on order: weighted sums in fixed point."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from simulate.exchange.channel import State
from simulate.exchange.pieces import PIECE, flat_pieces, groups, joined, pieces

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

FRACTION_BITS = 44
"""Binary places kept of a weighted average: a grid of 5.7e-14, far below float32's 6e-8 at 1."""

LARGEST = 2.0**18
"""The largest update element that can be summed: twice this would leave int64."""


ROUNDING = 1.5 * 2.0**52
"""Added to a number below 2**51 it leaves no binary places: the bits of the sum count units, from those of this on."""

ROUNDING_BITS = int(np.float64(ROUNDING).view(np.int64))


class AggregationError(ValueError):
    """An update that cannot be averaged; the message names the tensor."""


def check_elements(update: Mapping[str, torch.Tensor]) -> None:
    """Refuse an update that cannot be summed.

    Raises:
        AggregationError: if an element is not finite, or larger than `LARGEST`.
    """
    if not all(_largest(piece.numpy()) <= LARGEST for piece in flat_pieces(update)):
        raise _refusal(update)


def _largest(flat: Floats) -> float:
    """The largest size of an element; NaN if one is."""
    return max(-float(flat.min()), float(flat.max())) if len(flat) else 0.0


def _refusal(update: Mapping[str, torch.Tensor]) -> AggregationError:
    """Tells the first tensor of an update that cannot be averaged."""
    sizes = {name: _largest(tensor.detach().reshape(-1).numpy()) for name, tensor in update.items()}
    name = next(name for name, size in sizes.items() if not size <= LARGEST)
    return AggregationError(f"the update of {name} has an element of size {sizes[name]}, more than {LARGEST:g}")


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

    def add(self, update: Mapping[str, torch.Tensor], weight: int, unweighted: frozenset[str] = frozenset()) -> None:
        """Add one client's update.

        Args:
            update: float32 tensors on the CPU, by name.
            weight: the client's weight, a positive integer.
            unweighted: names whose weight is 1 for every client.

        Raises:
            AggregationError: if an element is not finite, or larger than `LARGEST`, or a tensor has another shape than
                that of other clients; then nothing is added.
        """
        for name, tensor in update.items():
            if name in self.sums and (shape := self.sums[name][0].shape) != tensor.shape:
                raise AggregationError(f"the update of {name} has shape {[*tensor.shape]}, of others {[*shape]}")
        new = update.keys() - self.sums.keys()
        for name in new:
            self.sums[name] = [torch.zeros(update[name].shape, dtype=torch.int64)]
        room = np.empty(PIECE)
        added: list[tuple[list[Integers], Floats, float, bool]] = []
        for totals, flat, scale in self._matched(update, weight, unweighted):
            size = _largest(flat)
            if not size <= LARGEST:
                for before in added:
                    _add(*before, np.subtract, room)
                for name in new:
                    del self.sums[name]
                raise _refusal(update)
            added.append((totals, flat, scale, size * scale < 2.0**51))
            _add(*added[-1], np.add, room)
        for name in update:
            self._count(name, 1 if name in unweighted else weight, 1)

    def _matched(
        self, update: Mapping[str, torch.Tensor], weight: int, unweighted: frozenset[str]
    ) -> Iterator[tuple[list[Integers], Floats, float]]:
        """The elements of an update a piece at a time, with the parts of our sums that they belong to, and the scale:
        small tensors of equal weight together."""
        for counted, names in ((1, unweighted & update.keys()), (weight, update.keys() - unweighted)):
            scale = counted * 2.0**self.places
            for group in groups({name: tensor for name, tensor in update.items() if name in names}):
                totals = [self.sums[name][0].view(-1) for name in group]
                if len(group) > 1:
                    yield [total.numpy() for total in totals], joined([update[name] for name in group]).numpy(), scale
                    continue
                for total, flat in pieces(totals[0], update[group[0]]):
                    yield [total.numpy()], flat.numpy(), scale

    def merge(self, other: "ExactSum") -> None:
        """Add another worker's sum to this one, whose tensors it refers to from now on."""
        if other.places != self.places:
            raise AggregationError(f"sums of {other.places} and {self.places} binary places cannot be merged")
        for name, parts in other.sums.items():
            self.sums.setdefault(name, []).extend(parts)
            self._count(name, other.weights[name], other.senders[name])

    def average(self) -> State:
        """The weighted mean per name, float32."""
        means = {}
        room = np.empty(PIECE, dtype=np.int64)
        for name, parts in self.sums.items():
            means[name] = torch.empty(parts[0].shape)
            surplus = (self.senders[name] * ROUNDING_BITS + 2**63) % 2**64 - 2**63  # see `_add`; int64 wraps around
            unit = self.weights[name] * 2.0**self.places
            for mean, *found in pieces(means[name], *parts):
                total = room[: len(mean)]
                np.subtract(found[0].numpy(), surplus, out=total)
                for other in found[1:]:
                    np.add(total, other.numpy(), out=total)
                np.divide(total, unit, out=mean.numpy(), casting="same_kind")
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


def _add(
    totals: Sequence[Integers], flat: Floats, scale: float, small: bool, add_or_subtract: np.ufunc, room: Doubles
) -> None:
    """Add scaled elements, rounded to whole numbers, half to even, with `ROUNDING_BITS` more in each.

    NumPy does this, because it needs less time for conversions and for whole numbers than PyTorch on one thread.

    Args:
        totals: together of as many elements.
        small: whether all are below 2**51 when scaled. That allows a faster way to the same numbers.
        add_or_subtract: subtracting takes away what was added.
        room: for as many elements.
    """
    exact = room[: len(flat)]
    np.multiply(flat, scale, out=exact, dtype=np.float64)
    if small:
        np.add(exact, ROUNDING, out=exact)
        whole = exact.view(np.int64)
    else:
        whole = np.rint(exact, out=exact).astype(np.int64)
        whole += ROUNDING_BITS
    first = 0
    for total in totals:
        add_or_subtract(total, whole[first : first + len(total)], out=total)
        first += len(total)
