"""Who does what when: the tasks of a round handed out to actors that take a known time for each, in place of Ray."""

from types import SimpleNamespace

import pytest

from simulate.engine.executors import Task
from simulate.engine.ray_executor import MOST_AT_ONCE, _Visit
from simulate.engine.serial_executor import SerialExecutor
from simulate.experiment import prepare
from tests.runs import experiment, run


class Clockwork:
    """An executor whose actors do the calls that they are handed in turn; a task takes as long as its first argument.

    Attributes:
        now: the time, when the last call that was waited for was over.
        calls: the number of tasks of each call.
    """

    def __init__(self, workers: int) -> None:
        self.workers, self.now, self.calls = workers, 0.0, []
        self._states: dict = {}
        self._free = [0.0] * workers
        self._actors = [
            SimpleNamespace(calls=SimpleNamespace(options=lambda place=place, **_: self._method(place)))
            for place in range(workers)
        ]
        self._ray = SimpleNamespace(wait=self._wait)

    def _method(self, place: int):
        return SimpleNamespace(remote=lambda tasks, *states: self._call(place, tasks))

    def _call(self, place: int, tasks: list[Task]):
        self._free[place] = max(self._free[place], self.now) + sum(task.arguments[0] for task in tasks)
        self.calls.append(len(tasks))
        return (self._free[place], len(self.calls), len(tasks)), *(None for _ in tasks)

    def _wait(self, calls, num_returns):
        first = min(calls)
        self.now = max(self.now, first[0])
        return [first], []

    def _get(self, call):
        return [("done", False)] * call[2]


def over_after(costs: list[float], workers: int) -> Clockwork:
    executor = Clockwork(workers)
    visit = _Visit(executor, [Task("train", (cost,)) for cost in costs], summed=False)
    assert visit.finish() == dict.fromkeys(range(len(costs)), "done")
    return executor


def test_few_tasks_wait_for_whoever_is_free_first():
    """While one actor is at 10 the other does 4, 4 and 2, of which none waits behind the 10."""
    assert over_after([10, 4, 4, 2], workers=2).now == 10


def test_many_short_tasks_go_out_together_and_all_finish_nearly_at_once():
    done = over_after([1.0] * 1000, workers=2)
    assert max(done.calls) == MOST_AT_ONCE
    assert len(done.calls) < 100
    assert done.now == pytest.approx(500, abs=2)


class Listed(SerialExecutor):
    """Keeps the order in which it is handed clients."""

    def __init__(self, settings) -> None:
        super().__init__(settings)
        self.handed = []

    def visit(self, tasks):
        self.handed.append([task.client for task in tasks])
        return super().visit(tasks)


def test_clients_are_handed_out_costliest_first(tiny_decoder, ner_corpus, tmp_path):
    what = experiment(tiny_decoder, ner_corpus)
    prepared = prepare(what)
    lengths = prepared.splits["train"].example_lengths
    costs = [int(lengths[prepared.partition.indices(client)].sum()) for client in range(4)]
    assert costs != sorted(costs, reverse=True)  # or the order of their numbers would do
    executor = Listed(what.engine)
    run(what, tmp_path / "run", executor)
    assert executor.handed == [sorted(range(4), key=lambda client: (-costs[client], client))] * 2
