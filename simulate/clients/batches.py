"""Which examples make up each batch of a client's local training."""

from collections.abc import Iterator

import numpy as np

from simulate.clients.training import TrainSettings


def client_batches(settings: TrainSettings, shard: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Batches of one visit: each local epoch a new order of the client's examples.

    Args:
        settings: batch size, and local epochs or local steps. With local steps the epochs go on until enough batches
            are made.
        shard: indices of the client's examples.
        rng: addressed by (round, client).

    Yields:
        Index arrays of at most `batch_size`; the last of an epoch may be smaller.
    """
    per_epoch = -(-len(shard) // settings.batch_size)
    steps = settings.local_steps or settings.local_epochs * per_epoch
    order = shard
    for step in range(steps):
        position = step % per_epoch
        if position == 0:
            order = rng.permutation(shard)
        yield order[position * settings.batch_size : (position + 1) * settings.batch_size]
