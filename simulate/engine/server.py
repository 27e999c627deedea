"""The round loop."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from simulate.engine.checkpoint import Checkpoints
from simulate.engine.clock import Clock
from simulate.engine.cohort import CohortSettings, cohort
from simulate.engine.evaluation import Evaluator, Scores, mean_scores
from simulate.engine.executors import EngineError, Executor, LostWorkerError, Task
from simulate.engine.job import STAGES, ClientReport, Job, ModelFacts, Verdict
from simulate.engine.records import RunFolder
from simulate.exchange.aggregation import ExactSum
from simulate.exchange.channel import Float32Channel, State
from simulate.exchange.ledger import Ledger
from simulate.exchange.low_rank import LowRankChanges
from simulate.method import Turn

COUNTS = ("totals", "faults", "transfers", "history", "stopped", "seconds_total")
"""What the server knows that is plain data, and a checkpoint holds as it is."""


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


@dataclass
class Traffic:
    """Bytes of one client and round beside its update: up, down, and of the set-up transfer."""

    up: int = 0
    down: int = 0
    setup: int = 0


class Server:
    """Holds the global state and runs the rounds of one job.

    Args:
        job: what the workers were started with.
        facts: of their model.
        settings: which clients take part.
        evaluator: scores the global model, with the settings of when.
        executor: the started workers.
        folder: where the records go.
        checkpoints: where what is here goes, so that an interrupted run goes on.
    """

    def __init__(
        self,
        job: Job,
        facts: ModelFacts,
        settings: CohortSettings,
        evaluator: Evaluator,
        executor: Executor,
        folder: RunFolder,
        checkpoints: Checkpoints,
    ) -> None:
        torch.set_num_threads(job.threads)  # the matrix products made here are then the same bits as in a worker
        self.job = job
        self.facts = facts
        self.settings = settings
        self.evaluator = evaluator
        self.executor = executor
        self.folder = folder
        self.checkpoints = checkpoints
        self.channel = Float32Channel()
        self.state: State = executor.first("initial")
        self.ledger = Ledger(self.state)
        executor.follow(lambda: self.channel.encode(self.state))
        self.changes = {name: LowRankChanges(self.state[name].numel()) for name in facts.scope.merged}
        self.initial = dict(self.state) if job.method.follows_change(Turn(job.seed, job.rounds, job.rounds)) else {}
        self.memory: State = {}
        self.totals = {"bytes_up": 0, "bytes_down": 0, "bytes_setup": 0}
        self.faults = dict.fromkeys(("dropped", "late", "rejected", "skipped"), 0)
        self.transfers = 0
        self.visited: set[int] = set()
        self.trained: set[int] = set()  # since the last checkpoint
        self.history: list[tuple[int, Scores]] = []
        self.stopped = False
        self.seconds_total = 0.0

    def run(self, on_round: Callable[[Round], None]) -> None:
        """All rounds that are not done yet, or as many as patience has; row 0 of the records is the untrained model."""
        every = self.evaluator.settings.every
        scores: Scores | None
        number = self._resume(on_round)
        if number is None:
            number = 0
            clock = Clock()
            scores = self._evaluate(number)
            clock.lap("evaluate")
            self._record(0, [], {}, scores, clock.seconds)
            on_round(Round(0, scores, 0))
        while number < self.job.rounds and not self.stopped:
            number += 1
            clock = Clock()
            turn = Turn(self.job.seed, number, self.job.rounds)
            clients = self._cohort(turn)
            traffic = self._deliver(clients)
            total, reports = self._train(turn, clients, traffic)
            clock.lap("train")
            if total is not None:
                self._aggregate(total)
            clock.lap("aggregate")
            scores = self._evaluate(number) if number % every == 0 or number == self.job.rounds else None
            clock.lap("evaluate")
            self._record(number, reports, traffic, scores, clock.seconds, skipped=total is None)
            self.stopped = scores is not None and number < self.job.rounds and self._exhausted()
            if self.checkpoints.due(number):
                self._remember(number)
            sent = self.totals["bytes_up"] + self.totals["bytes_down"]
            on_round(Round(number, scores, sent, self.stopped, skipped=total is None))

    def _remember(self, number: int) -> None:
        """Write a checkpoint of all that the next rounds depend on."""
        tensors = {f"state/{name}": tensor for name, tensor in self.state.items()}
        tensors |= {f"memory/{name}": tensor for name, tensor in self.memory.items()}
        for name, changes in self.changes.items():
            for index, (left, right) in enumerate(changes.kept):
                tensors |= {f"left{index}/{name}": left, f"right{index}/{name}": right}
        facts = {
            "changes": {name: len(changes.kept) for name, changes in self.changes.items()},
            "ledger": self.ledger.memory(),
            "visited": sorted(self.visited),
            **{name: getattr(self, name) for name in COUNTS},
        }
        states = ((client, self.executor.state(client)) for client in sorted(self.trained))
        self.checkpoints.write(number, tensors, facts, states)
        self.trained.clear()

    def _resume(self, on_round: Callable[[Round], None]) -> int | None:
        """Be as after the round of the last checkpoint, records and workers included.

        Returns:
            The round; None where there is no checkpoint, and the records begin anew.
        """
        found = self.checkpoints.resume()
        self.folder.cut(found.tables if found else {})
        self.folder.resumed(found.round if found else 0)
        if found is None:
            return None
        tensors, facts = found.tensors, found.facts
        self.state = {name: tensors[f"state/{name}"] for name in self.state}
        self.memory = {
            key.removeprefix("memory/"): tensor for key, tensor in tensors.items() if key.startswith("memory/")
        }
        for name, count in facts["changes"].items():
            pairs = [(tensors[f"left{index}/{name}"], tensors[f"right{index}/{name}"]) for index in range(count)]
            self.changes[name].kept = pairs
        self.ledger.remember(facts["ledger"])
        self.visited = set(facts["visited"])
        for name in COUNTS:
            setattr(self, name, facts[name])
        for client, state in found.states():
            self.executor.remember(client, state)
        self.executor.all("receive", self.channel.encode(self.state))
        sent = self.totals["bytes_up"] + self.totals["bytes_down"]
        number, scores = self.history[-1]
        on_round(Round(found.round, scores if number == found.round else None, sent, self.stopped, resumed=True))
        return found.round

    def _cohort(self, turn: Turn) -> list[int]:
        """The clients of a round, drawn among those that are there."""
        every = range(len(self.job.shards))
        there = [client for client in every if self.job.faults.available(replace(turn, client=client))]
        return cohort(self.settings, len(every), turn.seed, turn.round, there)

    def _aggregate(self, total: ExactSum) -> None:
        """The server step, and the new global values sent to the workers."""
        update, participation = self.job.aggregation.aggregate(total, len(self.job.shards))
        proposed = self.job.method.server_step(self.state, update, participation)
        extras = {name: proposed.pop(name) for name in proposed.keys() - set(self.facts.scope.exchanged)}
        new = self.job.server.step(self.state, proposed, self.memory) | extras
        new |= self._merge(update, total.weights)
        self.state |= new
        self.ledger.publish(new)
        self.executor.all("receive", self.channel.encode(new))

    def _deliver(self, clients: list[int]) -> dict[int, Traffic]:
        """What each client downloads before it can train."""
        sizes: dict[tuple[tuple[str, int], ...], int] = {}
        traffic = {}
        for client in clients:
            setup = self.facts.setup_bytes if self.ledger.joins(client) else 0
            behind = self.ledger.download(client)
            key = tuple((name, missed if name in self.changes else 0) for name, missed in behind.items())
            if key not in sizes:
                sizes[key] = len(self.channel.encode(self._payload(behind)))
            self.transfers += bool(key)
            traffic[client] = Traffic(down=sizes[key], setup=setup)
        return traffic

    def _payload(self, behind: Mapping[str, int]) -> State:
        """What brings a client up to date: tensors, and the factors of low-rank changes where they are smaller."""
        payload: State = {}
        for name, missed in behind.items():
            factors = self.changes[name].last(missed) if name in self.changes else None
            if factors is None:
                payload[name] = self.state[name]
            else:
                payload[f"{name}.left"], payload[f"{name}.right"] = factors
        return payload

    def _merge(self, update: State, weights: Mapping[str, int]) -> State:
        """The new values of the weights that the method merges low-rank changes into."""
        merged: State = {}
        for name, (left, right) in self.job.method.merges(update, weights).items():
            merged[name] = self.state[name] + left @ right
            self.changes[name].add((left, right))
        return merged

    def _agree(self, turn: Turn, clients: list[int], weight: int, traffic: dict[int, Traffic]) -> Turn:
        """Where the method asks for it, the clients' mean importance of each block, measured and sent before training.

        Scores go up, and each client's choice of blocks comes down: numbers that are encoded as all others are.
        """
        method = self.job.method
        if method.measure(turn):
            total, sizes = self._visit("measure", turn, clients, weight)
            unknown = torch.zeros(len(self.facts.structure.blocks))  # where no client has sent finite scores
            agreed = replace(turn, scores=tuple(total.average().get("scores", unknown).tolist()))
            for client, size in sizes.items():
                traffic[client].up += size
        elif method.follows_change(turn):
            agreed = replace(turn, scores=self._moved())
        else:
            return turn
        for client in clients:
            names = method.selected(self.facts.structure, replace(agreed, client=client))
            blocks = self.facts.structure.blocks_of(names)
            traffic[client].down += len(self.channel.encode({"layers": torch.tensor(blocks, dtype=torch.float32)}))
        return agreed

    def _moved(self) -> tuple[float, ...]:
        """How far each block has moved since the beginning, in parts of the L2 norm that it had then."""
        scores = []
        for block in self.facts.structure.blocks:
            names = [name for name in block if name in self.initial]
            moved = sum(float((self.state[name] - self.initial[name]).double().square().sum()) for name in names)
            norm = sum(float(self.initial[name].double().square().sum()) for name in names)
            scores.append((moved / norm) ** 0.5 if norm else 0.0)
        return tuple(scores)

    def _train(
        self, turn: Turn, clients: list[int], traffic: dict[int, Traffic]
    ) -> tuple[ExactSum | None, list[ClientReport]]:
        """The local training of the cohort, without those that drop out before it.

        Returns:
            The exact sum of the updates that can be averaged; None, and clients as they were before, if these are too
            few. And a report for each of the cohort, in client order.
        """
        faults, before = self.job.faults, self.executor.states()
        examples = {client: len(self.job.shards[client]) for client in clients}
        weight = sum(examples.values())  # also of those that drop out: the same bits, however an update gets lost
        present = [client for client in clients if not faults.drops(replace(turn, client=client))]
        if present:
            turn = self._agree(turn, present, weight, traffic)
        total, results = self._visit("train", turn, present, weight)
        self.trained.update(present)
        dropped = {client: ClientReport(client, examples[client], verdict=Verdict("dropped")) for client in clients}
        reports = [results.get(client, dropped[client]) for client in clients]
        arrived = [report.client for report in reports if report.verdict.status == "ok"]
        if self.facts.scope.exchanged and len(arrived) < faults.min_clients:
            self.executor.restore(before)
            unused = Verdict("skipped", f"{len(arrived)} of at least {faults.min_clients} updates arrived")
            return None, [replace(r, verdict=unused) if r.client in arrived else r for r in reports]
        self.visited.update(arrived)
        return total, reports

    def _visit(self, what: str, turn: Turn, clients: list[int], weight: int) -> tuple[ExactSum, dict[int, Any]]:
        """Have the workers visit clients, costliest first; the exact sum of what they sent, and each one's result."""
        order = sorted(clients, key=lambda client: (-len(self.job.shards[client]), client))
        tasks = [Task(what, (replace(turn, client=client), weight), client=client) for client in order]
        try:
            found, sums = self.executor.visit(tasks)
        except LostWorkerError as error:
            if error.client is None:
                raise
            raise EngineError(
                f"client {error.client} in round {turn.round}: {error}. In one process, for a debugger: "
                f"skipfl run --resume {self.folder.path} engine.executor=serial"
            ) from error
        results = {order[index]: result for index, result in found.items()}
        for part in sums[1:]:
            sums[0].merge(part)
        return (sums[0] if sums else ExactSum(weight)), results

    def _evaluate(self, number: int) -> Scores:
        """Scores of the global model, or where clients keep personal tensors the mean over the clients' models.

        Those of several clients are recorded, too.
        """
        clients = sorted(self.visited) if self.facts.scope.personal else []
        each = self.evaluator.score(self.executor, clients or None)
        if clients and not self.job.method.pooled:
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

    def _record(
        self,
        number: int,
        reports: list[ClientReport],
        traffic: Mapping[int, Traffic],
        scores: Scores | None,
        seconds: Mapping[str, float],
        skipped: bool = False,
    ) -> None:
        rows: list[dict[str, Any]] = [
            {
                "round": number,
                "client": report.client,
                "examples": report.examples,
                "steps": report.steps,
                "loss": report.loss,
                "update_norm": report.update_norm,
                "layers": " ".join(map(str, report.layers)),
                "bytes_up": traffic[report.client].up + report.bytes_up,
                "bytes_down": traffic[report.client].down,
                "bytes_setup": traffic[report.client].setup,
                "seconds": round(report.seconds, 4),
                "status": report.verdict.status,
                "reason": report.verdict.reason,
            }
            for report in reports
        ]
        self.transfers += sum(report.bytes_up > 0 for report in reports)
        sent = {key: sum(row[key] for row in rows) for key in self.totals}
        for key, value in sent.items():
            self.totals[key] += value
        self.seconds_total += seconds.get("train", 0.0) + seconds.get("aggregate", 0.0)
        averaged = [report for report in reports if report.verdict.status == "ok"]
        losses = [(report.loss or 0.0) * report.examples for report in averaged]
        loss = sum(losses) / sum(report.examples for report in averaged) if averaged else None
        lost = {what: sum(row["status"] == what for row in rows) for what in ("dropped", "late", "rejected")}
        lost["skipped"] = int(skipped)
        for what, count in lost.items():
            self.faults[what] += count
        record = {
            "round": number,
            "train_loss": loss,
            **{
                # where not evaluated, empty cells under the names of the first evaluation
                column: None if scores is None else value
                for column, value in _columns(scores or self.history[0][1]).items()
            },
            **sent,
            "bytes_total": self.totals["bytes_up"] + self.totals["bytes_down"],
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


def _columns(scores: Scores) -> dict[str, float]:
    """Scores as columns of a table."""
    return {f"{split}_{metric}": value for split, metrics in scores.items() for metric, value in metrics.items()}
