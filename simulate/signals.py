"""SIGINT and SIGTERM as one KeyboardInterrupt, after which there is time to clean up."""

import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

PATIENCE = 3.0
"""Seconds after a signal in which another changes nothing."""


class Signals:
    """Within the block both signals raise KeyboardInterrupt in the main thread, where they are not ignored already.

    Attributes:
        last: number of the last one that did; None where none came.
        to_go_on: gives the command that goes on with what is interrupted, where there is one.
    """

    last: int | None = None
    to_go_on: Callable[[], str] | None = None

    def __enter__(self) -> "Signals":
        self.last = self.to_go_on = None
        self._ignored_until = 0.0
        self._before: dict[int, Any] = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():  # after an interruption the next one ends the process at once
            signal.signal(number, handler if self.last is None else signal.SIG_DFL)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if time.monotonic() < self._ignored_until:
            return
        self.last, self._ignored_until = number, time.monotonic() + PATIENCE
        raise KeyboardInterrupt

    @property
    def message(self) -> str:
        """What to tell of the interruption, in a line."""
        return self.going_on("interrupted")

    def going_on(self, what: str) -> str:
        """What has ended a command, and the command that goes on, where there is one."""
        return f"{what}; to go on: {self.to_go_on()}" if self.to_go_on else what


signals = Signals()
"""Those of the command that is run."""
