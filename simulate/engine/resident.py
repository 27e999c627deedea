"""What a process that trains holds from run to run: a worker, which goes before the next one comes."""

import gc
from collections.abc import Sequence
from typing import Any

from simulate.engine.executors import Task
from simulate.engine.job import Job
from simulate.engine.memory import keep_to_share
from simulate.engine.worker import Worker
from simulate.exchange.channel import State


class ResidentWorker:
    """Outlives runs, so that the next one does not pay for imports again.

    Args:
        gpu: the share of a GPU that it may fill; 0 for none.
    """

    def __init__(self, gpu: float) -> None:
        self.worker: Worker | None = None
        if gpu:
            keep_to_share(gpu)

    def start(self, job: Job) -> None:
        self.stop()  # the old model goes before the new one comes
        self.worker = Worker(job)

    def stop(self) -> None:
        if self.worker is not None:
            self.worker.close()
        self.worker = None
        gc.collect()

    def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self.worker, method)(*arguments)

    def calls(self, tasks: Sequence[Task], *states: State | None) -> tuple[Any, ...]:
        """Do some tasks: the result of each and whether its client keeps a state, and then those states."""
        done = [self.call(task.method, *task.arguments, state) for task, state in zip(tasks, states, strict=True)]
        return [(result, new is not None) for result, new in done], *(new for _, new in done)
