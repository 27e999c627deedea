"""Where workers live: in this process (serial) or in Ray actors. One interface, the same results."""

import gc
import math
import os
import re
import socket
import time
import warnings
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from unittest.mock import patch

import torch
from pydantic import Field

from simulate.engine.job import Job
from simulate.engine.worker import Worker
from simulate.exchange.aggregation import ExactSum
from simulate.exchange.channel import Payload, State
from simulate.settings import Settings

HOST_AND_PORT = re.compile(r"\[?([^/]*?)\]?:(\d+)")

MOST_THREADS_PER_CPU = 8
"""Threads of all workers together; beyond the number of cores they only get in each other's way."""


class EngineError(RuntimeError):
    """Work that could not be done where the settings say; the message says what to change."""


class MemoryShortageError(EngineError):
    """A GPU has no memory left for what a worker does."""


class LostWorkerError(EngineError):
    """A worker process that died, of itself or killed.

    Attributes:
        client: whose turn it was; None where no client can be blamed.
    """

    def __init__(self, message: str, client: int | None = None) -> None:
        super().__init__(message)
        self.client = client


LOSSES = 3
"""So many workers lost to one task end the run."""

SHARES = 4
"""An actor is handed its share of what is left, divided by this: calls cost little, and all finish together."""

MOST_AT_ONCE = 32
"""Tasks handed to an actor in one call."""


class EngineSettings(Settings):
    """Where the work is done; not what comes out of it.

    Attributes:
        executor: ray (actors, several at once) or serial (in this process, for debugging and small runs).
        workers: number of actors, or auto: one a CPU core, or one a GPU.
        threads: CPU threads of each worker. Float sums depend on this number, so that results of equal `threads` are
            equal bit for bit, whatever the executor and the number of workers.
        device: cpu, cuda, or auto: cuda where there is one.
        address: of a running Ray cluster (or auto), or null for one of our own.
        checkpoint_every: rounds from one checkpoint to the next, or null for none. An interrupted run redoes the rounds
            since the last; one is as large as the exchanged tensors (with `server=adam` three times that).
    """

    executor: Literal["ray", "serial"] = "ray"
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    threads: Annotated[int, Field(ge=1)] = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    address: str | None = None
    checkpoint_every: Annotated[int, Field(ge=1)] | None = 1


@dataclass(frozen=True)
class Task:
    """One call of a worker's method.

    Attributes:
        method: "train" or "evaluate".
        arguments: all but the last, which is the client's state.
        client: whose state goes along; what comes back replaces it.
    """

    method: str
    arguments: tuple[Any, ...]
    client: int | None = None


class Executor(ABC):
    """Runs a job on its workers. Client states stay where the workers are; the driver only holds references."""

    workers: int
    _states: dict[int, Any]
    _values: Callable[[], Payload] | None = None

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.device = resolve_device(settings.device)

    @abstractmethod
    def start(self, job: Job) -> None:
        """Give every worker a new job; all client states are forgotten."""

    @abstractmethod
    def first(self, method: str) -> Any:
        """The result of a method of one worker."""

    @abstractmethod
    def all(self, method: str, *arguments: Any) -> list[Any]:
        """The results of a method of every worker."""

    @abstractmethod
    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Any]]:
        """Run tasks, in any order, and yield (index of the task, result) as they finish."""

    @abstractmethod
    def visit(self, tasks: Sequence[Task]) -> tuple[dict[int, Any], list[ExactSum]]:
        """Run tasks that add to the workers' sums: the results by index of the task, and the sums.

        All of them count, once, or none does: the clients' states change when the sums have arrived.
        """

    def follow(self, values: Callable[[], Payload]) -> None:
        """Learn who knows the global values: a worker that takes a lost one's place asks for them."""
        self._values = values

    def states(self) -> dict[int, Any]:
        """The client states as they are now, for `restore`: client -> state, or a reference to it."""
        return dict(self._states)

    def restore(self, states: Mapping[int, Any]) -> None:
        """Take back all changes of client states since `states`."""
        self._states = dict(states)

    @abstractmethod
    def state(self, client: int) -> State | None:
        """What a client keeps from its last visit, for a checkpoint."""

    @abstractmethod
    def remember(self, client: int, state: State) -> None:
        """Have a client keep what a checkpoint held of it."""

    @abstractmethod
    def close(self) -> None:
        """Let the workers go."""

    def __enter__(self) -> "Executor":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def resolve_device(device: str) -> str:
    """cpu or cuda.

    Raises:
        EngineError: if cuda is asked for and there is none.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise EngineError("engine.device = cuda, but torch sees no CUDA device; use engine.device=cpu")
    return device


def check_engine(settings: EngineSettings) -> None:
    """Refuse what this machine cannot do, before any work; what a running cluster can do is known once it is joined.

    Raises:
        EngineError: if there is no such device, workers and threads are far more than the CPU cores, or nothing listens
            at the address of a cluster (for which Ray itself would wait for many minutes).
    """
    resolve_device(settings.device)
    if settings.executor == "ray" and (place := HOST_AND_PORT.fullmatch(settings.address or "")):
        try:
            socket.create_connection((place[1], int(place[2])), timeout=5).close()
        except (OSError, OverflowError) as error:
            raise EngineError(f"engine.address = {settings.address}: no Ray cluster answers there") from error
    workers = settings.workers if settings.executor == "ray" and settings.workers != "auto" else 1
    cpus = os.cpu_count() or 1
    if settings.address is None and workers * settings.threads > MOST_THREADS_PER_CPU * cpus:
        raise EngineError(
            f"engine.workers = {workers} of engine.threads = {settings.threads} are more than {MOST_THREADS_PER_CPU} "
            f"threads for each of {cpus} CPU cores"
        )


def make_executor(settings: EngineSettings) -> Executor:
    """The executor that the settings ask for."""
    return SerialExecutor(settings) if settings.executor == "serial" else RayExecutor(settings)


def _memory_shortage(executor: Executor) -> MemoryShortageError:
    fewer = f"fewer than engine.workers = {executor.workers}, " if executor.workers > 1 else ""
    return MemoryShortageError(
        f"the GPU has no memory left: take {fewer}a smaller train.batch_size or model.max_length; `skipfl plan` "
        "estimates what a worker needs"
    )


class SerialExecutor(Executor):
    """One worker in this process: for the debugger, for tests, for machines without Ray."""

    workers = 1

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(settings)
        self._states = {}
        self._worker: Worker | None = None

    def start(self, job: Job) -> None:
        self.close()  # the old model goes before the new one comes
        self._worker = Worker(job)

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
        try:
            return getattr(self._worker, method)(*arguments)
        except torch.OutOfMemoryError as error:
            raise _memory_shortage(self) from error

    def state(self, client: int) -> State | None:
        return self._states.get(client)

    def remember(self, client: int, state: State) -> None:
        self._states[client] = state

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
        self._states, self._worker = {}, None


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Within the block Ray starts sessions that listen at 127.0.0.1 alone: no other machine reaches them.

    On Linux they would listen at all addresses of the machine. Ray has no setting for it but this one, which it reads
    when it is imported, and again in each of its processes.
    """
    from ray._private import ray_constants

    name, variable = "ENABLE_RAY_CLUSTER", ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    with patch.object(ray_constants, name, False), patch.dict(os.environ, {variable: "0"}):
        yield


class ResidentWorker:
    """What runs in a Ray actor: outlives runs, so that the next run does not pay for imports again."""

    def __init__(self) -> None:
        self.worker: Worker | None = None

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


class RayExecutor(Executor):
    """Actors on a Ray cluster, each with its share of a CPU or GPU.

    Tasks are handed out one ahead of what an actor works on, first come first served; client states live in the object
    store. An actor that dies is replaced, and what it alone knew, the updates in its sum, is made again.
    """

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(settings)
        import ray

        self._ray = ray
        self.workers = self._wanted()
        needs = {"CPU": float(self.workers * settings.threads)}
        share: dict[str, float] = {"num_cpus": settings.threads}
        if self.device == "cuda":
            needs = {"GPU": min(float(self.workers), float(torch.cuda.device_count()))}
            share = {"num_cpus": 0, "num_gpus": 1 / math.ceil(self.workers / torch.cuda.device_count())}
        self._own = not ray.is_initialized()
        if self._own:
            cpus = {} if settings.address else {"num_cpus": max(os.cpu_count() or 1, int(needs.get("CPU", 1)))}
            quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
            try:
                with nullcontext() if settings.address else _on_loopback():
                    ray.init(address=settings.address or "local", **cpus, **quiet)
            except ConnectionError as error:
                raise EngineError(f"engine.address = {settings.address}: no Ray cluster answers there") from error
        try:
            self._wait_for(needs)
        except EngineError:
            if self._own:
                ray.shutdown()
            raise
        self._new = ray.remote(ResidentWorker).options(**share).remote
        self._actors = [self._new() for _ in range(self.workers)]
        self.lost = 0

    def _wait_for(self, needs: dict[str, float]) -> None:
        """Wait for resources that actors which were let go are still giving back."""
        deadline = time.monotonic() + 10
        for resource, needed in needs.items():
            while (free := self._ray.available_resources().get(resource, 0.0)) < needed:
                if time.monotonic() > deadline:
                    wanted = f"engine.workers = {self.workers} needs {needed:g} {resource}"
                    raise EngineError(f"{wanted}, but the Ray cluster has {free:g} free")
                time.sleep(0.2)

    def _wanted(self) -> int:
        if self.settings.workers != "auto":
            return self.settings.workers
        if self.device == "cuda":
            return torch.cuda.device_count()
        affinity = getattr(os, "sched_getaffinity", None)  # Linux only
        cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
        return max(1, cpus // self.settings.threads)

    def start(self, job: Job) -> None:
        self._states = {}
        self._values = None
        self._job = self._ray.put(job)
        self._everywhere(lambda actor: actor.start.remote(self._job), restart=False)

    def first(self, method: str) -> Any:
        return self._everywhere(lambda actor: actor.call.remote(method), [0])[0]

    def all(self, method: str, *arguments: Any) -> list[Any]:
        shared = [self._ray.put(argument) for argument in arguments]
        return self._everywhere(lambda actor: actor.call.remote(method, *shared))

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Any]]:
        visit = _Visit(self, tasks, summed=False)
        results = visit.finish()
        self._states |= visit.states
        yield from results.items()

    def visit(self, tasks: Sequence[Task]) -> tuple[dict[int, Any], list[ExactSum]]:
        visit = _Visit(self, tasks, summed=True)
        results = visit.finish()
        self._states |= visit.states
        return results, visit.sums

    def _everywhere(
        self, call: Callable[[Any], Any], places: Sequence[int] | None = None, restart: bool = True
    ) -> list[Any]:
        """The results of a call of the actors in some places, by default all; made again where one was lost."""
        places = range(self.workers) if places is None else places
        calls = [call(self._actors[place]) for place in places]
        results = []
        for place, reference in zip(places, calls, strict=True):
            for left in reversed(range(LOSSES)):
                try:
                    results.append(self._get(reference))
                    break
                except LostWorkerError:
                    if not left:
                        raise
                    self.replace(place, restart)
                    reference = call(self._actors[place])
        return results

    def replace(self, place: int, restart: bool = True) -> None:
        """Put a new actor, with the job and the global values, in place of a lost one."""
        warnings.warn("a worker process died and is replaced; what it was doing is done again", stacklevel=2)
        self.lost += 1
        self._ray.kill(self._actors[place])
        self._actors[place] = self._new()
        if not restart:
            return
        values = [] if self._values is None else [self._ray.put(self._values())]
        self._everywhere(lambda actor: actor.start.remote(self._job), [place], restart=False)
        for payload in values:
            self._get(self._actors[place].call.remote("receive", payload))

    def state(self, client: int) -> State | None:
        reference = self._states.get(client)
        return None if reference is None else self._get(reference)

    def remember(self, client: int, state: State) -> None:
        self._states[client] = self._ray.put(state)

    def _get(self, reference: Any) -> Any:
        """A result; an error in a worker is raised as it was raised there."""
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, torch.OutOfMemoryError):
                raise _memory_shortage(self) from error
            raise error.cause from error
        except (self._ray.exceptions.RayActorError, self._ray.exceptions.OutOfMemoryError) as error:
            raise LostWorkerError(
                f"worker processes died {LOSSES} times in a row, perhaps for want of memory; try a smaller "
                "engine.workers"
            ) from error

    def close(self) -> None:
        with suppress(EngineError):  # a worker that died has nothing left to stop
            self._get([actor.stop.remote() for actor in self._actors])
        for actor in self._actors:
            self._ray.kill(actor)
        if self._own:
            self._ray.shutdown()


@dataclass(frozen=True)
class _HandedOut:
    """Tasks that an actor is at: where it is, their indices, and references to their clients' new states."""

    place: int
    tasks: list[int]
    states: list[Any]


class _Visit:
    """Tasks handed out to the actors until all are done, also by those that take a lost one's place.

    Attributes:
        states: the new state of each client that trained, by reference.
        sums: what the actors had summed.
    """

    def __init__(self, executor: RayExecutor, tasks: Sequence[Task], summed: bool) -> None:
        self.executor = executor
        self.tasks = tasks
        self.summed = summed
        self.waiting = deque(range(len(tasks)))
        self.running: dict[Any, _HandedOut] = {}
        self.results: dict[int, Any] = {}
        self.states: dict[int, Any] = {}
        self.sums: list[ExactSum] = []
        self.unsent: list[set[int]] = [set() for _ in range(executor.workers)]  # what is only in an actor's sum
        self.losses: Counter[int | None] = Counter()

    def finish(self) -> dict[int, Any]:
        """Do all tasks and collect the sums; the results by index of the task."""
        while self.waiting or self.running or any(self.unsent):
            self._hand_out()
            if self.running:
                (reference,), _ = self.executor._ray.wait(list(self.running), num_returns=1)
                handed_out = self.running[reference]
                try:
                    results = self.executor._get(reference)
                except LostWorkerError:
                    self._lose(handed_out.place)
                else:
                    del self.running[reference]
                    self._take(handed_out, results)
            else:
                self._collect()
        return self.results

    def _take(self, handed_out: "_HandedOut", results: Sequence[tuple[Any, bool]]) -> None:
        for index, (result, keeps), state in zip(handed_out.tasks, results, handed_out.states, strict=True):
            self.results[index] = result
            task = self.tasks[index]
            if keeps and task.client is not None and task.method == "train":
                self.states[task.client] = state
            if self.summed:
                self.unsent[handed_out.place].add(index)

    def _hand_out(self) -> None:
        """Every actor works on some tasks and has some more waiting: many of short ones, in the end one at a time."""
        load = Counter(handed_out.place for handed_out in self.running.values())
        for depth in (1, 2):
            for place, actor in enumerate(self.executor._actors):
                if not self.waiting:
                    return
                if load[place] < depth:
                    load[place] += 1
                    share = 1 if self.losses else len(self.waiting) // (SHARES * self.executor.workers)
                    tasks = [self.waiting.popleft() for _ in range(min(max(share, 1), MOST_AT_ONCE))]
                    clients = [self.tasks[index].client for index in tasks]
                    before = [None if client is None else self.executor._states.get(client) for client in clients]
                    call = actor.calls.options(num_returns=len(tasks) + 1)
                    results, *states = call.remote([self.tasks[index] for index in tasks], *before)
                    self.running[results] = _HandedOut(place, tasks, states)

    def _collect(self) -> None:
        """Take the actors' sums; tasks whose sum is lost are waiting again."""
        calls = [actor.call.remote("collect") for actor in self.executor._actors]
        for place, call in enumerate(calls):
            try:
                collected = self.executor._get(call)
            except LostWorkerError:
                self._lose(place)
                continue
            self.unsent[place].clear()
            if collected is not None:
                self.sums.append(collected)

    def _lose(self, place: int) -> None:
        """An actor died: what it was at, and what was only in its sum, is to be done again, by another in its place.

        Raises:
            LostWorkerError: if the same task was at work each time.
        """
        struck = [
            index for handed_out in self.running.values() if handed_out.place == place for index in handed_out.tasks
        ]
        suspect = struck[0] if struck else None  # they are in the order in which they were handed out
        self.losses[suspect] += 1
        if self.losses[suspect] == LOSSES:
            client = None if suspect is None else self.tasks[suspect].client
            raise LostWorkerError(
                f"worker processes died {LOSSES} times at one task, perhaps for want of memory; try a smaller "
                "engine.workers or train.batch_size",
                client,
            )
        self.running = {key: handed_out for key, handed_out in self.running.items() if handed_out.place != place}
        again = sorted({*struck, *self.unsent[place]})
        self.unsent[place].clear()
        for index in again:
            self.results.pop(index, None)
        self.waiting.extendleft(reversed(again))
        self.executor.replace(place)
