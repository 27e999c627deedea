"""Layer policies: which decoder or encoder blocks are trained, given how many.

To add one, write a function here (or in a file of its own) and register it in `FIXED`, if the blocks are the same in
every round, or in `MOVING`; one that goes by what clients measure is a measure in `baselines.importance`.
"""

from collections.abc import Callable, Sequence

from baselines.importance import MEASURES
from simulate import seeds
from simulate.method import Turn


def top(depth: int, layers: int) -> range:
    """The `layers` blocks nearest the head. The frozen rest is one prefix, below which no gradient flows."""
    return range(depth - layers, depth)


def bottom(depth: int, layers: int) -> range:
    """The `layers` blocks nearest the embedding."""
    return range(layers)


def middle(depth: int, layers: int) -> range:
    """The `layers` blocks around the middle, the odd one out above it."""
    start = (depth - layers + 1) // 2
    return range(start, start + layers)


def alternating(depth: int, layers: int) -> list[int]:
    """Every n-th block, evenly spread and counted from the head: of 16, 4 are every fourth."""
    return sorted(depth - 1 - (place * depth) // layers for place in range(layers))


def ends(depth: int, layers: int) -> list[int]:
    """A sandwich: half of the blocks nearest the embedding, half nearest the head, the odd one there."""
    below = layers // 2
    return [*range(below), *range(depth - (layers - below), depth)]


def random(depth: int, layers: int, turn: Turn) -> list[int]:
    """Other blocks each round, drawn from the seed, the same for the whole cohort."""
    rng = seeds.generator(turn.seed, "layers", turn.round)
    return sorted(rng.permutation(depth)[:layers].tolist())


def round_robin(depth: int, layers: int, turn: Turn) -> list[int]:
    """One group of neighbouring blocks a round, from the embedding to the head and again from the beginning.

    FedPart (Wang et al. 2024, arXiv 2410.11559, section 3.2: sequential updating, multi-round cycles), which begins
    with some rounds of the whole network: `method.warmup_rounds`. The last group of a cycle may be smaller. Norm and
    head are trained in every round here, as by all policies; there the last layer has its turn as the others do.
    """
    groups = -(-depth // max(1, layers))
    first = (turn.round - 1) % groups * layers
    return list(range(first, min(first + layers, depth)))


def weight_change(depth: int, layers: int, turn: Turn) -> list[int]:
    """The blocks that have moved farthest from where they began, in parts of their norm; the server sees that itself.

    Blocks that are never trained never move, so that some rounds of all (`method.warmup_rounds`) must come first.
    """
    return by_score(depth, layers, turn)


def by_score(depth: int, layers: int, turn: Turn) -> list[int]:
    """The blocks of the highest scores; of equal ones those nearer the head."""
    order = sorted(range(depth), key=lambda block: (-turn.scores[block], -block))
    return sorted(order[:layers])


FIXED: dict[str, Callable[[int, int], Sequence[int]]] = {
    "top": top,
    "bottom": bottom,
    "middle": middle,
    "alternating": alternating,
    "ends": ends,
}
"""Name in the configuration -> function of (all blocks, trained blocks), giving the trained blocks' indices."""

MOVING: dict[str, Callable[[int, int, Turn], Sequence[int]]] = {
    "random": random,
    "round_robin": round_robin,
    "weight_change": weight_change,
    **dict.fromkeys(MEASURES, by_score),
}
"""The same of (all blocks, trained blocks, turn): other blocks in other rounds."""

POLICIES: dict[str, str] = {
    name: (function.__doc__ or "").splitlines()[0] for name, function in {**FIXED, **MOVING, **MEASURES}.items()
}
"""Name -> what it chooses, in a line."""
