"""A trial of an experiment on this machine: a visit of one client, which tells what the whole run will take."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from simulate import seeds
from simulate.clients.batches import client_batches
from simulate.config import Experiment
from simulate.engine.clock import Clock
from simulate.engine.cohort import cohort_size
from simulate.engine.evaluation import Evaluator
from simulate.engine.executors import Executor, Task, processors, workers_wanted
from simulate.engine.faults import FaultSettings
from simulate.engine.job import Job, ModelFacts
from simulate.engine.make import make_executor
from simulate.engine.memory import CUDA_CONTEXT, machine_bytes, peak_mb, reset_peak
from simulate.experiment import job_of, prepare
from simulate.method import Turn
from simulate.plan import outline, room, size, with_estimate, workers_in_words

BATCHES = 8
"""Of the trial's visit."""


@dataclass(frozen=True)
class Trial:
    """What was measured in one process, and what of the run it is multiplied by.

    The client of the trial is made up: it holds training examples of all lengths, the longest among them, as many as
    fill some batches.

    Attributes:
        examples: that it holds; `steps`: that it takes.
        first: seconds of each stage (`simulate.engine.job.STAGES`) of its first visit; `again`: of its second, for
            which the outcome of frozen blocks has been kept.
        measure: seconds of measuring importance at its examples; 0 where the method does not.
        score: seconds of one evaluation of validation and test, as far as a part of it tells.
        kept_bytes: of the hidden states of all examples, where the outcome of frozen blocks is kept; `limit_gb`: the
            most that may be.
        worker_bytes: peak memory: of the GPU, or of the whole process where there is none.
        device_bytes: memory of the GPU, or of the machine.
        devices: GPUs, or 1 where there is none.
        cores: that there are for workers.
        visits: of all clients in all rounds; `measured`: those at whose beginning importance is measured.
        visit_steps: the mean steps of one.
        shown: training examples that are visited at all, about.
        scores: evaluations of a model in the whole run: the global one, or in the end each client's.
        workers: that the settings ask for.
    """

    examples: int
    steps: int
    first: Mapping[str, float]
    again: Mapping[str, float]
    measure: float
    score: float
    kept_bytes: int
    limit_gb: float
    worker_bytes: int
    device_bytes: int
    devices: int
    cores: int
    visits: int
    measured: int
    visit_steps: float
    shown: int
    scores: int
    workers: int

    @property
    def room(self) -> int:
        """Workers that there are memory and CPU cores for, at least one."""
        return max(1, min(self.devices * (self.device_bytes // self.worker_bytes), self.cores))

    @property
    def training_seconds(self) -> float:
        """Of the whole run, if its workers do not hinder each other."""
        step = self.again["steps"] / self.steps
        each = self.again["load"] + self.again["prefix"] + self.visit_steps * step + self.again["send"]
        frozen = max(0.0, self.first["prefix"] - self.again["prefix"]) / self.examples  # once for each example
        measuring = self.measured * self.visit_steps * self.measure / self.steps
        return (self.visits * each + self.shown * frozen + measuring) / self.workers

    @property
    def evaluation_seconds(self) -> float:
        """Of the whole run."""
        return self.scores * self.score / self.workers

    def rows(self) -> list[tuple[str, str]]:
        """The trial for reading: (what, how much)."""
        first, again, step = sum(self.first.values()), sum(self.again.values()), self.again["steps"] / self.steps
        whole = self.training_seconds + self.evaluation_seconds
        kept = f"{size(self.kept_bytes)} of hidden states in all, prefix_cache.limit_gb = {self.limit_gb:g}"
        if self.kept_bytes > 1e9 * self.limit_gb:
            kept += ": not all is kept, and the run takes longer than forecast"
        return [
            (
                "measured",
                f"a visit of {self.examples} examples, {self.steps} steps: {first:.3g} s, again: {again:.3g} s, of "
                f"which {1000 * step:.3g} ms a step",
            ),
            (
                "forecast",
                f"{_duration(whole)} on {workers_in_words(self.workers)}, "
                f"{_duration(self.evaluation_seconds)} of it evaluation",
            ),
            *([("kept", kept)] if self.kept_bytes else []),
            (
                "room, as measured",
                f"this process took {size(self.worker_bytes)} of {size(self.device_bytes)}: engine.workers up to "
                f"{self.room}",
            ),
        ]


def measure(experiment: Experiment) -> Trial:
    """Try an experiment in this process.

    Raises:
        any of `simulate.errors.USER_ERRORS`, as a run of it would.
    """
    alone = experiment.model_copy(update={"engine": experiment.engine.model_copy(update={"executor": "serial"})})
    with with_estimate(experiment), make_executor(alone.engine) as workers:
        prepared = prepare(alone)
        reset_peak()
        run = job_of(prepared, workers)
        lengths = run.splits["train"].example_lengths
        batch = run.train.batch_size if run.train.batch_tokens is None else run.train.batch_tokens // lengths.mean()
        sample = _spread(lengths, int(BATCHES * max(1, batch)))
        train = run.train.model_copy(update={"local_epochs": 1, "local_steps": None, "partial_work": None})
        job = replace(run, shards=(sample,), train=train, faults=FaultSettings())
        workers.start(job)
        facts: ModelFacts = workers.first("facts")
        unmeasured = (0.0,) * len(facts.structure.blocks)
        turn = Turn(job.seed, job.rounds, job.rounds, 0, unmeasured)  # the last: after any warm-up
        first, again = (_visit(workers, "train", job, turn)[0] for _ in range(2))
        measured = [number for number in range(1, job.rounds + 1) if job.method.measure(replace(turn, round=number))]
        scored = {name: run.splits[name] for name in ("validation", "test")}
        evaluator = Evaluator(experiment.evaluate, prepared.task, scored)
        model = outline(experiment, lambda _: (prepared.corpus.task, prepared.corpus.labels))  # which has been read
        here = 1 if experiment.engine.address else processors(workers.device)  # what a cluster has is not known here
        clients = len(run.shards)
        visits = experiment.rounds * cohort_size(experiment.cohort, clients)
        return Trial(
            examples=len(sample),
            steps=again.steps,
            first=first.stages,
            again=again.stages,
            measure=_visit(workers, "measure", job, turn)[1] if job.method.measure(turn) else 0.0,
            score=_score(workers, evaluator),
            kept_bytes=_subwords(run) * workers.first("prefix_counts").bytes_each,
            limit_gb=experiment.prefix_cache.limit_gb,
            **_memory(workers.device, experiment.engine.threads),
            visits=visits,
            measured=visits // experiment.rounds * len(measured),
            visit_steps=_mean_steps(run),
            shown=round(min(1.0, visits / clients) * len(lengths)),
            scores=1 + -(-experiment.rounds // experiment.evaluate.every) * (clients if facts.scope.personal else 1),
            workers=workers_wanted(experiment.engine, workers.device, here, room(model, experiment)),
        )


def _spread(lengths: np.ndarray, count: int) -> np.ndarray:
    """As many examples, or all, evenly spread over the order of their lengths, the longest among them."""
    order = np.argsort(lengths, kind="stable")
    return order[np.linspace(len(order) - 1, 0, min(count, len(order))).astype(int)]


def _visit(workers: Executor, what: str, job: Job, turn: Turn) -> tuple[Any, float]:
    """What comes of a visit of the trial's client, and its seconds."""
    clock = Clock()
    results, _ = workers.visit([Task(what, (turn, len(job.shards[0])), 0, turn.round)])
    clock.lap(what)
    return results[0], clock.seconds[what]


def _score(workers: Executor, evaluator: Evaluator) -> float:
    """Seconds of a whole evaluation, from the batches in the middle of each split, once their prefix is kept."""
    total = 0.0
    for name in evaluator.splits:
        chunks = [chunk for split, chunk in evaluator.batches if split == name]
        middle = chunks[len(chunks) // 2]
        for chunk in (chunks[0], middle, middle):  # the first are the longest: they need the most memory
            clock = Clock()
            list(workers.run([Task("evaluate", (name, chunk))]))
            clock.lap("evaluate")
        total += clock.seconds["evaluate"] * len(chunks)
    return total


def _subwords(job: Job) -> int:
    """Of all splits."""
    return sum(int(split.lengths.sum()) for split in job.splits.values())


def _mean_steps(job: Job) -> float:
    """Local steps of a visit, the mean over all clients."""
    lengths = job.splits["train"].lengths
    rng = seeds.generator(job.seed, "trial")
    windows = (job.splits["train"].windows(shard) for shard in job.shards)
    return float(np.mean([len(client_batches(job.train, shard, lengths, rng)) for shard in windows]))


def _memory(device: str, threads: int) -> dict[str, int]:
    """The part of a `Trial` that is about memory, and what workers share."""
    cores = max(1, processors("cpu") // threads)
    if device == "cuda":
        taken = torch.cuda.max_memory_reserved() + CUDA_CONTEXT
        whole = torch.cuda.get_device_properties(0).total_memory
        return {"worker_bytes": taken, "device_bytes": whole, "devices": processors("cuda"), "cores": cores}
    return {"worker_bytes": int(1e6 * peak_mb()), "device_bytes": machine_bytes(), "devices": 1, "cores": cores}


def _duration(seconds: float) -> str:
    """For reading: 42 s, 7.5 min, 3.2 h."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
