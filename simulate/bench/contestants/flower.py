"""Flower's simulation engine (flwr), its client written as sparingly as its interface allows.

Each Ray actor keeps its model, loads the global values in place, and answers with arrays that view the parameters, so
that nothing is copied but what Flower itself writes into its messages. The strategy is Flower's own FedAvg; only whom
it asks is ours: the cohort of the plan, whose client numbers travel in the messages. Evaluation is shared by the
actors.
"""

import os
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from simulate.bench.contestants.shared import Outcome, Plan

FOLDER, THREADS = "BENCH_PLAN", "BENCH_THREADS"
"""Environment variables by which the actors learn what the driver was told."""

_resident: list[tuple[Plan, torch.nn.Module, dict[str, torch.nn.Parameter]]] = []
"""In an actor: its plan and model, from its first client on."""

client = ClientApp()


def main(folder: Path, output: Path, workers: int, threads: int) -> None:
    os.environ |= {FOLDER: str(folder), THREADS: str(threads)}
    plan = Plan(folder)
    outcome = Outcome()
    server = ServerApp()

    @server.main()
    def _serve(grid: Grid, context: Context) -> None:
        _, trained = plan.model()
        strategy = Planned(plan, workers, outcome)
        result = strategy.start(grid, _record(trained), num_rounds=plan.rounds, timeout=36000)
        final = {name: torch.from_numpy(array.numpy().copy()) for name, array in result.arrays.items()}
        outcome.write(output, final)

    run_simulation(
        server,
        client,
        num_supernodes=plan.settings["clients"],
        backend_config={
            "init_args": {"num_cpus": workers, "log_to_driver": False, "logging_level": "error"},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )


class Planned(FedAvg):
    """FedAvg over the cohorts of a plan."""

    def __init__(self, plan: Plan, workers: int, outcome: Outcome) -> None:
        super().__init__(fraction_evaluate=float(plan.evaluate))
        self.plan = plan
        self.workers = workers
        self.outcome = outcome

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        cohort = self.plan.cohorts[server_round - 1]
        return self._messages("train", server_round, arrays, grid, len(cohort))

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        replies = list(replies)
        cohort = len(self.plan.cohorts[server_round - 1])
        errors = [reply.error.reason for reply in replies if reply.has_error()]
        if errors or len(replies) < cohort:
            raise RuntimeError(f"round {server_round}: {len(replies)} of {cohort} clients answered; {errors[:1]}")
        metrics = [reply.content["metrics"] for reply in replies]
        if server_round == 1:
            self.outcome.first_client = min(metric["begin"] for metric in metrics)
        self.outcome.steps += sum(metric["steps"] for metric in metrics)
        return super().aggregate_train(server_round, replies)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        if not self.plan.evaluate:
            return []
        return self._messages("evaluate", server_round, arrays, grid, self.workers)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """The last that happens in a round."""
        metrics = super().aggregate_evaluate(server_round, replies) if self.plan.evaluate else None
        if metrics is not None:
            self.outcome.scores.append(metrics["accuracy"])
        self.outcome.end_round()
        return metrics

    def _messages(self, kind: str, server_round: int, arrays: ArrayRecord, grid: Grid, count: int) -> list[Message]:
        """One message each for as many nodes; which client a node is, the message says."""
        nodes = sorted(_available(grid, self.plan.settings["clients"]))[:count]
        return [
            Message(
                RecordDict(
                    {
                        "arrays": arrays,
                        "config": ConfigRecord({"round": server_round - 1, "place": place, "places": count}),
                    }
                ),
                dst_node_id=node,
                message_type=kind,
            )
            for place, node in enumerate(nodes)
        ]


def _available(grid: Grid, count: int) -> list[int]:
    while len(nodes := list(grid.get_node_ids())) < count:
        time.sleep(0.01)
    return nodes


@client.train()
def _train(message: Message, context: Context) -> Message:
    plan, model, trained = _own()
    begin = time.time()
    _load(trained, message)
    config = message.content["config"]
    weight, steps = plan.train(model, trained.values(), config["round"], config["place"])
    metrics = MetricRecord({"num-examples": weight, "steps": steps, "begin": begin})
    return Message(RecordDict({"arrays": _record(trained), "metrics": metrics}), reply_to=message)


@client.evaluate()
def _evaluate(message: Message, context: Context) -> Message:
    plan, model, trained = _own()
    _load(trained, message)
    config = message.content["config"]
    right, count = plan.score(model, config["place"], config["places"])
    metrics = MetricRecord({"num-examples": count, "accuracy": right / count})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


def _own() -> tuple[Plan, torch.nn.Module, dict[str, torch.nn.Parameter]]:
    """This actor's plan, model and trained parameters."""
    if not _resident:
        torch.set_num_threads(int(os.environ[THREADS]))
        plan = Plan(Path(os.environ[FOLDER]))
        _resident.append((plan, *plan.model()))
    return _resident[0]


@torch.no_grad()
def _load(trained: dict[str, torch.nn.Parameter], message: Message) -> None:
    """Have the model hold the global values of a message."""
    for name, array in message.content["arrays"].items():
        trained[name].copy_(torch.from_numpy(array.numpy()))


def _record(trained: dict[str, torch.nn.Parameter]) -> ArrayRecord:
    return ArrayRecord({name: Array(parameter.detach().numpy()) for name, parameter in trained.items()})
