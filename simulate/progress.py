"""Progress of a study: bars with ETA in a terminal, one plain line a round elsewhere."""

import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from simulate.config import Experiment
from simulate.engine.rounds import Round


class ProgressWatcher:
    """Shows the runs of a study as they go.

    Args:
        console: where to write.
        runs: number of runs.
        rounds: rounds of all runs together, for the ETA.
    """

    def __init__(self, console: Console, runs: int, rounds: int) -> None:
        self.console = console
        self.runs = runs
        self.started = 0
        self.rounds = rounds
        self.done = 0
        self._begin = time.monotonic()
        self.bars: Progress | None = None
        if console.is_terminal:
            columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
            self.bars = Progress(TextColumn("{task.description}"), *columns, console=console, transient=True)
            self.bar = self.bars.add_task("starting", total=rounds)

    def __enter__(self) -> "ProgressWatcher":
        if self.bars:
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bars:
            self.bars.stop()

    def begin(self, folder: Path, experiment: Experiment) -> None:
        """A run starts."""
        self.started += 1
        self.current = f"run {self.started}/{self.runs} {folder.name}" if self.runs > 1 else folder.name
        if self.bars:
            self.bars.update(self.bar, description=self.current)
        elif experiment.rounds:
            self.console.print(f"{self.current}: {experiment.rounds} rounds", highlight=False)

    def note(self, text: str) -> None:
        """Something to know about the run that starts."""
        self.console.print(f"{self.current}: {text}")

    def skip(self, folder: Path, experiment: Experiment) -> None:
        """A run had been finished before."""
        self.started += 1
        self.rounds -= experiment.rounds
        if self.bars:
            self.bars.update(self.bar, total=self.rounds)
        self.console.print(f"{folder}: finished before, kept", highlight=False)

    def round(self, experiment: Experiment, round_: Round) -> None:
        """A round is over; or, of a run that was interrupted, all up to this one were over before."""
        if round_.resumed:
            self.rounds -= round_.number
            if self.bars:
                self.bars.update(self.bar, total=self.rounds)
            self.note(f"goes on after round {round_.number}")
        if round_.stopped:
            self.rounds -= experiment.rounds - round_.number
            if self.bars:
                self.bars.update(self.bar, total=self.rounds)
            self.note(f"stopped after round {round_.number}: validation no longer improves")
        if round_.skipped:
            self.note(f"round {round_.number} skipped: too few updates arrived")
        if round_.number and not round_.resumed:
            self.done += 1
            if self.bars:
                self.bars.advance(self.bar)
        scores = "  ".join(
            f"{split} {metric} {100 * value:.1f}"
            for split, metrics in (round_.scores or {}).items()
            for metric, value in metrics.items()
            if metric in ("f1", "accuracy", "macro_f1")
        )
        if self.bars:
            if scores:
                self.bars.update(self.bar, description=f"{self.current}  {scores}")
            return
        elapsed = time.monotonic() - self._begin
        left = elapsed / self.done * (self.rounds - self.done) if self.done else None
        eta = "" if left is None else f"  ETA {left / 60:.1f} min"
        self.console.print(
            f"{self.current}: round {round_.number}/{experiment.rounds}  {scores}{'  ' if scores else ''}"
            f"{round_.bytes_total / 1e6:.1f} MB sent{eta}",
            highlight=False,
            soft_wrap=True,
        )
