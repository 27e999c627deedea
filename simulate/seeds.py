"""Addressed randomness: every draw is a pure function of (seed, purpose, round, client, ...).

No global generator is used and none needs to be saved: any client of any round can be replayed alone.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive(seed: int, *address: str | int) -> int:
    """A seed of its own for an address.

    Args:
        seed: the run's seed.
        address: what the draw is for, such as ``("batches", round, client)``.

    Returns:
        An integer in [0, 2**63), the leading bits of SHA-256 of the address: equal addresses give equal seeds,
        different ones unrelated seeds, on every platform.
    """
    key = "/".join(f"{type(part).__name__}:{part}" for part in (seed, *address))
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *address: str | int) -> np.random.Generator:
    """A numpy generator for an address (see `derive`)."""
    return np.random.default_rng(derive(seed, *address))


@contextmanager
def torch_draws(seed: int, *address: str | int) -> Iterator[None]:
    """Within the block, torch's default generators (dropout, initialisation) draw from the address; then as before."""
    # without a device in use CUDA is let alone: it would start on every GPU, and torch keeps the calls until it does
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        derived = derive(seed, *address)
        torch.default_generator.manual_seed(derived)
        if devices:
            torch.cuda.manual_seed(derived)
        yield
