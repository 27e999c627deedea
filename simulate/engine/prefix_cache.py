"""Hidden states at the end of the frozen prefix: computed once, kept in a file that all workers of a machine share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field

from simulate.engine.shared import SharedFolder, SharedFolderError
from simulate.method import Method, Turn
from simulate.models.encoded import Encoded
from simulate.models.prefix import frozen_blocks
from simulate.models.structure import Structure
from simulate.settings import Settings


class PrefixCacheError(RuntimeError):
    """Hidden states that cannot be kept; the message says what to change."""


class PrefixCacheSettings(Settings):
    """Where everything below some block is frozen for the whole run, the hidden states that enter it are constants of
    each example. They are computed once and kept, and training and evaluation begin above.

    Attributes:
        enabled: whether to do so where it is valid. Results differ only by float rounding.
        dtype: of what is kept; half the bytes in bfloat16 or float16, at their precision.
        limit_gb: the most that is kept, GB (1e9 bytes), on disk in the cache folder; pages in use stay in memory as far
            as there is room. Evaluation splits come first, then clients in their order; what does not fit is computed
            every time.
    """

    enabled: bool = True
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    limit_gb: Annotated[float, Field(gt=0)] = 20.0


def kept_blocks(settings: PrefixCacheSettings, method: Method, structure: Structure, last: Turn) -> tuple[int, str]:
    """How many blocks' outcome is kept, as far as the settings tell; and where none is, why.

    Args:
        last: turn of a run, its last.
    """
    blocks, why_not = frozen_blocks(structure, method.scope(structure).changing)
    if not settings.enabled:
        why_not = "prefix_cache.enabled = false"
    elif not why_not and method.measure(last):
        why_not = "importance is measured in all blocks"
    return (0, why_not) if why_not else (blocks, "")


@dataclass
class PrefixCounts:
    """What the cache did on one worker.

    Attributes:
        blocks: below the first trained one.
        why_not: why there is no cache; empty where there is one.
        bytes_kept: of all hidden states that there is room for, on each machine; `bytes_each`: of those of a sub-word.
        asked: windows that were trained on or evaluated; `served`: those of them that there is room for, whose states
            were kept, or made for it and then kept.
        first: windows that were asked for when their states had not been made yet.
        computed: windows whose states were made; more than `first` where a batch that is computed together holds some
            that nobody has asked for.
    """

    blocks: int
    why_not: str
    bytes_kept: int = 0
    bytes_each: int = 0
    asked: int = 0
    served: int = 0
    first: int = 0
    computed: int = 0


class PrefixCache:
    """Rows of hidden states for the sub-words of each window, without padding.

    Which window is computed beside which others is fixed by its client, not by the batch that first asks, so that the
    same bits are kept whatever the order and the number of workers.

    Args:
        folder: what the run's workers on one machine share.
        settings: dtype and limit.
        splits: the encoded splits.
        shards: for each client, the indices of its training examples.
        width: of the hidden states.

    Raises:
        PrefixCacheError: if there is no room on the disk.
    """

    def __init__(
        self,
        folder: SharedFolder,
        settings: PrefixCacheSettings,
        splits: Mapping[str, Encoded],
        shards: Sequence[np.ndarray],
        width: int,
    ) -> None:
        self.dtype: torch.dtype = getattr(torch, settings.dtype)
        self.width = width
        self.lengths = {name: split.lengths for name, split in splits.items()}
        self.bytes_each = width * self.dtype.itemsize
        self.first, rows = self._places(splits, shards, int(settings.limit_gb * 1e9) // self.bytes_each)
        self.bytes_kept = rows * self.bytes_each
        windows = sum(len(first) for first in self.first.values())
        try:
            self._states = folder.tensor("states", rows * width, self.dtype).view(rows, width)
        except SharedFolderError as error:
            raise PrefixCacheError(f"{error}; set prefix_cache.limit_gb, or prefix_cache.enabled=false") from error
        done = folder.tensor("done", windows, torch.uint8).numpy()
        ends = np.cumsum([len(first) for first in self.first.values()])
        self._done = dict(zip(self.first, np.split(done, ends[:-1]), strict=True))

    def _places(
        self, splits: Mapping[str, Encoded], shards: Sequence[np.ndarray], room: int
    ) -> tuple[dict[str, np.ndarray], int]:
        """The first row of each window, -1 where there is no room for its split or client; and all rows."""
        first = {name: np.full(len(lengths), -1, dtype=np.int64) for name, lengths in self.lengths.items()}
        parts = [(name, np.arange(len(first[name]))) for name in splits if name != "train"]
        parts += [("train", splits["train"].windows(shard)) for shard in shards]
        rows = 0
        for name, windows in parts:
            lengths = self.lengths[name][windows]
            if rows + lengths.sum() > room:
                break
            first[name][windows] = rows + np.cumsum(lengths) - lengths
            rows += int(lengths.sum())
        return first, rows

    def keeps(self, split: str, windows: np.ndarray) -> bool:
        """Whether there is room for these windows, which are of one client or one evaluation split."""
        return bool((self.first[split][windows] >= 0).all())

    def lacking(self, split: str, windows: np.ndarray) -> int:
        """How many of these windows have not been computed yet."""
        return int((self._done[split][np.unique(windows)] == 0).sum())

    def write(self, split: str, windows: np.ndarray, states: torch.Tensor) -> None:
        """Keep the hidden states of some windows, padded on the right: (windows, longest, width).

        Raises:
            PrefixCacheError: if they are too large for float16.
        """
        states = states.to("cpu", self.dtype)
        if self.dtype == torch.float16 and not states.isfinite().all():
            raise PrefixCacheError("hidden states exceed float16: set prefix_cache.dtype=bfloat16")
        for place, (first, length) in enumerate(self._rows(split, windows)):
            self._states[first : first + length] = states[place, :length]
        self._done[split][windows] = 1

    def read(self, split: str, windows: np.ndarray, pinned: bool = False) -> torch.Tensor:
        """Their hidden states, padded with zeros on the right, in the dtype that they are kept in."""
        longest = int(self.lengths[split][windows].max())
        states = torch.zeros(len(windows), longest, self.width, dtype=self.dtype, pin_memory=pinned)
        for place, (first, length) in enumerate(self._rows(split, windows)):
            states[place, :length] = self._states[first : first + length]
        return states

    def _rows(self, split: str, windows: np.ndarray) -> list[tuple[int, int]]:
        return list(zip(self.first[split][windows].tolist(), self.lengths[split][windows].tolist(), strict=True))
