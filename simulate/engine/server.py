"""The round loop."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from simulate.engine.cohort import CohortSettings, cohort
from simulate.engine.evaluation import Evaluator
from simulate.engine.executors import Executor, Task
from simulate.engine.records import RunFolder
from simulate.engine.worker import ClientReport, Job, ModelFacts
from simulate.exchange.aggregation import ExactSum
from simulate.exchange.channel import Float32Channel, State
from simulate.exchange.ledger import Ledger

Scores = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Round:
    """What one round tells whoever watches: its number, the scores (None where not evaluated), bytes so far."""

    number: int
    scores: Scores | None
    bytes_total: int


class Server:
    """Holds the global state and runs the rounds of one job.

    Args:
        job: what the workers were started with.
        facts: of their model.
        settings: which clients take part.
        evaluator: scores the global model.
        every: rounds between evaluations.
        executor: the started workers.
        folder: where the records go.
    """

    def __init__(
        self,
        job: Job,
        facts: ModelFacts,
        settings: CohortSettings,
        evaluator: Evaluator,
        every: int,
        executor: Executor,
        folder: RunFolder,
    ) -> None:
        self.job = job
        self.facts = facts
        self.settings = settings
        self.evaluator = evaluator
        self.every = every
        self.executor = executor
        self.folder = folder
        self.channel = Float32Channel()
        self.ledger = Ledger(facts.scope.exchanged)
        self.state: State = executor.first("initial")
        self.totals = {"bytes_up": 0, "bytes_down": 0, "bytes_setup": 0}
        self.transfers = 0
        self.visited: set[int] = set()
        self.history: list[tuple[int, Scores]] = []
        self.seconds_total = 0.0

    def run(self, on_round: Callable[[Round], None]) -> None:
        """All rounds; row 0 of the records is the untrained model."""
        clock = Clock()
        scores: Scores | None = self._evaluate()
        clock.lap("evaluate")
        self._record(0, [], {}, scores, clock.seconds)
        on_round(Round(0, scores, 0))
        for number in range(1, self.job.rounds + 1):
            clock = Clock()
            clients = cohort(self.settings, len(self.job.shards), self.job.seed, number)
            traffic = self._deliver(clients)
            total, reports = self._train(number, clients)
            clock.lap("train")
            new = self.job.method.server_step(self.state, total.average() if total else {})
            self.state |= new
            self.ledger.publish(new)
            self.executor.all("receive", self.channel.encode(new))
            clock.lap("aggregate")
            scores = self._evaluate() if number % self.every == 0 or number == self.job.rounds else None
            clock.lap("evaluate")
            self._record(number, reports, traffic, scores, clock.seconds)
            on_round(Round(number, scores, self.totals["bytes_up"] + self.totals["bytes_down"]))

    def _deliver(self, clients: list[int]) -> dict[int, tuple[int, int]]:
        """What each client downloads before it can train: (bytes of the round, bytes of the set-up transfer)."""
        sizes: dict[tuple[str, ...], int] = {}
        traffic = {}
        for client in clients:
            setup = self.facts.setup_bytes if self.ledger.joins(client) else 0
            names = tuple(self.ledger.download(client))
            if names not in sizes:
                sizes[names] = len(self.channel.encode({name: self.state[name] for name in names}))
            self.transfers += bool(names)
            traffic[client] = (sizes[names], setup)
        return traffic

    def _train(self, number: int, clients: list[int]) -> tuple[ExactSum | None, list[ClientReport]]:
        """The cohort's local training, costliest clients first; the exact sum and the reports in client order."""
        examples = {client: len(self.job.shards[client]) for client in clients}
        total_weight = sum(examples.values())
        order = sorted(clients, key=lambda client: (-examples[client], client))
        tasks = [Task("train", (number, client, total_weight), client=client) for client in order]
        reports = sorted((report for _, report in self.executor.run(tasks)), key=lambda report: report.client)
        self.visited.update(clients)
        sums = [part for part in self.executor.all("collect") if part is not None]
        for part in sums[1:]:
            sums[0].merge(part)
        return (sums[0] if sums else None), reports

    def _evaluate(self) -> Scores:
        """Scores of the global model, or where clients keep personal tensors the mean over the clients' models."""
        return self.evaluator.score(self.executor, sorted(self.visited) or None if self.facts.scope.personal else None)

    def _record(
        self,
        number: int,
        reports: list[ClientReport],
        traffic: Mapping[int, tuple[int, int]],
        scores: Scores | None,
        seconds: Mapping[str, float],
    ) -> None:
        rows: list[dict[str, Any]] = [
            {
                "round": number,
                "client": report.client,
                "examples": report.examples,
                "steps": report.steps,
                "loss": report.loss,
                "update_norm": report.update_norm,
                "bytes_up": report.bytes_up,
                "bytes_down": traffic[report.client][0],
                "bytes_setup": traffic[report.client][1],
                "seconds": round(report.seconds, 4),
                "status": "ok",
            }
            for report in reports
        ]
        self.transfers += sum(report.bytes_up > 0 for report in reports)
        sent = {key: sum(row[key] for row in rows) for key in self.totals}
        for key, value in sent.items():
            self.totals[key] += value
        self.seconds_total += seconds.get("train", 0.0) + seconds.get("aggregate", 0.0)
        examples = sum(report.examples for report in reports)
        loss = sum(report.loss * report.examples for report in reports) / examples if reports else None
        record = {
            "round": number,
            "train_loss": loss,
            **{column: None if scores is None else value for column, value in self._columns(scores).items()},
            **sent,
            "bytes_total": self.totals["bytes_up"] + self.totals["bytes_down"],
            "bytes_setup_total": self.totals["bytes_setup"],
            "clients": len(reports),
            **{f"seconds_{stage}": round(seconds.get(stage, 0.0), 4) for stage in ("train", "aggregate", "evaluate")},
            "seconds_total": round(self.seconds_total, 4),
            "epsilon": None,
        }
        if rows:
            self.folder.append("clients", rows)
        self.folder.append("rounds", [record])
        if scores is not None:
            self.history.append((number, scores))

    def _columns(self, scores: Scores | None) -> dict[str, float]:
        """Scores as columns of rounds.csv; where not evaluated, those of the first evaluation for their names."""
        shown = scores or self.history[0][1]
        return {f"{split}_{metric}": value for split, metrics in shown.items() for metric, value in metrics.items()}


class Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """The time since the last lap belongs to this stage."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
