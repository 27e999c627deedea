"""The composition root: an experiment's corpus, partition, model and method brought together and run into a folder."""

import os
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from partitions.corpus import Corpus
from partitions.labels import partition_labels
from partitions.partition import Partition
from partitions.statistics import describe
from simulate import seeds
from simulate.clients.tasks import TASKS
from simulate.config import Experiment
from simulate.engine.evaluation import Evaluator
from simulate.engine.executors import Executor, make_executor
from simulate.engine.memory import peak_mb, reset_peak
from simulate.engine.records import RunFolder, check_free, write_json
from simulate.engine.server import Round, Server
from simulate.engine.worker import Job, ModelFacts
from simulate.export import export
from simulate.models.backbone import load_tokenizer
from simulate.models.tokenize import encode


@dataclass(frozen=True)
class Data:
    """The corpus and who holds which of its training examples."""

    corpus: Corpus
    partition: Partition
    labels: list[str]


def prepare_data(experiment: Experiment) -> Data:
    """Load the corpus and partition its training split.

    Raises:
        CorpusError: if the corpus cannot be used.
        PartitionError: if it cannot be partitioned as asked.
    """
    corpus = experiment.corpus.load()
    labels = partition_labels(corpus.splits["train"], corpus.task)
    partition = experiment.partition.split(labels, seeds.generator(experiment.seed, "partition"))
    return Data(corpus, partition, labels)


def run(
    experiment: Experiment,
    folder: Path,
    executor: Executor | None = None,
    on_round: Callable[[Round], None] = lambda _: None,
) -> dict[str, Any]:
    """Run an experiment and leave its records.

    Args:
        experiment: what to run.
        folder: the run folder, which must not hold anything yet.
        executor: started workers to use and leave running; by default the experiment's own, closed afterwards.
        on_round: called after each round.

    Returns:
        The run's summary, as in summary.json.

    Raises:
        RunFolderError, CorpusError, PartitionError, ModelError, MethodError: before any training.
    """
    check_free(folder)
    reset_peak()
    data = prepare_data(experiment)
    corpus = data.corpus
    tokenizer = load_tokenizer(experiment.model)
    task = TASKS[corpus.task](corpus.labels)
    encoded = {
        name: encode(split, corpus.task, task.model_labels, tokenizer, experiment.model)
        for name, split in corpus.splits.items()
    }
    shards = [data.partition.indices(client) for client in range(data.partition.num_clients)]
    if experiment.method.pooled:
        shards = [np.arange(len(corpus.splits["train"]))]
    with nullcontext(executor) if executor else make_executor(experiment.engine) as workers:
        job = Job(
            seed=experiment.seed,
            rounds=experiment.rounds,
            task=corpus.task,
            labels=corpus.labels,
            model=experiment.model,
            method=experiment.method,
            train=experiment.train,
            splits=encoded,
            shards=tuple(shards),
            device=workers.device,
            threads=experiment.engine.threads,
        )
        workers.start(job)
        facts: ModelFacts = workers.first("facts")
        records = RunFolder(folder, experiment.resolved())
        try:
            write_json(folder / "partition.json", describe(data.partition, data.labels, encoded["train"].lengths))
            evaluator = Evaluator(experiment.evaluate, task, {name: encoded[name] for name in ("validation", "test")})
            server = Server(job, facts, experiment.cohort, evaluator, experiment.evaluate.every, workers, records)
            server.run(on_round)
            export(folder / "model", experiment, corpus.task, facts, server.state)
            peaks = {os.getpid(): peak_mb(), **dict(workers.all("peak"))}
            summary = summarise(experiment, corpus, task.metric, server, sum(peaks.values()))
            write_json(folder / "summary.json", summary)
        except BaseException as error:
            records.status("failed", "".join(traceback.format_exception_only(error)).strip())
            raise
        records.status("finished", device=workers.device, workers=workers.workers)
    return summary


def summarise(experiment: Experiment, corpus: Corpus, metric: str, server: Server, peak: float) -> dict[str, Any]:
    """The summary of a finished run; the best round is chosen on validation."""
    facts = server.facts
    scored = [
        {"round": number, "validation": scores["validation"], "test": scores["test"]}
        for number, scores in server.history
    ]
    sent = server.totals["bytes_up"] + server.totals["bytes_down"]
    depth = len(facts.structure.blocks)
    layers = experiment.method.trained_layers(depth)
    count = {name: np.prod(shape, dtype=int).item() for name, shape in facts.shapes.items()}
    return {
        "name": experiment.name,
        "seed": experiment.seed,
        "task": corpus.task,
        "metric": metric,
        "method": experiment.parts["method"],
        "label": experiment.method.label(facts.structure),
        "skip_ratio": None if layers is None else 1 - layers / depth,
        "rounds": experiment.rounds,
        "final": scored[-1],
        "best": max(scored, key=lambda score: score["validation"][metric]),
        "bytes": {
            "up": server.totals["bytes_up"],
            "down": server.totals["bytes_down"],
            "setup": server.totals["bytes_setup"],
            "total": sent,
        },
        "saving": 1 - sent / (server.transfers * facts.full_bytes) if server.transfers else None,
        "saving_denominator": (
            f"the full model: embeddings, {depth} layers, final norm and head, {facts.full_bytes} bytes a transfer"
            if server.transfers
            else None
        ),
        "parameters": {
            "total": facts.full_parameters,
            "trained": sum(count[name] for name in facts.scope.trained),
            "exchanged": sum(count[name] for name in facts.scope.exchanged),
        },
        "seconds": round(server.seconds_total, 3),
        "peak_memory_mb": round(peak, 1),
    }
