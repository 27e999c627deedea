"""The serial executor: one worker in this process."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from simulate.engine.executors import EngineSettings, Executor, Task, gpu_error
from simulate.engine.job import Job
from simulate.engine.worker import Worker
from simulate.exchange.aggregation import ExactSum
from simulate.exchange.channel import State


class SerialExecutor(Executor):
    """For the debugger, for tests, for machines without Ray."""

    workers = 1

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(settings)
        self._states = {}
        self._worker: Worker | None = None

    def start(self, job: Job) -> None:
        self.close()  # the old model goes before the new one comes
        self._worker = self._told(Worker, job)

    def first(self, method: str) -> Any:
        return self._call(method)

    def all(self, method: str, *arguments: Any) -> list[Any]:
        return [self._call(method, *arguments)]

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Any]]:
        for index, task in enumerate(tasks):
            state = None if task.client is None else self._states.get(task.client)
            result, new = self._call(task.method, *task.arguments, state)
            if new is not None and task.client is not None:
                self._states[task.client] = new
            yield index, result

    def visit(self, tasks: Sequence[Task]) -> tuple[dict[int, Any], list[ExactSum]]:
        results = dict(self.run(tasks))
        collected = self._call("collect")
        return results, [] if collected is None else [collected]

    def _call(self, method: str, *arguments: Any) -> Any:
        return self._told(getattr(self._worker, method), *arguments)

    def _told(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """The result of a call; what PyTorch raises of a GPU is raised as an error of the engine."""
        try:
            return call(*arguments)
        except RuntimeError as error:
            if (told := gpu_error(self, error)) is None:
                raise
            raise told from error

    def state(self, client: int) -> State | None:
        return self._states.get(client)

    def remember(self, client: int, state: State) -> None:
        self._states[client] = state

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
        self._states, self._worker = {}, None
