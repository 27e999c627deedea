"""Elementwise work on large tensors, a piece at a time, so that what lies between two steps stays in the cache."""

import math
from collections.abc import Iterator, Mapping

import torch

PIECE = 1 << 16
"""Elements of a piece: 512 kB in float64."""


def pieces(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """The same pieces of several contiguous tensors of equal size, as flat views."""
    return zip(*(tensor.detach().reshape(-1).split(PIECE) for tensor in tensors), strict=True)


def l2_norm(state: Mapping[str, torch.Tensor]) -> float:
    """The L2 norm over all tensors together, summed in float64."""
    total = 0.0
    for tensor in state.values():
        squares = torch.zeros((), dtype=torch.float64, device=tensor.device)
        for (piece,) in pieces(tensor):
            exact = piece.to(torch.float64)
            squares += exact.dot(exact)
        total += float(squares)
    return math.sqrt(total)
