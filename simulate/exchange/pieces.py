"""Elementwise work on large tensors, a piece at a time, so that what lies between two steps stays in the cache."""

from collections.abc import Iterator, Mapping, Sequence

import torch

PIECE = 1 << 16
"""Elements of a piece: 512 kB in float64."""

GPU_PIECE = 1 << 24
"""Elements of one on a GPU, where what counts is how often work is begun."""


def pieces(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """The same pieces of several contiguous tensors of equal size, as flat views."""
    size = PIECE if tensors[0].device.type == "cpu" else GPU_PIECE
    return zip(*(tensor.detach().reshape(-1).split(size) for tensor in tensors), strict=True)


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
        for (piece,) in pieces(joined([state[name] for name in group])):
            yield piece


def l2_norm(state: Mapping[str, torch.Tensor]) -> float:
    """The L2 norm over all tensors together: float32 within a piece, to about 1e-6 of it, float64 over pieces."""
    return _root([_square(piece) for piece in flat_pieces(state)])


@torch.no_grad()
def take_changes(
    values: Mapping[str, torch.Tensor], start: Mapping[str, torch.Tensor], out: Mapping[str, torch.Tensor]
) -> float:
    """Put what has changed since the start into other tensors, and the start into the values, once through memory.

    Args:
        values: what has changed, contiguous; as `start` in the end.
        start: tensors for all of these names.
        out: gets the differences, values - start, of the names that it has; contiguous.

    Returns:
        The L2 norm of all differences together, as `l2_norm` has it.
    """
    squares = []
    for group in groups(values):
        if len(group) == 1:
            (name,) = group
            places = pieces(*(state[name].detach().view(-1) for state in (values, start, out) if name in state))
            for now, before, *change in places:
                squares.append(_square(torch.sub(now, before, out=change[0] if change else None)))
                now.copy_(before)
            continue
        several, begun = ([state[name].detach() for name in group] for state in (values, start))
        changes = dict(zip(group, torch._foreach_sub(several, begun), strict=True))
        for name in out.keys() & changes.keys():
            out[name].copy_(changes[name])
        torch._foreach_copy_(several, begun)
        squares.append(_square(joined(list(changes.values()))))
    return _root(squares)


def _square(piece: torch.Tensor) -> torch.Tensor:
    return piece.dot(piece).to(torch.float64)


def _root(squares: list[torch.Tensor]) -> float:
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0
