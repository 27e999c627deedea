"""The Ray executor: workers in actors, which are replaced when they die. Ray is imported when one is made."""

import math
import os
import signal
import threading
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

from simulate.engine.cohort import named
from simulate.engine.executors import (
    BrokenOffError,
    EngineError,
    EngineSettings,
    Executor,
    LostWorkerError,
    Task,
    gpu_error,
    processors,
    workers_wanted,
)
from simulate.engine.job import Job
from simulate.engine.raylet import LOST, RayletWatch
from simulate.engine.resident import ResidentWorker
from simulate.engine.shared import folder_of, sweep
from simulate.exchange.aggregation import ExactSum
from simulate.exchange.channel import State

LOSSES = 3
"""So many workers lost to one task end the run."""

SHARES = 4
"""An actor is handed its share of what is left, divided by this: calls cost little, and all finish together."""

LETTING_GO = 2.0
"""Seconds that workers have to finish what they are at when they are let go."""

MOST_AT_ONCE = 32
"""Tasks handed to an actor in one call."""

NO_ROOM = (
    "what the workers exchange fits neither into Ray's object store nor on the disk of its session, which Ray takes "
    "for full at 95 %: make room there (in /tmp/ray, or where RAY_TMPDIR says), or raise "
    "RAY_DEFAULT_OBJECT_STORE_MEMORY_PROPORTION above 0.3 of the memory"
)
"""What to say when Ray can keep no more."""

NO_SESSION = (
    "Ray could not start ({}): is there room on the disk of /tmp/ray, or where RAY_TMPDIR says? engine.executor=serial "
    "does without Ray"
)
"""What to say when no session of our own begins."""

HUGE_PAGES = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
"""Has the processes of a Ray session ask for huge pages: large tensors, which come and go with each client, then cost a
page fault for 2 MB of them rather than for 4 kB. glibc reads it when a process starts."""


def died(when: str, smaller: str = "engine.workers", client: int | None = None) -> LostWorkerError:
    """The error that ends a run when workers die again and again."""
    return LostWorkerError(
        f"worker processes died {LOSSES} times {when}, perhaps for want of memory; try a smaller {smaller}", client
    )


@contextmanager
def _own_session() -> Iterator[None]:
    """Within the block Ray starts sessions with `HUGE_PAGES` that listen at 127.0.0.1 alone: no other machine reaches
    them.

    On Linux they would listen at all addresses of the machine. Ray has no setting for it but this one, which it reads
    when it is imported, and again in each of its processes.
    """
    from ray._private import ray_constants

    name, variable = "ENABLE_RAY_CLUSTER", ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    environment = dict([HUGE_PAGES]) | os.environ | {variable: "0"}
    with patch.object(ray_constants, name, False), patch.dict(os.environ, environment):
        yield


@contextmanager
def _keeping_the_handler() -> Iterator[None]:
    """Within the block, and after it, a handler of SIGTERM of ours stays in place of Ray's, which end the process."""
    ours = signal.getsignal(signal.SIGTERM)
    if not callable(ours) or threading.current_thread() is not threading.main_thread():
        yield
        return
    with patch("ray._private.utils.set_sigterm_handler"):
        yield
    signal.signal(signal.SIGTERM, ours)  # Ray's core has put one, too


class RayExecutor(Executor):
    """Actors on a Ray cluster, each with its share of a CPU or GPU.

    Tasks are handed out one ahead of what an actor works on, first come first served; client states live in the object
    store. An actor that dies is replaced, and what it alone knew, the updates in its sum, is made again.

    Args:
        settings: how many actors, and where.
        room: actors that this machine's memory has room for, as far as that is known.
    """

    def __init__(self, settings: EngineSettings, room: int | None = None) -> None:
        super().__init__(settings)
        import ray

        self._ray = ray
        self._own = not ray.is_initialized()
        self._watch: RayletWatch | None = None
        if self._own:
            self._begin_session()
        kind = "GPU" if self.device == "cuda" else "CPU"
        there = processors(self.device) if settings.address is None else int(ray.cluster_resources().get(kind, 0))
        self.workers = workers_wanted(settings, self.device, there, room)
        each: dict[str, float] = {"num_cpus": settings.threads}
        if kind == "GPU":
            each = {"num_cpus": 0, "num_gpus": 1 / math.ceil(self.workers / max(1, there))}
        try:
            self._wait_for(kind, self.workers * each.get("num_gpus", settings.threads))
        except EngineError:
            self._end_session()
            raise
        new = ray.remote(ResidentWorker).options(**each)
        self._new = partial(new.remote, each.get("num_gpus", 0.0))
        self._actors = [self._new() for _ in range(self.workers)]
        self._key = ""

    def _begin_session(self) -> None:
        """Join the cluster that the settings name, or start a session on this machine.

        Raises:
            EngineError: if there is no such cluster, or Ray cannot start.
        """
        settings, quiet = self.settings, {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
        wanted = 1 if settings.workers == "auto" else settings.workers
        cpus = {} if settings.address else {"num_cpus": max(os.cpu_count() or 1, wanted * settings.threads)}
        try:
            with _keeping_the_handler(), nullcontext() if settings.address else _own_session():
                self._ray.init(address=settings.address or "local", **cpus, **quiet)
        except Exception as error:  # as plain as that, in Ray
            if settings.address is None:
                raise EngineError(NO_SESSION.format(str(error).partition("\n")[0].rstrip("."))) from error
            if isinstance(error, ConnectionError):
                raise EngineError(f"engine.address = {settings.address}: no Ray cluster answers there") from error
            raise
        if settings.address is None and hasattr(os, "pidfd_open"):  # on Linux
            (raylet,) = self._ray._private.worker._global_node.all_processes["raylet"]
            with suppress(OSError):
                self._watch = RayletWatch(raylet.process.pid)

    def _end_session(self) -> None:
        """End the session, if it is our own."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._own:
            self._ray.shutdown()

    def _wait_for(self, resource: str, needed: float) -> None:
        """Wait for resources that actors which were let go are still giving back."""
        deadline = time.monotonic() + 10
        while (free := self._ray.available_resources().get(resource, 0.0)) < needed:
            if time.monotonic() > deadline:
                wanted = f"engine.workers = {self.workers} needs {needed:g} {resource}"
                raise EngineError(f"{wanted}, but the Ray cluster has {free:g} free")
            time.sleep(0.2)

    def start(self, job: Job) -> None:
        self._states = {}
        self._values = None
        self.lost = 0
        self._key, self._job = job.key, self._put(job)
        self._everywhere(lambda actor: actor.start.remote(self._job), restart=False)

    def first(self, method: str) -> Any:
        return self._everywhere(lambda actor: actor.call.remote(method), [0])[0]

    def all(self, method: str, *arguments: Any) -> list[Any]:
        shared = [self._put(argument) for argument in arguments]
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
                except LostWorkerError as error:
                    if not left:
                        raise died("in a row") from error
                    self.replace(place, restart)
                    reference = call(self._actors[place])
        return results

    def replace(self, place: int, restart: bool = True, work: str = "what it was doing") -> None:
        """Put a new actor, with the job and the global values, in place of a lost one, and warn of what is redone.

        Raises:
            LostWorkerError: if those that take its place die, too, before they have them.
        """
        for left in reversed(range(LOSSES)):
            warnings.warn(f"a worker process died and is replaced; {work} is done again", stacklevel=2)
            self.lost += 1
            self._ray.kill(self._actors[place])
            actor = self._actors[place] = self._new()
            if not restart:
                return
            try:
                self._get(actor.start.remote(self._job))
                if self._values is not None:
                    self._get(actor.call.remote("receive", self._put(self._values())))
                return
            except LostWorkerError as error:
                if not left:
                    raise died("as they took the place of a lost one") from error

    def state(self, client: int) -> State | None:
        reference = self._states.get(client)
        return None if reference is None else self._get(reference)

    def remember(self, client: int, state: State) -> None:
        self._states[client] = self._put(state)

    def _put(self, value: Any) -> Any:
        """A reference to a value in the object store."""
        with self._told():
            return self._ray.put(value)

    def _get(self, reference: Any) -> Any:
        """A result; an error in a worker is raised as it was raised there."""
        with self._told():
            return self._ray.get(reference)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Within the block, what Ray raises is raised as an error of the engine, or of the work that it carried."""
        try:
            yield
        except self._ray.exceptions.RayTaskError as error:
            raise gpu_error(self, error.cause) or self._error_of_ray(error.cause) or error.cause from error
        except self._ray.exceptions.RayError as error:
            if (told := self._error_of_ray(error)) is None:
                raise
            raise told from error

    def _error_of_ray(self, error: BaseException) -> EngineError | None:
        """What to say of an error of Ray itself; None of any other."""
        of = self._ray.exceptions
        if isinstance(error, of.RayActorError) and error.actor_init_failed:
            return EngineError(f"a worker process cannot begin: {str(error).strip().splitlines()[-1]}")
        if isinstance(error, of.RayActorError | of.OutOfMemoryError):
            return LostWorkerError("a worker process died")
        if isinstance(error, of.ObjectStoreFullError | of.OutOfDiskError):
            return BrokenOffError(NO_ROOM)
        if isinstance(error, of.ObjectLostError | of.NodeDiedError | of.LocalRayletDiedError):
            return BrokenOffError(LOST)
        return None

    def close(self) -> None:
        """Let the workers go; those that are still at work after `LETTING_GO` seconds are killed at it."""
        stopped = [actor.stop.remote() for actor in self._actors]
        _, working = self._ray.wait(stopped, num_returns=len(stopped), timeout=LETTING_GO)
        for actor in self._actors:
            self._ray.kill(actor)
        self._end_session()
        if working:
            self._clean_up()

    def _clean_up(self) -> None:
        """Remove what killed workers leave on this machine, when they are gone."""
        for _ in range(20):
            sweep()
            if not folder_of(self._key).exists():
                break
            time.sleep(0.1)


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
        self.singly = False  # since an actor died: what ends the next is then known

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
        """Every actor works on some tasks and has some more waiting: many of short ones. Few that are left wait here,
        for whoever is free first."""
        load = Counter(handed_out.place for handed_out in self.running.values())
        for depth in (1, 2):
            if depth == 2 and len(self.waiting) < SHARES * self.executor.workers:
                return
            for place, actor in enumerate(self.executor._actors):
                if not self.waiting:
                    return
                if load[place] < depth:
                    load[place] += 1
                    share = 1 if self.singly else len(self.waiting) // (SHARES * self.executor.workers)
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
        calls = [handed_out.tasks for handed_out in self.running.values() if handed_out.place == place]
        at_work = calls[0] if calls else []  # they are in the order in which they were handed out
        if len(at_work) <= 1:
            self._strike(*at_work)
        self.singly = True
        struck = [index for tasks in calls for index in tasks]
        self.running = {key: handed_out for key, handed_out in self.running.items() if handed_out.place != place}
        again = sorted({*struck, *self.unsent[place]})
        self.unsent[place].clear()
        for index in again:
            self.results.pop(index, None)
        self.waiting.extendleft(reversed(again))
        self.executor.replace(place, work=self._work(again))

    def _strike(self, suspect: int | None = None) -> None:
        """Count a loss against the task that was at work; None where an actor was sending what it had summed."""
        self.losses[suspect] += 1
        if self.losses[suspect] == LOSSES:
            if suspect is None:
                raise died("as they sent what they had summed")
            task = self.tasks[suspect]
            section = "evaluate" if task.method == "evaluate" else "train"
            raise died("at one task", f"engine.workers or {section}.batch_size", task.client)

    def _work(self, indices: Sequence[int]) -> str:
        """Some tasks in words."""
        tasks = [self.tasks[index] for index in indices]
        clients = sorted({task.client for task in tasks if task.client is not None})
        if not clients:
            return "what it was doing"
        round_ = "" if tasks[0].round is None else f" in round {tasks[0].round}"
        return f"what it did for client{'s' * (len(clients) > 1)} {named(clients)}{round_}"
