"""What local training changed, and how much."""

import math
from collections.abc import Mapping

import torch

from simulate.exchange import loops
from simulate.exchange.loops.arrays import Floats


def l2_norm(state: Mapping[str, torch.Tensor]) -> float:
    """The L2 norm over all tensors together, float32 on the CPU, in float64."""
    return math.sqrt(sum(loops.square(flat(tensor.contiguous())) for tensor in state.values()))


@torch.no_grad()
def take_changes(
    values: Mapping[str, torch.Tensor], start: Mapping[str, torch.Tensor], out: Mapping[str, torch.Tensor]
) -> float:
    """Put what has changed since the start into other tensors, and the start into the values.

    Args:
        values: what has changed, float32 and contiguous; as `start` in the end.
        start: tensors of all of these names, of the same shapes, float32.
        out: gets the differences, values - start, of the names that it has; float32 and contiguous.

    Returns:
        The L2 norm of all differences together, in float64.

    Raises:
        ValueError: if shapes differ.
    """
    squares: list[float | torch.Tensor] = []
    for name, now in values.items():
        before, change = start[name], out.get(name)
        for what, other in (("start", before), ("room for the change", now if change is None else change)):
            if other.shape != now.shape:
                raise ValueError(f"{name} has shape {[*now.shape]}, its {what} {[*other.shape]}")
        squares.append((_take_on_cpu if now.device.type == "cpu" else _take_anywhere)(now, before, change))
    return math.sqrt(sum(squares))


def _take_on_cpu(now: torch.Tensor, before: torch.Tensor, change: torch.Tensor | None) -> float:
    """Of one tensor, once through memory: the sum of squares."""
    return loops.take_change(flat(now), flat(before.contiguous()), flat(now if change is None else change))


def _take_anywhere(now: torch.Tensor, before: torch.Tensor, change: torch.Tensor | None) -> torch.Tensor:
    """The same on any device, where the sum stays, so that nothing waits for it."""
    difference = torch.sub(now, before, out=change)
    now.copy_(before)
    return torch.linalg.vector_norm(difference, dtype=torch.float64).square()


def flat(tensor: torch.Tensor) -> Floats:
    """The elements of a contiguous tensor on the CPU as they lie in memory."""
    return tensor.detach().view(-1).numpy()
