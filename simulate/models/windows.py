"""What of a text that is longer than the model reads: its head, its head and tail, or overlapping windows."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Overflow = Literal["head", "head_tail", "windows"]

Array = npt.NDArray[Any]


def window_starts(length: int, room: int, stride: int) -> Array:
    """Where the windows of a sequence begin.

    They begin ``stride`` apart; the last is moved back so that it ends with the sequence and is as full as the others.

    Args:
        length: of the sequence.
        room: length of a window.
        stride: from the beginning of one window to that of the next, at most `room`.

    Returns:
        Increasing starts, the first 0; only that if the sequence fits.
    """
    last = max(0, length - room)
    return np.append(np.arange(0, last, stride), last)


def head_and_tail(length: int, room: int) -> Array:
    """The places of a sequence that are kept: its first ``room / 2`` (rounded up) and its last ones.

    Beginning and end together carried more than either in Sun et al., "How to Fine-Tune BERT for Text Classification?"
    (arXiv 1905.05583, section 5.3.1).
    """
    if length <= room:
        return np.arange(length)
    head = -(-room // 2)
    return np.append(np.arange(head), np.arange(length - (room - head), length))


def best_window(places: Array, starts: Array, length: int, room: int, causal: bool) -> Array:
    """The window in which each place of a sequence has the longest context.

    The context of a place is what the window shows on its shorter side, and on its left alone for a causal model,
    which sees nothing else; a window that begins or ends with the sequence hides nothing on that side.

    Args:
        places: increasing, of any shape (n,).
        starts: of the windows, as `window_starts` gives them.
        length: of the sequence.
        room: length of a window.
        causal: the model sees the past only.

    Returns:
        The number of a window for each place, shape (n,), never decreasing; of several the first.
    """
    left = places - starts[:, None]
    right = starts[:, None] + room - 1 - places
    inside = (left >= 0) & (right >= 0)
    shown_left = np.where(starts[:, None] == 0, length, left)
    shown_right = np.where(starts[:, None] + room >= length, length, right)
    context = shown_left if causal else np.minimum(shown_left, shown_right)
    return np.where(inside, context, -1).argmax(axis=0)
