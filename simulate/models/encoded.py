"""Tokenized examples as flat arrays, kept in Arrow files that every worker maps into its memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

IGNORED = -100
"""The label of a sub-word that has none; PyTorch's cross entropy leaves it out."""


@dataclass(frozen=True)
class Encoded:
    """Tokenized examples. An example is read in one window, or in several if it is long.

    Window w is ``ids[offsets[w]:offsets[w + 1]]``, and example i has the windows
    ``window_offsets[i]`` to ``window_offsets[i + 1] - 1``.

    Attributes:
        ids: sub-words of all windows, special tokens included, int32.
        offsets: where each window begins, and the end of the last, int64, one more than windows.
        window_offsets: the first window of each example, and the number of windows, int64, one more than examples.
        labels: ner: one for each sub-word, `IGNORED` but for one sub-word a word, in one window only. Classification:
            one for each window, its example's. Multilabel: a row of 0 and 1 for each window, shape (windows, classes).
            int64.
        gold: what predictions are scored by. ner: the tag of every word, cut ones too; the first of them belong to the
            labelled sub-words in turn, and a word that was cut counts as predicted "O". Else as `labels`, but one for
            each example.
        word_offsets: ner: where each example begins in `gold`, and the end of the last, one more than examples. Empty
            else.
        truncated: examples of which something was cut off.
        lost_words: ner: words whose labelled sub-word was cut off.
        folder: where the arrays lie as files; pickled, it stands for them.
    """

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    window_offsets: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    gold: npt.NDArray[np.int64]
    word_offsets: npt.NDArray[np.int64]
    truncated: int
    lost_words: int
    folder: Path | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.window_offsets) - 1

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Sub-words of each window."""
        return np.diff(self.offsets)

    @cached_property
    def example_lengths(self) -> npt.NDArray[np.int64]:
        """Sub-words that are read of each example, in all its windows together."""
        return np.diff(self.offsets[self.window_offsets])

    def windows(self, examples: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The windows of some examples, in their order."""
        first = self.window_offsets[examples]
        count = self.window_offsets[examples + 1] - first
        return np.repeat(first - np.cumsum(count) + count, count) + np.arange(count.sum())

    @property
    def in_windows(self) -> int:
        """Examples that are read in more than one window."""
        return int((np.diff(self.window_offsets) > 1).sum())

    def save(self, folder: Path) -> None:
        """Write each array as one column of an Arrow file of its own, named as the attribute."""
        import pyarrow as pa

        facts = {"truncated": str(self.truncated), "lost_words": str(self.lost_words)}
        for name in _ARRAYS:
            array: np.ndarray = getattr(self, name)
            shape = {"shape": ",".join(map(str, array.shape))}
            schema = pa.schema([(name, pa.from_numpy_dtype(array.dtype))], metadata=facts | shape)
            with pa.OSFile(str(folder / f"{name}.arrow"), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
                writer.write_batch(pa.record_batch([pa.array(array.ravel())], schema=schema))

    @classmethod
    def open(cls, folder: Path) -> Encoded:
        """The examples that `save` wrote, mapped into memory: read when touched, shared by all processes.

        Raises:
            FileNotFoundError: if they are not there.
        """
        import pyarrow as pa

        arrays: dict[str, Any] = {}
        facts: dict[bytes, bytes] = {}
        for name in _ARRAYS:
            reader = pa.ipc.open_file(pa.memory_map(str(folder / f"{name}.arrow")))
            facts = reader.schema.metadata
            shape = tuple(map(int, facts[b"shape"].split(b",")))
            arrays[name] = reader.get_batch(0).column(0).to_numpy(zero_copy_only=True).reshape(shape)
        return cls(**arrays, truncated=int(facts[b"truncated"]), lost_words=int(facts[b"lost_words"]), folder=folder)

    def __reduce__(self) -> tuple[Callable[..., Encoded], tuple[Any, ...]]:
        if self.folder is not None:
            return Encoded.open, (self.folder,)
        return Encoded, tuple(getattr(self, entry.name) for entry in fields(self))


_ARRAYS = ("ids", "offsets", "window_offsets", "labels", "gold", "word_offsets")


def flat(arrays: Sequence[np.ndarray], dtype: type[np.integer[Any]]) -> tuple[np.ndarray, np.ndarray]:
    """The arrays end to end, and where each begins, with the end of the last."""
    offsets = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
    return np.concatenate([np.empty(0, dtype), *arrays]), offsets
