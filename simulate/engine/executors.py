"""Where the work is done: the settings, and the interface that the serial executor and that of Ray have in common."""

import os
import re
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from simulate.engine.job import Job
from simulate.exchange.aggregation import ExactSum
from simulate.exchange.channel import Payload, State
from simulate.settings import Settings

HOST_AND_PORT = re.compile(r"\[?([^/]*?)\]?:(\d+)")

NO_FIXED_ORDER = re.compile(r"(\S+) does not have a deterministic implementation")
"""What PyTorch says of an operation."""

MOST_THREADS_PER_CPU = 8
"""Threads of all workers together; beyond the number of cores they only get in each other's way."""


class EngineError(RuntimeError):
    """Work that could not be done where the settings say; the message says what to change."""


class MemoryShortageError(EngineError):
    """A GPU has no memory left for what a worker does."""


class BrokenOffError(EngineError):
    """What ends work from outside, such as room that is short; when that is mended, the work goes on."""


class LostWorkerError(BrokenOffError):
    """A worker process that died, of itself or killed.

    Attributes:
        client: whose turn it was; None where no client can be blamed.
    """

    def __init__(self, message: str, client: int | None = None) -> None:
        super().__init__(message)
        self.client = client


class EngineSettings(Settings):
    """Where the work is done; not what comes out of it.

    Attributes:
        executor: ray (actors, several at once) or serial (in this process, for debugging and small runs).
        workers: number of actors, or auto: one a CPU core, as far as this machine's memory has room for what `skipfl
            plan` estimates, or one a GPU.
        threads: CPU threads of each worker. Float sums depend on this number, so that results of equal `threads` are
            equal bit for bit, whatever the executor and the number of workers.
        device: cpu, cuda, or auto: cuda where there is one.
        deterministic: have a GPU add in a fixed order, so that results are equal bit for bit there too; slower, and an
            error where PyTorch has no such way. On the CPU it changes nothing. Not yet run on a GPU.
        address: of a running Ray cluster (or auto), or null for one of our own. `workers: auto` counts the cores or
            GPUs of all its machines. They need one file system for models, corpora and the cache (SKIPFL_CACHE).
        checkpoint_every: rounds from one checkpoint to the next, or null for none. An interrupted run redoes the rounds
            since the last; one is as large as the exchanged tensors (with `server=adam` three times that) and
            takes up to a second for each 100 MB. Where that is much beside a round, 5 to 10.
    """

    executor: Literal["ray", "serial"] = "ray"
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    threads: Annotated[int, Field(ge=1)] = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    deterministic: bool = False
    address: str | None = None
    checkpoint_every: Annotated[int, Field(ge=1)] | None = 1


@dataclass(frozen=True)
class Task:
    """One call of a worker's method.

    Attributes:
        method: "measure", "train" or "evaluate".
        arguments: all but the last, which is the client's state.
        client: whose state goes along; what comes back replaces it.
        round: that it is done in, where a message may name it.
    """

    method: str
    arguments: tuple[Any, ...]
    client: int | None = None
    round: int | None = None


class Executor(ABC):
    """Runs a job on its workers. Client states stay where the workers are; the driver only holds references.

    Attributes:
        workers: how many there are.
        lost: how many of them died, and were replaced, since the job began.
    """

    workers: int
    lost: int = 0
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


def processors(device: str) -> int:
    """GPUs of this machine, or the CPU cores that this process may use."""
    if device == "cuda":
        return torch.cuda.device_count()
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def workers_wanted(settings: EngineSettings, device: str, there: int, room: int | None = None) -> int:
    """How many workers the settings ask for.

    Args:
        device: cpu or cuda.
        there: CPU cores or GPUs.
        room: workers that this machine's memory has room for, where that is known.
    """
    if settings.executor == "serial":
        return 1
    if settings.workers != "auto":
        return settings.workers
    wanted = max(1, there // (settings.threads if device == "cpu" else 1))
    return wanted if room is None or not bounded(settings, device) else min(wanted, room)


def bounded(settings: EngineSettings, device: str) -> bool:
    """Whether the memory of this machine is what several workers fill: not a GPU's, nor that of a cluster."""
    return settings.executor == "ray" and device == "cpu" and settings.address is None


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


def gpu_error(executor: Executor, error: BaseException) -> EngineError | None:
    """What to say of an error of PyTorch in a worker: a full GPU, or no fixed order to be had; None of any other."""
    if isinstance(error, torch.OutOfMemoryError):
        fewer = f"fewer than engine.workers = {executor.workers}, " if executor.workers > 1 else ""
        return MemoryShortageError(
            f"the GPU has no memory left: take {fewer}a smaller train.batch_size or train.batch_tokens (sub-words a "
            "step, instead of a number of texts), evaluate.batch_size or model.max_length"
        )
    if isinstance(error, RuntimeError) and (found := NO_FIXED_ORDER.search(str(error))):
        return EngineError(
            f"engine.deterministic = true, but PyTorch has no way to compute {found[1]} in a fixed order on this GPU; "
            "set it to false"
        )
    return None
