"""The round loop: each round evaluated, recorded and remembered."""

import shlex
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulate.engine.checkpoint import Checkpoints
from simulate.engine.clock import Clock
from simulate.engine.evaluation import Evaluator, Scores, mean_scores
from simulate.engine.executors import EngineError, LostWorkerError
from simulate.engine.job import STAGES
from simulate.engine.records import RunFolder
from simulate.engine.server import Learned, Server

COUNTS = ("totals", "faults", "history", "stopped", "seconds_total")
"""What the loop knows, which is plain data and goes into a checkpoint as it is."""


@dataclass(frozen=True)
class Round:
    """What one round tells whoever watches: its number, the scores (None where not evaluated), bytes so far, whether
    the run stops with it before its last round, whether it was skipped for want of updates, and whether it was done
    before, by the process that was interrupted."""

    number: int
    scores: Scores | None
    bytes_total: int
    stopped: bool = False
    skipped: bool = False
    resumed: bool = False


class RoundLoop:
    """Runs the rounds of one job.

    Args:
        server: does each of them.
        evaluator: scores the global model, with the settings of when.
        folder: where the records go.
        checkpoints: where all that the next rounds depend on goes, so that an interrupted run goes on.

    Attributes:
        begun_after: the round after which this process began; 0 but where it goes on with an interrupted run.
    """

    def __init__(self, server: Server, evaluator: Evaluator, folder: RunFolder, checkpoints: Checkpoints) -> None:
        self.server = server
        self.evaluator = evaluator
        self.folder = folder
        self.checkpoints = checkpoints
        self.totals = {"bytes_up": 0, "bytes_down": 0, "bytes_setup": 0}
        self.faults = dict.fromkeys(("dropped", "late", "rejected", "rejected_scores", "skipped"), 0)
        self.trained: set[int] = set()  # since the last checkpoint
        self.history: list[tuple[int, Scores]] = []
        self.stopped = False
        self.seconds_total = 0.0
        self.lost_before = 0
        self.begun_after = 0

    def run(self, on_round: Callable[[Round], None]) -> None:
        """All rounds that are not done yet, or as many as patience has; row 0 of the records is the untrained model."""
        every, rounds = self.evaluator.settings.every, self.server.job.rounds
        scores: Scores | None
        number = self._resume(on_round)
        if number is None:
            number = 0
            clock = Clock()
            scores = self._evaluate(number)
            clock.lap("evaluate")
            self._record(0, Learned([], {}), scores, clock)
            on_round(Round(0, scores, 0))
        while number < rounds and not self.stopped:
            number += 1
            clock = Clock()
            learned = self._learn(number, clock)
            scores = self._evaluate(number) if number % every == 0 or number == rounds else None
            clock.lap("evaluate")
            self._record(number, learned, scores, clock)
            self.stopped = scores is not None and number < rounds and self._exhausted()
            if self.checkpoints.due(number):
                self._remember(number)
            on_round(Round(number, scores, self.sent, self.stopped, learned.skipped))

    def _learn(self, number: int, clock: Clock) -> Learned:
        """A round of the server; a client whose visit always ends its worker is named, with what shows why."""
        try:
            return self.server.learn(number, clock)
        except LostWorkerError as error:
            if error.client is None:
                raise
            again = f"replay {self._quoted} --round {number} --client {error.client}"
            raise _alone(f"client {error.client} in round {number}", error, again) from error

    @property
    def _quoted(self) -> str:
        """The run folder in a command."""
        return shlex.quote(str(self.folder.path))

    @property
    def sent(self) -> int:
        """Bytes sent so far, up and down, without set-up."""
        return self.totals["bytes_up"] + self.totals["bytes_down"]

    @property
    def lost_workers(self) -> int:
        """Workers that died so far, also before the run was interrupted."""
        return self.lost_before + self.server.executor.lost

    def _remember(self, number: int) -> None:
        """Write a checkpoint of all that the next rounds depend on."""
        tensors, facts = self.server.snapshot()
        facts |= {name: getattr(self, name) for name in (*COUNTS, "lost_workers")}
        states = ((client, self.server.executor.state(client)) for client in sorted(self.trained))
        self.checkpoints.write(number, tensors, facts, states)
        self.trained.clear()

    def _resume(self, on_round: Callable[[Round], None]) -> int | None:
        """Be as after the round of the last checkpoint, server and records included.

        Returns:
            The round; None where there is no checkpoint, and the records begin anew.
        """
        found = self.checkpoints.resume()
        done = self.folder.rounds()
        if found is None and done > (self.checkpoints.every == 1):  # which may lose the round that it was in, as always
            warnings.warn(
                f"{self.folder.path}: begins again, {done} round{'s' * (done > 1)} had been done, but there is no "
                "checkpoint to go on from (engine.checkpoint_every)",
                stacklevel=2,
            )
        self.folder.cut(found.tables if found else {})
        self.folder.resumed(found.round if found else 0)
        if found is None:
            return None
        self.server.restore(found)
        self.begun_after = found.round
        for name in COUNTS:
            setattr(self, name, found.facts[name])
        self.lost_before = found.facts["lost_workers"]
        number, scores = self.history[-1]
        on_round(Round(found.round, scores if number == found.round else None, self.sent, self.stopped, resumed=True))
        return found.round

    def _evaluate(self, number: int) -> Scores:
        """Scores of the global model, or where clients keep personal tensors the mean over the clients' models.

        Those of several clients are recorded, too.
        """
        server = self.server
        clients = sorted(server.visited) if server.facts.scope.personal else []
        try:
            each = self.evaluator.score(server.executor, clients or None)
        except LostWorkerError as error:
            whose = "" if error.client is None else f" of client {error.client}"
            again = f"run --resume {self._quoted} engine.executor=serial"
            raise _alone(f"evaluation{whose} after round {number}", error, again) from error
        if clients and not server.job.method.pooled:
            rows = [
                {"round": number, "client": client, **_columns(scores)}
                for client, scores in zip(clients, each, strict=True)
            ]
            self.folder.append("client_scores", rows)
        return mean_scores(each)

    def _exhausted(self) -> bool:
        """Whether validation has not improved for as long as the settings allow."""
        metric = self.evaluator.task.metric
        return self.evaluator.settings.exhausted([scores["validation"][metric] for _, scores in self.history[1:]])

    def _record(self, number: int, learned: Learned, scores: Scores | None, clock: Clock) -> None:
        """Add a round to the records and to what is counted."""
        seconds, reports = clock.seconds, learned.reports
        rows = learned.rows(number)
        sent = {key: sum(row[key] for row in rows) for key in self.totals}
        for key, value in sent.items():
            self.totals[key] += value
        self.seconds_total += seconds.get("train", 0.0) + seconds.get("aggregate", 0.0)
        averaged = [report for report in reports if report.verdict.status == "ok"]
        losses = [(report.loss or 0.0) * report.examples for report in averaged]
        loss = sum(losses) / sum(report.examples for report in averaged) if averaged else None
        lost = {what: sum(row["status"] == what for row in rows) for what in ("dropped", "late", "rejected")}
        lost["rejected_scores"] = sum(row["scores_status"] == "rejected" for row in rows)
        lost["skipped"] = int(learned.skipped)
        for what, count in lost.items():
            self.faults[what] += count
        self.trained.update(report.client for report in reports if report.verdict.status != "dropped")
        record: dict[str, Any] = {
            "round": number,
            "train_loss": loss,
            **{
                # where not evaluated, empty cells under the names of the first evaluation
                column: None if scores is None else value
                for column, value in _columns(scores or self.history[0][1]).items()
            },
            **sent,
            "bytes_total": self.sent,
            "bytes_setup_total": self.totals["bytes_setup"],
            "clients": len(averaged),
            **lost,
            **{f"seconds_{stage}": round(seconds.get(stage, 0.0), 4) for stage in ("train", "aggregate", "evaluate")},
            **{
                f"seconds_worker_{stage}": round(sum(report.stages[stage] for report in reports), 4) for stage in STAGES
            },
            "seconds_total": round(self.seconds_total, 4),
            "epsilon": None,
        }
        if rows:
            self.folder.append("clients", rows)
        self.folder.append("rounds", [record])
        if scores is not None:
            self.history.append((number, scores))


def _alone(what: str, error: LostWorkerError, command: str) -> EngineError:
    """What always ends its worker, and the command that does it again in one process."""
    return EngineError(f"{what}: {error}. In one process, for a debugger: skipfl {command}")


def _columns(scores: Scores) -> dict[str, float]:
    """Scores as columns of a table."""
    return {f"{split}_{metric}": value for split, metrics in scores.items() for metric, value in metrics.items()}
