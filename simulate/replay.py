"""One client's visit in one round of a run, done again by itself: for the debugger, or to settle a doubt."""

import csv
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from results.frames import load
from results.visits import recorded_visit
from simulate.config import ConfigError, recorded
from simulate.engine.checkpoint import Checkpoints
from simulate.engine.clock import Clock
from simulate.engine.cohort import named
from simulate.engine.make import make_executor
from simulate.engine.records import RecordedRun, check_unused, environment
from simulate.engine.rounds import Round
from simulate.engine.server import Server, cohort_of
from simulate.experiment import forget_corpora, job_of, partition_record, prepare
from simulate.models.digests import model_digests
from simulate.plan import with_estimate
from simulate.study import Watcher

MEASURED = ("seconds",)
"""Columns that differ from time to time."""

OF_THE_ROUND = ("status", "reason")
"""Columns that, where a round was skipped, say what became of the cohort's updates together."""


@dataclass(frozen=True)
class Replay:
    """A visit, and what the run had recorded of it.

    Attributes:
        row: of clients.csv, as this visit would be written.
        recorded: as it is written there; None where the run did not get so far.
    """

    row: dict[str, str]
    recorded: dict[str, str] | None

    @property
    def compared(self) -> list[str]:
        """The columns in which the two must be equal."""
        if self.recorded is None:
            return []
        free = MEASURED + (OF_THE_ROUND if self.recorded.get("status") == "skipped" else ())
        return [column for column in self.row if column in self.recorded and column not in free]

    @property
    def differing(self) -> list[str]:
        """The columns in which the two are not equal, to the last digit."""
        return [column for column in self.compared if self.row[column] != (self.recorded or {})[column]]


def replay(folder: Path, number: int, client: int, watcher: Watcher, stop: bool = False) -> Replay:
    """Do one client's visit again, in this process, after all rounds before, from the last checkpoint on.

    The folder is only read. Nothing is evaluated, which no training depends on.

    Args:
        folder: the run folder, of a finished run or not.
        number: of the round.
        client: of the round's cohort.
        watcher: is told of the rounds before.
        stop: stop in the debugger just before the visit.

    Raises:
        ConfigError: if there is no run in the folder, no such round, or no such client in it.
        RunFolderError: if another process writes the folder, or corpus or model are no longer those of the run.
        DivergenceError, AggregationError, ...: as the visit raised when it was recorded.
    """
    experiment = recorded(folder, ["engine.executor=serial"])
    finished = (folder / "summary.json").is_file()  # perhaps before its last round
    rounds = int(load(folder).summaries["rounds"].iloc[0]) if finished else experiment.rounds
    if not 1 <= number <= rounds:
        raise ConfigError(f"--round {number}: the rounds of {folder} are 1 to {rounds}")
    check_unused(folder)
    records = RecordedRun(folder, experiment.resolved())
    try:
        prepared = prepare(experiment)
    finally:
        forget_corpora()
    records.require_partition(partition_record(prepared))
    records.require_model(model_digests(experiment.model))
    with with_estimate(experiment), make_executor(experiment.engine) as workers:
        job = job_of(prepared, workers)
        _require_in_cohort(client, number, cohort_of(job, experiment.cohort, number), len(job.shards))
        found = Checkpoints(records, None).read(last=number - 1)
        if changed := records.other_versions(environment() | {"device": workers.device}):
            warnings.warn(f"{folder}: redone with other {changed} than it ran with; last bits may differ", stacklevel=2)
        workers.start(job)
        server = Server(job, workers.first("facts"), experiment.cohort, workers)
        before = experiment.model_copy(update={"rounds": number - 1})
        watcher.begin(folder, before)
        watcher.note(f"client {client} in round {number} is redone" + (", after all rounds before" * (number > 1)))
        done, sent = 0, 0
        if found is not None:
            server.restore(found)
            done, sent = found.round, found.facts["totals"]["bytes_up"] + found.facts["totals"]["bytes_down"]
            watcher.round(before, Round(done, None, sent, resumed=True))
        for earlier in range(done + 1, number):
            learned = server.learn(earlier, Clock())
            sent += sum(row["bytes_up"] + row["bytes_down"] for row in learned.rows(earlier))
            watcher.round(before, Round(earlier, None, sent, skipped=learned.skipped))
        (row,) = server.replay(number, client, stop).rows(number)
    return Replay(_as_written(row), recorded_visit(folder, number, client))


def _require_in_cohort(client: int, number: int, cohort: Sequence[int], clients: int) -> None:
    if not 0 <= client < clients:
        raise ConfigError(f"--client {client}: the clients of this run are 0 to {clients - 1}")
    if client not in cohort:
        raise ConfigError(f"--client {client}: the cohort of round {number} is {named(cohort) or 'empty'}")


def _as_written(row: dict[str, object]) -> dict[str, str]:
    """A row as a table has it when it is read back."""
    stream = io.StringIO()
    csv.writer(stream).writerow(row.values())
    return dict(zip(row, next(csv.reader([stream.getvalue()])), strict=True))
