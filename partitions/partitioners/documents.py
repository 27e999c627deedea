"""Whole documents: what a partitioner deals out where the examples of a document stay on one client."""

import heapq
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from partitions.partition import PartitionError
from partitions.partitioners.dealing import Owners

Ints = npt.NDArray[np.int64]


def of_examples(documents: Sequence[str]) -> Ints:
    """The document of each of n examples as a number, shape (n,); an example without one is a document of its own.

    Raises:
        PartitionError: if no example names its document.
    """
    if not any(documents):
        raise PartitionError(
            "partition.whole_documents = true, but no training example names its document in its key 'document'"
        )
    numbers, known = pd.factorize(np.array([document or None for document in documents], dtype=object))
    alone = numbers < 0
    numbers[alone] = len(known) + np.arange(alone.sum())
    return numbers


def main_class(document: Ints, classes: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """The class of each document: that of most of its examples; of several, the one with the fewest examples in all.

    Args:
        document: of each example, shape (n,).
        classes: of each example, shape (n,).

    Returns:
        The class of each document, shape (d,), numbered without gaps.
    """
    in_all = np.bincount(classes)
    pairs, counts = np.unique(document * len(in_all) + classes, return_counts=True)
    of, kind = np.divmod(pairs, len(in_all))
    order = np.lexsort([kind, in_all[kind], -counts, of])
    _, first = np.unique(of[order], return_index=True)
    return np.unique(kind[order][first], return_inverse=True)[1]


def fill_up(owners: Owners, sizes: Ints, clients: int, min_size: int, rng: np.random.Generator) -> Owners:
    """Owners with documents moved so that every client holds ``min_size`` examples.

    Documents move one by one, at random, from the largest client that can spare one to a client that holds too few.
    Where that is not enough, because documents are large, the small clients and the largest 1, 2, 4, ... others pool
    theirs and deal them anew, the largest document first and always to the client that holds least (longest processing
    time first; Deuermeyer, Friesen and Langston 1982, SIAM J. Algebraic Discrete Methods 3). Both passes are finite.

    Args:
        owners: the client of each of d documents, shape (d,).
        sizes: examples of each document, shape (d,).
        clients: number of clients.
        min_size: the fewest examples a client may hold.
        rng: source of all randomness; not used if no client is too small.

    Returns:
        The client of each document, shape (d,).

    Raises:
        PartitionError: if the second pass over all clients still leaves one too small. It gives the smallest client at
            least 3/4 of what the best possible deal would.
    """
    held = np.bincount(owners, weights=sizes, minlength=clients).astype(np.int64)
    if held.min() >= min_size:
        return owners
    owners = _move(owners, sizes, held, min_size, rng)
    held = np.bincount(owners, weights=sizes, minlength=clients).astype(np.int64)
    if held.min() >= min_size:
        return owners
    small = np.flatnonzero(held < min_size)
    others = np.argsort(-held, kind="stable")[: clients - len(small)]
    count = 1
    while True:
        pool = np.concatenate([small, others[:count]])
        members = rng.permutation(np.flatnonzero(np.isin(owners, pool)))
        members = members[np.argsort(-sizes[members], kind="stable")]
        dealt, least = _least_first(sizes[members], pool)
        if least >= min_size:
            owners[members] = dealt
            return owners
        if count >= len(others):
            raise PartitionError(
                f"{clients} clients of at least {min_size} examples each (partition.clients, partition.min_size) "
                f"cannot be made of whole documents: there are {len(sizes)} of {sizes.min()} to {sizes.max()} "
                f"examples, {sizes.sum()} in all"
            )
        count *= 2


def _move(owners: Owners, sizes: Ints, held: Ints, min_size: int, rng: np.random.Generator) -> Owners:
    """Owners after documents moved from the largest clients to the small ones, as far as any can be spared."""
    owners, size, has = owners.copy(), sizes.tolist(), held.tolist()
    piles: list[list[int]] = [[] for _ in has]
    for document in rng.permutation(len(size)).tolist():
        piles[owners[document]].append(document)
    donors = [(-count, client) for client, count in enumerate(has) if count > min_size]
    heapq.heapify(donors)
    for client in rng.permutation(np.flatnonzero(held < min_size)).tolist():
        while has[client] < min_size and donors:
            _, donor = heapq.heappop(donors)
            pile = piles[donor]
            while pile and size[pile[-1]] > has[donor] - min_size:
                pile.pop()  # never to be spared: the donor only shrinks
            if pile:
                owners[pile[-1]] = client
                has[client] += size[pile[-1]]
                has[donor] -= size[pile.pop()]
                heapq.heappush(donors, (-has[donor], donor))
    return owners


def _least_first(sizes: Ints, clients: Ints) -> tuple[Ints, int]:
    """Documents in order, each given to the client that holds least so far; and what the smallest ends up with."""
    heap = [(0, client) for client in clients.tolist()]
    dealt = np.empty(len(sizes), dtype=np.int64)
    for document, size in enumerate(sizes.tolist()):
        count, client = heap[0]
        dealt[document] = client
        heapq.heapreplace(heap, (count + size, client))
    return dealt, heap[0][0]
