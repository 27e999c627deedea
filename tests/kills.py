"""A run that says where it is, so that it or its workers can be killed, or its disk filled, at any moment."""

import functools
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

from simulate import experiment
from simulate.engine.checkpoint import Checkpoints
from simulate.engine.ray_executor import RayExecutor
from simulate.engine.records import RunFolder
from simulate.engine.rounds import RoundLoop
from simulate.engine.server import Server
from simulate.engine.worker import Worker
from tests.processes import FORKS, forked


@dataclass(frozen=True)
class Moment:
    """Where a run is: in a round, at a stage of it, about to do something."""

    round: int
    stage: str
    step: str

    def __str__(self) -> str:
        return f"round {self.round}, {self.stage}, {self.step}"


STAGES = {
    (RunFolder, "__init__"): "begin",
    (Checkpoints, "resume"): "resume",
    (Worker, "measure"): "measuring",
    (Worker, "train"): "training",
    (Server, "_aggregate"): "aggregation",
    (RoundLoop, "_evaluate"): "evaluation",
    (RunFolder, "append"): "records",
    (Checkpoints, "write"): "checkpoint",
    (experiment, "export"): "export",
    (RunFolder, "finish"): "finish",
}
"""Calls that begin a stage of a run."""

STEPS = {
    (Worker, "_batch"): "batch",
    (RayExecutor, "_get"): "result of a worker",
    (os, "fsync"): "sync",
    (Path, "replace"): "rename",
    (Path, "unlink"): "unlink",
}
"""Calls within the stages."""


@contextmanager
def watched(at: Callable[[Moment], None]) -> Iterator[None]:
    """Within the block `at` is called whenever a run in this process begins a stage or a step."""
    where: dict[str, Any] = {"round": 0, "stage": "start"}
    steps: dict[tuple[str, str], int] = {}

    def wrap(kind: Any, name: str, before: Callable[..., None]) -> Any:
        original = getattr(kind, name)

        @functools.wraps(original)
        def wrapped(*arguments: Any, **options: Any) -> Any:
            before(*arguments)
            return original(*arguments, **options)

        return patch.object(kind, name, wrapped)

    def new_round(server: Server, number: int, *arguments: Any) -> None:
        where.update(round=number, stage="training")
        steps.clear()

    def resumed(folder: RunFolder, number: int) -> None:
        where["round"] = number

    def begin(stage: str, *arguments: Any) -> None:
        where["stage"] = stage
        step("no.")

    def step(what: str, *arguments: Any) -> None:
        key = where["stage"], what
        steps[key] = steps.get(key, 0) + 1
        at(Moment(where["round"], where["stage"], f"{what} {steps[key]}"))

    with ExitStack() as stack:
        stack.enter_context(wrap(Server, "learn", new_round))
        stack.enter_context(wrap(RunFolder, "resumed", resumed))
        for (kind, name), stage in STAGES.items():
            stack.enter_context(wrap(kind, name, partial(begin, stage)))
        for (kind, name), what in STEPS.items():
            stack.enter_context(wrap(kind, name, partial(step, what)))
        yield


@contextmanager
def _announced(connection: Connection) -> Iterator[None]:
    """Within the block each moment is told, and it goes on when told so."""

    def at(moment: Moment) -> None:
        connection.send(moment)
        connection.recv()

    with watched(at):
        yield


class Victim:
    """A command in a process that goes from moment to moment."""

    def __init__(self, *arguments: object, cwd: Path) -> None:
        self.connection, theirs = FORKS.Pipe()
        self.process = forked(*arguments, cwd=cwd, within=partial(_announced, theirs))
        theirs.close()

    def moments(self) -> Iterator[Moment]:
        """Each moment; the process goes on when the next is asked for, and is at its end when there is none."""
        while True:
            try:
                moment = self.connection.recv()
            except (EOFError, ConnectionResetError):
                break
            yield moment
            with suppress(BrokenPipeError):
                self.connection.send(None)
        self.process.join(900)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def kill_at(moment: Moment, delay: float, *arguments: object, cwd: Path) -> bool:
    """Run a command until it is at a moment and some seconds beyond, but not at the next; then SIGKILL.

    Returns:
        Whether it was killed; else it ended before.
    """
    victim = Victim(*arguments, cwd=cwd)
    for there in victim.moments():
        if there == moment:
            if delay:
                victim.connection.send(None)
                time.sleep(delay)
            victim.kill()
            return True
    return False


class Killer:
    """Within the block, SIGKILL for the actor in a place, each time that so many more results have come."""

    def __init__(self, executor, moments, place: int = 0) -> None:
        self.executor, self.moments, self.place = executor, list(moments), place
        self.get, self.results, self.killed = executor._get, 0, 0

    def __enter__(self):
        self.executor._get = self
        return self

    def __exit__(self, *_) -> None:
        self.executor._get = self.get

    def __call__(self, reference):
        result = self.get(reference)
        self.results += 1
        if self.moments and self.results >= self.moments[0]:
            self.moments.pop(0)
            self.killed += 1
            actor = self.executor._actors[self.place]
            os.kill(self.get(actor.call.remote("peak"))[0], signal.SIGKILL)
        return result
