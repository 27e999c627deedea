"""What the server does in a round: deliver, have the clients train, aggregate."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from simulate.engine.checkpoint import Checkpoint
from simulate.engine.clock import Clock
from simulate.engine.cohort import CohortSettings, cohort
from simulate.engine.executors import Executor, Task
from simulate.engine.job import ClientReport, Job, ModelFacts, Verdict
from simulate.engine.memory import keep_freed
from simulate.exchange.aggregation import ExactSum
from simulate.exchange.changes import l2_norm
from simulate.exchange.channel import Float32Channel, State
from simulate.exchange.ledger import Ledger
from simulate.exchange.low_rank import LowRankChanges
from simulate.method import Turn


@dataclass
class Traffic:
    """What one client sends and gets in a round beside its update.

    Attributes:
        up: bytes of its scores.
        down: bytes of the global values, and of what was agreed.
        setup: bytes of the set-up transfer.
        scores: what became of its scores; None where it sent none.
    """

    up: int = 0
    down: int = 0
    setup: int = 0
    scores: Verdict | None = None


@dataclass(frozen=True)
class Learned:
    """What came of a round.

    Attributes:
        reports: of each client of the cohort, in client order.
        traffic: of each of them.
        skipped: whether too few updates arrived, so that the global state is as it was.
    """

    reports: list[ClientReport]
    traffic: dict[int, Traffic]
    skipped: bool = False

    def rows(self, number: int) -> list[dict[str, Any]]:
        """The rows of clients.csv, of a round of this number."""
        beside = ((report, self.traffic[report.client]) for report in self.reports)
        return [
            {
                "round": number,
                "client": report.client,
                "examples": report.examples,
                "steps": report.steps,
                "loss": report.loss,
                "update_norm": report.update_norm,
                "layers": " ".join(map(str, report.layers)),
                "bytes_up": traffic.up + report.bytes_up,
                "bytes_down": traffic.down,
                "bytes_setup": traffic.setup,
                "seconds": round(report.seconds, 4),
                "status": report.verdict.status,
                "reason": report.verdict.reason,
                "scores_status": traffic.scores.status if traffic.scores else "",
                "scores_reason": traffic.scores.reason if traffic.scores else "",
            }
            for report, traffic in beside
        ]


class Server:
    """Holds the global state of one job, and does one round after the other.

    Args:
        job: what the workers were started with.
        facts: of their model.
        settings: which clients take part.
        executor: the started workers.
    """

    def __init__(self, job: Job, facts: ModelFacts, settings: CohortSettings, executor: Executor) -> None:
        keep_freed()
        torch.set_num_threads(job.threads)  # the matrix products made here are then the same bits as in a worker
        self.job = job
        self.facts = facts
        self.settings = settings
        self.executor = executor
        self.channel = Float32Channel()
        self.state: State = executor.first("initial")
        self.ledger = Ledger(self.state)
        executor.follow(lambda: self.channel.encode(self.state))
        self.changes = {name: LowRankChanges(self.state[name].numel()) for name in facts.scope.merged}
        self.initial = dict(self.state) if job.method.follows_change(Turn(job.seed, job.rounds, job.rounds)) else {}
        self.memory: State = {}
        self.transfers = 0
        self.visited: set[int] = set()

    def learn(self, number: int, clock: Clock) -> Learned:
        """Do a round: the local training of its cohort, and the server step."""
        turn = Turn(self.job.seed, number, self.job.rounds)
        clients = cohort_of(self.job, self.settings, number)
        traffic = self._deliver(clients)
        total, reports = self._train(turn, clients, traffic)
        self.transfers += sum(report.bytes_up > 0 for report in reports)
        clock.lap("train")
        if total is not None:
            self._aggregate(total)
        clock.lap("aggregate")
        return Learned(reports, traffic, skipped=total is None)

    def replay(self, number: int, client: int, stop: bool = False) -> Learned:
        """Do the visit of one client of the cohort alone, after all rounds before.

        Args:
            number: of the round.
            client: of its cohort.
            stop: stop in the debugger just before.
        """
        turn = Turn(self.job.seed, number, self.job.rounds)
        clients = cohort_of(self.job, self.settings, number)
        traffic = self._deliver(clients)
        turn, present, weight = self._gather(turn, clients, traffic)
        if stop:
            breakpoint()
        _, results = self._visit("train", turn, [client] if client in present else [], weight)
        return Learned(self._reports([client], results), traffic)

    def snapshot(self) -> tuple[State, dict[str, Any]]:
        """All that the next rounds depend on, but for what clients keep: tensors, and plain data."""
        tensors = {f"state/{name}": tensor for name, tensor in self.state.items()}
        tensors |= {f"memory/{name}": tensor for name, tensor in self.memory.items()}
        for name, changes in self.changes.items():
            for index, (left, right) in enumerate(changes.kept):
                tensors |= {f"left{index}/{name}": left, f"right{index}/{name}": right}
        return tensors, {
            "changes": {name: len(changes.kept) for name, changes in self.changes.items()},
            "ledger": self.ledger.memory(),
            "visited": sorted(self.visited),
            "transfers": self.transfers,
        }

    def restore(self, found: Checkpoint) -> None:
        """Be as after the round of a checkpoint, clients and workers included."""
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
        self.transfers = facts["transfers"]
        for client, state in found.states():
            self.executor.remember(client, state)
        self.executor.all("receive", self.channel.encode(self.state))

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

    def _train(
        self, turn: Turn, clients: list[int], traffic: dict[int, Traffic]
    ) -> tuple[ExactSum | None, list[ClientReport]]:
        """The local training of the cohort, without those that drop out before it.

        Returns:
            The exact sum of the updates that can be averaged; None, and clients as they were before, if these are too
            few. And a report for each of the cohort, in client order.
        """
        before = self.executor.states()
        turn, present, weight = self._gather(turn, clients, traffic)
        total, results = self._visit("train", turn, present, weight)
        reports = self._reports(clients, results)
        arrived = [report.client for report in reports if report.verdict.status == "ok"]
        fewest = self.job.faults.min_clients
        if self.facts.scope.exchanged and len(arrived) < fewest:
            self.executor.restore(before)
            unused = Verdict("skipped", f"{len(arrived)} of at least {fewest} updates arrived")
            return None, [replace(r, verdict=unused) if r.client in arrived else r for r in reports]
        self.visited.update(arrived)
        return total, reports

    def _gather(self, turn: Turn, clients: list[int], traffic: dict[int, Traffic]) -> tuple[Turn, list[int], int]:
        """The turn as the cohort agrees on it, those of the cohort that have not dropped out, and the weight of all.

        The weight is also that of those that drop out: the same bits, however an update gets lost.
        """
        weight = sum(len(self.job.shards[client]) for client in clients)
        present = [client for client in clients if not self.job.faults.drops(replace(turn, client=client))]
        return self._agree(turn, present, weight, traffic) if present else turn, present, weight

    def _agree(self, turn: Turn, clients: list[int], weight: int, traffic: dict[int, Traffic]) -> Turn:
        """Where the method asks for it, the clients' mean importance of each block, measured and sent before training.

        Scores go up, and each client's choice of blocks comes down: numbers that are encoded as all others are.
        """
        method = self.job.method
        if method.measure(turn):
            total, sent = self._visit("measure", turn, clients, weight)
            unknown = torch.zeros(len(self.facts.structure.blocks))  # where no client has sent finite scores
            agreed = replace(turn, scores=tuple(total.average().get("scores", unknown).tolist()))
            for client, (size, verdict) in sent.items():
                traffic[client].up += size
                traffic[client].scores = verdict
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
        for names, norm in self._norms:
            moved = l2_norm({name: self.state[name] - self.initial[name] for name in names})
            scores.append(moved / norm if norm else 0.0)
        return tuple(scores)

    @cached_property
    def _norms(self) -> list[tuple[list[str], float]]:
        """For each block the tensors that can move, and the L2 norm that they had at the beginning."""
        moving = [[name for name in block if name in self.initial] for block in self.facts.structure.blocks]
        return [(names, l2_norm({name: self.initial[name] for name in names})) for names in moving]

    def _visit(self, what: str, turn: Turn, clients: list[int], weight: int) -> tuple[ExactSum, dict[int, Any]]:
        """Have the workers visit clients, costliest first; the exact sum of what they sent, and each one's result."""
        order = sorted(clients, key=lambda client: (-self._subwords(client), client))
        tasks = [Task(what, (replace(turn, client=client), weight), client, turn.round) for client in order]
        found, sums = self.executor.visit(tasks)
        results = {order[index]: result for index, result in found.items()}
        for part in sums[1:]:
            sums[0].merge(part)
        return (sums[0] if sums else ExactSum(weight)), results

    def _subwords(self, client: int) -> int:
        """Of a client's examples, which decide what its visit costs."""
        return int(self.job.splits["train"].example_lengths[self.job.shards[client]].sum())

    def _reports(self, clients: Iterable[int], results: Mapping[int, ClientReport]) -> list[ClientReport]:
        """Each client's report; of those that were not visited, that they dropped out."""
        return [
            results[client]
            if client in results
            else ClientReport(client, len(self.job.shards[client]), verdict=Verdict("dropped"))
            for client in clients
        ]

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

    def _merge(self, update: State, weights: Mapping[str, int]) -> State:
        """The new values of the weights that the method merges low-rank changes into."""
        merged: State = {}
        for name, (left, right) in self.job.method.merges(update, weights).items():
            merged[name] = self.state[name] + left @ right
            self.changes[name].add((left, right))
        return merged


def cohort_of(job: Job, settings: CohortSettings, number: int) -> list[int]:
    """The clients of a round, drawn among those that are there."""
    clients = len(job.shards)
    there = None
    if job.faults.availability < 1:
        turn = Turn(job.seed, number, job.rounds)
        there = [client for client in range(clients) if job.faults.available(replace(turn, client=client))]
    return cohort(settings, clients, job.seed, number, there)
