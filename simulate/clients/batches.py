"""Which windows of a client's examples make up each batch of its local training."""

from collections.abc import Iterator

import numpy as np

from simulate.clients.training import TrainSettings

POOL = 50
"""Batches among whose windows those of similar length are put together."""


def all_steps(settings: TrainSettings, windows: int) -> int:
    """The steps of a whole visit to a client of so many windows."""
    return settings.local_steps or settings.local_epochs * -(-windows // settings.batch_size)


def local_steps(settings: TrainSettings, windows: int, rng: np.random.Generator) -> int:
    """The steps that a client of so many windows takes in a round: all, or a part of them (`partial_work`).

    Args:
        rng: addressed by (round, client).
    """
    steps = all_steps(settings, windows)
    if settings.partial_work is not None and rng.random() < settings.partial_work:
        return int(rng.integers(1, steps, endpoint=True))
    return steps


def client_batches(
    settings: TrainSettings, shard: np.ndarray, lengths: np.ndarray, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Batches of one whole visit: each local epoch its own random order of the windows of the client's examples.

    Within pools of 50 batches, windows of similar length share a batch, so that little is padded; the order of the
    batches is random.

    Args:
        settings: batch size, and local epochs or local steps. With local steps the epochs go on until enough batches
            are made.
        shard: indices of the client's windows.
        lengths: of every window of the split, in sub-words.
        rng: addressed by (round, client).

    Yields:
        Index arrays of at most `batch_size`; one of an epoch may be smaller.
    """
    batches: list[np.ndarray] = []
    for _ in range(all_steps(settings, len(shard))):
        if not batches:
            batches = _epoch(settings.batch_size, rng.permutation(shard), lengths, rng)
        yield batches.pop()


def _epoch(size: int, order: np.ndarray, lengths: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    batches = []
    for begin in range(0, len(order), POOL * size):
        pool = order[begin : begin + POOL * size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[i : i + size] for i in range(0, len(pool), size)]
    return [batches[place] for place in rng.permutation(len(batches))]
