"""The composition root: an experiment's corpus, partition, model and method brought together and run into a folder."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from partitions.corpus import Corpus
from partitions.partition import Partition
from partitions.reader import CorpusReader
from partitions.statistics import describe
from partitions.traits import Traits, traits_of
from simulate import seeds
from simulate.clients.tasks import TASKS, ClientTask
from simulate.config import Experiment
from simulate.engine.checkpoint import Checkpoints
from simulate.engine.cohort import cohort_size
from simulate.engine.evaluation import Evaluator
from simulate.engine.executors import Executor
from simulate.engine.faults import FaultSettings
from simulate.engine.job import Job, ModelFacts
from simulate.engine.memory import peak_mb, reset_peak
from simulate.engine.prefix_cache import PrefixCounts
from simulate.engine.records import RecordedRun, RunFolder, check_free, state_of, tidy
from simulate.engine.rounds import Round, RoundLoop
from simulate.engine.server import Server
from simulate.errors import recorded
from simulate.export import export
from simulate.models.backbone import ModelSettings, load_tokenizer
from simulate.models.digests import model_digests
from simulate.models.encoded import Encoded
from simulate.models.token_cache import digests, tokenized


@dataclass(frozen=True)
class Prepared:
    """An experiment with its data: nothing is missing but workers.

    Attributes:
        traits: what the partition was made by.
        task: how the corpus becomes batches and scores.
        splits: the tokenized corpus.
        content: the SHA-256 of the text and annotations of each split.
    """

    experiment: Experiment
    corpus: Corpus
    partition: Partition
    traits: Traits
    task: ClientTask
    splits: dict[str, Encoded]
    content: dict[str, str]

    def long(self) -> list[str]:
        """How examples longer than the model reads at once are treated, one line each; none where all fit."""
        model = self.experiment.model
        counts = {
            f"cut at model.max_length = {model.max_length}": {n: s.truncated for n, s in self.splits.items()},
            f"read in windows of {model.max_length} sub-words": {n: s.in_windows for n, s in self.splits.items()},
        }
        return [
            f"{what}: {', '.join(f'{n} of {len(self.splits[name])} {name}' for name, n in found.items() if n)} examples"
            for what, found in counts.items()
            if any(found.values())
        ]


def prepare(experiment: Experiment) -> Prepared:
    """Load the corpus, partition its training split, and tokenize it.

    Raises:
        CorpusError, PartitionError, ModelError: if that cannot be done as asked.
    """
    corpus, task, splits, content = _tokenized(experiment.corpus, experiment.model)
    traits, partition = spread(experiment, corpus)
    return Prepared(experiment, corpus, partition, traits, task, splits, content)


def spread(experiment: Experiment, corpus: Corpus) -> tuple[Traits, Partition]:
    """What the training examples of a corpus go by, and which client holds which.

    Raises:
        PartitionError: if that cannot be done as asked.
    """
    traits = traits_of(corpus.splits["train"], corpus.task)
    return traits, experiment.partition.split(traits, seeds.generator(experiment.seed, "partition"))


def forget_corpora() -> None:
    """Read corpora anew from now on: their files may change between studies."""
    read_corpus.cache_clear()
    _tokenized.cache_clear()


@lru_cache(maxsize=1)
def read_corpus(reader: CorpusReader) -> Corpus:
    """A corpus; the planning and the runs of a study share the last one.

    Raises:
        CorpusError: as `CorpusReader.load`.
    """
    return reader.load()


@lru_cache(maxsize=1)
def _tokenized(
    reader: CorpusReader, model: ModelSettings
) -> tuple[Corpus, ClientTask, dict[str, Encoded], dict[str, str]]:
    """A corpus, its task, its tokenized splits and their digests; the runs of a study share the last one."""
    corpus = read_corpus(reader)
    tokenizer = load_tokenizer(model)
    task = TASKS[corpus.task](corpus.labels)
    content = digests(corpus)
    return corpus, task, tokenized(corpus, content, task.model_labels, tokenizer, model), content


def run(
    prepared: Prepared, folder: Path, workers: Executor, on_round: Callable[[Round], None] = lambda _: None
) -> dict[str, Any]:
    """Run a prepared experiment and leave its records.

    Args:
        prepared: what to run.
        folder: the run folder, which must not hold anything yet but this very run, interrupted: it goes on from its
            last checkpoint.
        workers: where to run; left running.
        on_round: called after each round.

    Returns:
        The run's summary, as in summary.json.

    Raises:
        RunFolderError, ModelError, MethodError: before any training.
    """
    experiment, corpus, splits = prepared.experiment, prepared.corpus, prepared.splits
    if state_of(folder, experiment.resolved()) == "interrupted":
        require_same(prepared, folder, workers.device)
    else:
        check_free(folder)
    reset_peak()
    job = job_of(prepared, workers)
    workers.start(job)
    facts: ModelFacts = workers.first("facts")
    where = {"device": workers.device, "workers": workers.workers, "threads": experiment.engine.threads}
    with RunFolder(folder, experiment.resolved(), model_digests(experiment.model), **where) as records:
        try:
            records.partition(partition_record(prepared))
            scored = {name: splits[name] for name in ("validation", "test")}
            evaluator = Evaluator(experiment.evaluate, prepared.task, scored)
            checkpoints = Checkpoints(records, experiment.engine.checkpoint_every)
            loop = RoundLoop(Server(job, facts, experiment.cohort, workers), evaluator, records, checkpoints)
            loop.run(on_round)
            export(folder / "model", experiment, corpus.task, facts, loop.server.state)
            prefix = _prefix_record(workers.all("prefix_counts"), loop.begun_after)
            peaks = {os.getpid(): peak_mb(), **dict(workers.all("peak"))}
            summary = summarise(experiment, corpus, prepared.task.metric, loop, sum(peaks.values()))
            summary |= {"prefix_cache": prefix}
            truncated = {
                name: {"examples": split.truncated, "words": split.lost_words, "in_windows": split.in_windows}
                for name, split in splits.items()
            }
            records.finish(summary, truncated=truncated)
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt | SystemExit)
            if not (folder / "summary.json").is_file():  # with it, the run is complete
                with suppress(OSError):  # on a full disk the record stays as it was: running
                    records.status("interrupted" if stopped else "failed", None if stopped else recorded(error))
            raise
        tidy(folder)
    return summary


def require_same(prepared: Prepared, folder: Path, device: str) -> None:
    """Refuse to go on with an interrupted run of an experiment from anything else than it began with.

    Args:
        prepared: the experiment, as it is now.
        folder: of its run.
        device: where it would go on, cpu or cuda.

    Raises:
        RunFolderError: if corpus, partition, model or device are no longer what they were.
        ModelError: if the model is not there any more.
    """
    begun = RecordedRun(folder, prepared.experiment.resolved())
    begun.require_partition(partition_record(prepared))
    begun.require_model(model_digests(prepared.experiment.model))
    begun.require_device(device)


def require_same_sources(prepared: Prepared, folder: Path) -> None:
    """Refuse to put other runs beside a finished one that was made from another corpus, partition or model.

    Raises:
        RunFolderError: if corpus, partition or model are no longer what they were, as far as its records tell.
        ModelError: if the model is not there any more.
    """
    made = RecordedRun(folder, prepared.experiment.resolved())
    made.require_corpus(prepared.content)
    made.require_clients(partition_record(prepared))
    made.require_model(model_digests(prepared.experiment.model), kept=True)


def partition_record(prepared: Prepared) -> dict[str, Any]:
    """What partition.json says: who holds what, and of which corpus."""
    traits, lengths = prepared.traits, prepared.splits["train"].example_lengths
    found = describe(prepared.partition, traits.labels, lengths, traits.groups)
    return found | {"corpus_sha256": prepared.content}


def job_of(prepared: Prepared, workers: Executor) -> Job:
    """What the workers are started with."""
    experiment, splits = prepared.experiment, prepared.splits
    shards = tuple(prepared.partition.indices(client) for client in range(prepared.partition.num_clients))
    train = experiment.train
    if experiment.method.pooled:
        train = train.model_copy(update={"partial_work": None})  # there are no slow clients
        if train.local_steps is not None:  # as many steps as the cohort would take together
            together = train.local_steps * cohort_size(experiment.cohort, len(shards))
            train = train.model_copy(update={"local_steps": together})
        shards = (np.arange(len(splits["train"])),)
    return Job(
        key=uuid4().hex,
        seed=experiment.seed,
        rounds=experiment.rounds,
        task=prepared.corpus.task,
        labels=prepared.corpus.labels,
        model=experiment.model,
        method=experiment.method,
        aggregation=experiment.aggregation,
        server=experiment.server,
        faults=(not experiment.method.pooled and experiment.faults) or FaultSettings(),
        train=train,
        prefix_cache=experiment.prefix_cache,
        splits=splits,
        shards=shards,
        device=workers.device,
        workers=workers.workers,
        threads=experiment.engine.threads,
        deterministic=experiment.engine.deterministic,
    )


def _prefix_record(counts: Sequence[PrefixCounts], begun_after: int) -> dict[str, Any]:
    """What the cache of the frozen prefix did on all workers that are there at the end, since they began."""
    first = counts[0]
    if first.why_not:
        return {"blocks": 0, "why_not": first.why_not}
    asked, served, new, computed = (
        sum(getattr(count, name) for count in counts) for name in ("asked", "served", "first", "computed")
    )
    return {
        "blocks": first.blocks,
        "bytes_kept": first.bytes_kept,
        "since_round": begun_after,
        "windows_asked": asked,
        "windows_served": served,
        "windows_computed": computed,
        "hit_rate": (served - new) / asked if asked else None,
    }


def summarise(experiment: Experiment, corpus: Corpus, metric: str, loop: RoundLoop, peak: float) -> dict[str, Any]:
    """The summary of a finished run; the best round is chosen on validation."""
    server, facts = loop.server, loop.server.facts
    scored: list[dict[str, Any]] = [
        {"round": number, "validation": scores["validation"], "test": scores["test"]} for number, scores in loop.history
    ]
    depth = len(facts.structure.blocks)
    layers = experiment.method.trained_layers(depth)
    count = {name: np.prod(shape, dtype=int).item() for name, shape in facts.shapes.items()}
    at_server = [experiment.aggregation.title, experiment.server.title] if facts.scope.exchanged else []
    return {
        "name": experiment.name,
        "seed": experiment.seed,
        "task": corpus.task,
        "metric": metric,
        "method": experiment.parts["method"],
        "label": " + ".join(filter(None, [experiment.method.label(facts.structure), *at_server])),
        "skip_ratio": None if layers is None else 1 - layers / depth,
        "depth": depth,
        "rounds": scored[-1]["round"],
        "stopped": loop.stopped,
        "faults": loop.faults,
        "final": scored[-1],
        "best": max(scored[1:], key=lambda score: score["validation"][metric]),
        "bytes": {
            "up": loop.totals["bytes_up"],
            "down": loop.totals["bytes_down"],
            "setup": loop.totals["bytes_setup"],
            "total": loop.sent,
        },
        "saving": 1 - loop.sent / (server.transfers * facts.full_bytes) if server.transfers else None,
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
        "lost_workers": loop.lost_workers,
        "seconds": round(loop.seconds_total, 3),
        "peak_memory_mb": round(peak, 1),
        "peak_memory_since_round": loop.begun_after,
    }
