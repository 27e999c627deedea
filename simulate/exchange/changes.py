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
    """Put what has changed since the start into other tensors, and the start into the values, once through memory.

    Args:
        values: what has changed, float32 and contiguous; as `start` in the end.
        start: tensors for all of these names.
        out: gets the differences, values - start, of the names that it has; contiguous.

    Returns:
        The L2 norm of all differences together, in float64.
    """
    squares = []
    for name, now in values.items():
        if now.device.type == "cpu":
            squares.append(loops.take_change(flat(now), flat(start[name]), flat(out.get(name, now))))
        else:
            change = torch.sub(now, start[name], out=out.get(name))
            now.copy_(start[name])
            squares.append(torch.linalg.vector_norm(change, dtype=torch.float64) ** 2)
    return math.sqrt(sum(squares))


def flat(tensor: torch.Tensor) -> Floats:
    """The elements of a contiguous tensor on the CPU as they lie in memory."""
    return tensor.detach().view(-1).numpy()
