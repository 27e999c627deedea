"""The honest floor: one or more processes with a model each, and nothing else. No framework, no records, no bytes.

Each process takes its share of the cohort and adds the weighted values of its clients up in place, in memory that all
share; then each takes the sum of all shares as its new global values. Its C library asks for huge pages and keeps what
is freed, as in our own workers (`simulate.bench.race.MEMORY`).
"""

import os
import time
from collections.abc import Sequence
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from threading import Thread

import torch
from torch import multiprocessing

from simulate.bench.contestants.shared import Outcome, Plan

State = dict[str, torch.Tensor]

PATIENCE = 600.0
"""Seconds that one process waits for the others."""


def main(folder: Path, output: Path, workers: int, threads: int) -> None:
    plan = Plan(folder)
    model, trained = plan.model()
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(workers, timeout=PATIENCE)
    sums = [{name: torch.zeros_like(value).share_memory_() for name, value in trained.items()} for _ in range(workers)]
    right = torch.zeros(workers, dtype=torch.float64).share_memory_()
    others = [
        context.Process(target=_other, args=(folder, rank, threads, sums, right, barrier), daemon=True)
        for rank in range(1, workers)
    ]
    for process in others:
        process.start()
    watching = Thread(target=_watch, args=(others, barrier), daemon=True)
    watching.start()
    outcome = Outcome()
    _run(plan, model, trained, 0, threads, sums, right, barrier, outcome)
    watching.join()
    outcome.write(output, trained)


def _watch(others: Sequence[BaseProcess], barrier: Barrier) -> None:
    """Wait for all processes; if one dies nobody waits for it any more."""
    while living := [process for process in others if process.exitcode is None]:
        connection.wait([process.sentinel for process in living])
        if any(process.exitcode for process in others):
            barrier.abort()
            return


def _other(folder: Path, rank: int, threads: int, sums: list[State], right: torch.Tensor, barrier: Barrier) -> None:
    os.setsid()  # Linux shares processors out by session, and the workers of Ray and torchrun have one each
    plan = Plan(folder)
    model, trained = plan.model()
    _run(plan, model, trained, rank, threads, sums, right, barrier, Outcome())


def _run(
    plan: Plan,
    model: torch.nn.Module,
    trained: dict[str, torch.nn.Parameter],
    rank: int,
    threads: int,
    sums: list[State],
    right: torch.Tensor,
    barrier: Barrier,
    outcome: Outcome,
) -> None:
    """All rounds of one process."""
    torch.set_num_threads(threads)
    start = {name: parameter.detach().clone() for name, parameter in trained.items()}
    own = sums[rank]
    steps = plan.batches.shape[2]
    barrier.wait()
    outcome.first_client = time.time()
    for round_ in range(plan.rounds):
        cohort = len(plan.cohorts[round_])
        for place in range(rank, cohort, len(sums)):
            _load(trained, start)
            plan.train(model, trained.values(), round_, place)
            with torch.no_grad():
                for name, parameter in trained.items():
                    own[name].add_(parameter, alpha=1 / cohort)
        barrier.wait()
        with torch.no_grad():
            for name, value in start.items():
                value.copy_(sums[0][name])
                for other in sums[1:]:
                    value.add_(other[name])
        barrier.wait()
        for tensor in own.values():
            tensor.zero_()
        if plan.evaluate:
            _load(trained, start)
            right[rank], _ = plan.score(model, rank, len(sums))
            barrier.wait()
            outcome.scores.append(float(right.sum()) / len(plan.held_out_ids))
        outcome.steps += cohort * steps
        outcome.end_round()
    _load(trained, start)


@torch.no_grad()
def _load(trained: dict[str, torch.nn.Parameter], values: State) -> None:
    """Have the model hold these values."""
    for name, parameter in trained.items():
        parameter.copy_(values[name])
