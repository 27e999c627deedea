"""Elementwise work on large tensors, a piece at a time, so that what lies between two steps stays in the cache."""

from collections.abc import Iterator, Mapping, Sequence

import torch

PIECE = 1 << 16
"""Elements of a piece: 512 kB in float64."""


def pieces(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """The same pieces of several contiguous tensors of equal size, as flat views."""
    return zip(*(tensor.detach().reshape(-1).split(PIECE) for tensor in tensors), strict=True)


def groups(state: Mapping[str, torch.Tensor]) -> Iterator[list[str]]:
    """The names in their order, neighbours together as long as they have no more elements than a piece."""
    group: list[str] = []
    elements = 0
    for name, tensor in state.items():
        if group and elements + tensor.numel() > PIECE:
            yield group
            group, elements = [], 0
        group.append(name)
        elements += tensor.numel()
    if group:
        yield group


def joined(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """The elements of several tensors end to end; of one, as a view."""
    flat = [tensor.detach().reshape(-1) for tensor in tensors]
    return flat[0] if len(flat) == 1 else torch.cat(flat)


def flat_pieces(state: Mapping[str, torch.Tensor]) -> Iterator[torch.Tensor]:
    """All elements, a piece at a time."""
    for group in groups(state):
        yield from joined([state[name] for name in group]).split(PIECE)


def l2_norm(state: Mapping[str, torch.Tensor]) -> float:
    """The L2 norm over all tensors together, summed in float64."""
    squares = []
    for piece in flat_pieces(state):
        exact = piece.to(torch.float64)
        squares.append(exact.dot(exact))
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0
