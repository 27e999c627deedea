"""Which windows of a client's examples make up each batch of its local training."""

import numpy as np

from simulate.clients.training import TrainSettings

POOL = 50
"""Batches among whose windows those of similar length are put together."""


def local_steps(settings: TrainSettings, steps: int, rng: np.random.Generator) -> int:
    """How many of the steps of a whole visit a client takes in a round: all, or a part of them (`partial_work`).

    Args:
        rng: addressed by (round, client).
    """
    if settings.partial_work is not None and rng.random() < settings.partial_work:
        return int(rng.integers(1, steps, endpoint=True))
    return steps


def client_batches(
    settings: TrainSettings, shard: np.ndarray, lengths: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    """Batches of one whole visit: each local epoch its own random order of the windows of the client's examples.

    Within pools of 50 batches, windows of similar length share a batch, so that little is padded; the order of the
    batches is random.

    Args:
        settings: batch size in windows or sub-words, and local epochs or local steps. With local steps the epochs go on
            until enough batches are made.
        shard: indices of the client's windows.
        lengths: of every window of the split, in sub-words.
        rng: addressed by (round, client).

    Returns:
        Index arrays of at most `batch_size`, or of at most `batch_tokens` with padding unless one window alone is
        longer; some of an epoch may be smaller.
    """
    batches: list[np.ndarray] = []
    epochs = 0
    while len(batches) < settings.local_steps if settings.local_steps else epochs < settings.local_epochs:
        batches += _epoch(settings, rng.permutation(shard), lengths, rng)
        epochs += 1
    return batches[: settings.local_steps]


def _epoch(
    settings: TrainSettings, order: np.ndarray, lengths: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    if settings.batch_tokens is None:
        pools = np.arange(len(order)) // (POOL * settings.batch_size)
    else:
        pools = np.cumsum(lengths[order]) // (POOL * settings.batch_tokens)
    batches = []
    for pool in np.split(order, np.flatnonzero(np.diff(pools)) + 1):
        batches += similar_lengths(settings, pool, lengths)
    return [batches[place] for place in reversed(rng.permutation(len(batches)))]


def similar_lengths(settings: TrainSettings, windows: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """Windows put together by length, as many as make a batch."""
    order = windows[np.argsort(lengths[windows], kind="stable")]
    return np.split(order, _cuts(settings, lengths[order].tolist()))


def _cuts(settings: TrainSettings, lengths: list[int]) -> list[int]:
    """Where batches of windows of these ascending lengths begin, but for the first."""
    if settings.batch_tokens is None:
        return list(range(settings.batch_size, len(lengths), settings.batch_size))
    cuts = [0]
    for place, length in enumerate(lengths):
        if place > cuts[-1] and (place + 1 - cuts[-1]) * length > settings.batch_tokens:
            cuts.append(place)
    return cuts[1:]
