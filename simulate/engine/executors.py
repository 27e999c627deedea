"""Where workers live: in this process (serial) or in Ray actors. One interface, the same results."""

import gc
import math
import os
import re
import socket
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from unittest.mock import patch

import torch
from pydantic import Field

from simulate.engine.worker import Job, Worker
from simulate.exchange.channel import State
from simulate.settings import Settings

HOST_AND_PORT = re.compile(r"\[?([^/]*?)\]?:(\d+)")

MOST_THREADS_PER_CPU = 8
"""Threads of all workers together; beyond the number of cores they only get in each other's way."""


class EngineError(RuntimeError):
    """Work that could not be done where the settings say; the message says what to change."""


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
        return getattr(self._worker, method)()

    def all(self, method: str, *arguments: Any) -> list[Any]:
        return [getattr(self._worker, method)(*arguments)]

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Any]]:
        for index, task in enumerate(tasks):
            state = None if task.client is None else self._states.get(task.client)
            result, new = getattr(self._worker, task.method)(*task.arguments, state)
            if new is not None and task.client is not None:
                self._states[task.client] = new
            yield index, result

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


class RayExecutor(Executor):
    """Actors on a Ray cluster, each with its share of a CPU or GPU.

    Tasks are handed out one ahead of what an actor works on, first come first served; client states live in the object
    store.
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
        actor = ray.remote(ResidentWorker).options(**share)
        self._actors = [actor.remote() for _ in range(self.workers)]

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
        shared = self._ray.put(job)
        self._get([actor.start.remote(shared) for actor in self._actors])

    def first(self, method: str) -> Any:
        return self._get(self._actors[0].call.remote(method))

    def all(self, method: str, *arguments: Any) -> list[Any]:
        shared = [self._ray.put(argument) for argument in arguments]
        return self._get([actor.call.remote(method, *shared) for actor in self._actors])

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Any]]:
        waiting = deque(enumerate(tasks))
        running: dict[Any, tuple[int, Any]] = {}

        def hand_out(actor: Any) -> None:
            index, task = waiting.popleft()
            state = None if task.client is None else self._states.get(task.client)
            call = actor.call.options(num_returns=2)
            result, new = call.remote(task.method, *task.arguments, state)
            if task.client is not None and task.method == "train":
                self._states[task.client] = new
            running[result] = (index, actor)

        for _ in range(2):
            for actor in self._actors:
                if waiting:
                    hand_out(actor)
        while running:
            (done,), _ = self._ray.wait(list(running), num_returns=1)
            index, actor = running.pop(done)
            if waiting:
                hand_out(actor)
            yield index, self._get(done)

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
            raise error.cause from error
        except self._ray.exceptions.RayActorError as error:
            raise EngineError(
                "a worker process died, perhaps for want of memory; try a smaller engine.workers"
            ) from error

    def close(self) -> None:
        with suppress(EngineError):  # a worker that died has nothing left to stop
            self._get([actor.stop.remote() for actor in self._actors])
        for actor in self._actors:
            self._ray.kill(actor)
        if self._own:
            self._ray.shutdown()
