"""A worker: one resident model that trains and evaluates whichever virtual clients it is handed."""

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from partitions.corpus import Task as CorpusTask
from simulate import seeds
from simulate.clients.batches import client_batches
from simulate.clients.tasks import TASKS
from simulate.clients.training import DivergenceError, TrainSettings, learning_rate, train_client, train_mode
from simulate.engine.memory import peak_mb, reset_peak
from simulate.exchange.aggregation import ExactSum
from simulate.exchange.channel import Float32Channel, State
from simulate.method import Method, Scope
from simulate.models.backbone import ModelSettings, load_model
from simulate.models.encoded import Encoded
from simulate.models.structure import Structure, find_structure


@dataclass(frozen=True)
class Job:
    """All that a worker has to know of a run, handed over once.

    Attributes:
        shards: for each client, the indices of its examples in the training split.
        labels: entity types or class names.
    """

    seed: int
    rounds: int
    task: CorpusTask
    labels: tuple[str, ...]
    model: ModelSettings
    method: Method
    train: TrainSettings
    splits: Mapping[str, Encoded]
    shards: tuple[np.ndarray, ...]
    device: str
    threads: int


@dataclass(frozen=True)
class ModelFacts:
    """What the driver learns of the prepared model, without holding it.

    Attributes:
        shapes: of every tensor, by name, in the model's order.
        setup_bytes: encoded length of the whole prepared model: what a client gets once.
        full_bytes: encoded length of the whole model without the method's additions, the denominator of savings.
        full_parameters: elements of that model.
        config: the model's configuration, JSON.
    """

    structure: Structure
    scope: Scope
    shapes: Mapping[str, tuple[int, ...]]
    setup_bytes: int
    full_bytes: int
    full_parameters: int
    config: str


@dataclass(frozen=True)
class ClientReport:
    """One client's visit: examples, steps, mean loss, bytes of the encoded update, its L2 norm, seconds."""

    client: int
    examples: int
    steps: int
    loss: float
    bytes_up: int
    update_norm: float
    seconds: float


class Worker:
    """Holds one model for the whole run; nothing is rebuilt per client.

    Global values arrive by `receive` once a round; each client starts from them in place. Updates are summed here, so
    that one set of tensors a worker, not one a client, leaves it (`collect`).
    """

    def __init__(self, job: Job) -> None:
        torch.set_num_threads(job.threads)
        self.job = job
        self.task = TASKS[job.task](job.labels)
        self.channel = Float32Channel()
        reset_peak()
        model, tokenizer = load_model(job.model, job.task, self.task.model_labels, job.seed)
        self.full = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
        with seeds.torch_draws(job.seed, "method"):
            job.method.prepare(model)
        model.to(job.device)
        self.model: PreTrainedModel = model
        self.pad = tokenizer.pad_token_id
        self.structure = find_structure(self.model)
        self.scope = job.method.scope(self.structure)
        self.trained = {name: self.model.get_parameter(name) for name in self.scope.trained}
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        for parameter in self.trained.values():
            parameter.requires_grad_(True)
        self.start: State = {name: parameter.detach().clone() for name, parameter in self.trained.items()}
        self.autocast = torch.autocast(job.device, torch.bfloat16, enabled=job.train.precision == "bf16")
        self.clean = True  # the model holds `start`
        self.sum: ExactSum | None = None

    def facts(self) -> ModelFacts:
        """What the prepared model is made of; call before any training."""
        everything = dict(self.model.named_parameters())
        return ModelFacts(
            self.structure,
            self.scope,
            {name: tuple(tensor.shape) for name, tensor in everything.items()},
            len(self.channel.encode(everything)),
            self.channel.size(self.full.items()),
            sum(map(prod, self.full.values())),
            self.model.config.to_json_string(use_diff=False),
        )

    def peak(self) -> tuple[int, float]:
        """This worker's process, and its peak resident memory since the job began, MB."""
        return os.getpid(), peak_mb()

    def initial(self) -> State:
        """The initial values of the exchanged tensors, on the CPU."""
        return {name: self.start[name].cpu().clone() for name in self.scope.exchanged}

    def receive(self, payload: bytes) -> None:
        """Take the round's global values."""
        for name, tensor in self.channel.decode(payload).items():
            self.start[name].copy_(tensor)
        self.clean = False

    def train(
        self, round_: int, client: int, total_weight: int, state: State | None
    ) -> tuple[ClientReport, State | None]:
        """Train one client, add its update to this worker's sum, and report.

        Args:
            round_: 1 to the number of rounds.
            client: index of the client's shard.
            total_weight: examples of the whole cohort.
            state: the client's personal tensors from its last visit, or None at its first.

        Returns:
            The report, and the client's personal tensors (None where the method keeps none).
        """
        begin = time.perf_counter()
        job = self.job
        shard = job.shards[client]
        start = self._load(state)
        self.clean = False
        train_mode(self.model, self.structure, self.scope.trained)
        rng = seeds.generator(job.seed, "batches", round_, client)
        windows, lengths = job.splits["train"].windows(shard), job.splits["train"].lengths
        batches = client_batches(job.train, windows, lengths, rng)
        with seeds.torch_draws(job.seed, "dropout", round_, client):
            result = train_client(
                self.model,
                self.trained,
                start,
                (self._batch("train", rows) for rows in batches),
                job.train,
                learning_rate(job.train, round_, job.rounds),
                job.method.local_term,
                self.task.loss,
                self.autocast,
            )
        change = {name: self.trained[name].detach() - start[name] for name in self.trained}
        norm = float(torch.stack([tensor.double().square().sum() for tensor in change.values()]).sum().sqrt())
        if not math.isfinite(result.loss + norm):
            raise DivergenceError(
                f"client {client} diverged in round {round_}: loss {result.loss:g}, update norm {norm:g}; "
                f"a smaller train.lr than {job.train.lr:g} may help"
            )
        update = {name: change[name].cpu() for name in self.scope.exchanged}
        payload = self.channel.encode(update)
        if self.sum is None:
            self.sum = ExactSum(total_weight)
        self.sum.add(self.channel.decode(payload), len(shard))
        personal = {name: self.trained[name].detach().cpu().clone() for name in self.scope.personal} or None
        seconds = time.perf_counter() - begin
        return ClientReport(client, len(shard), result.steps, result.loss, len(payload), norm, seconds), personal

    def collect(self) -> ExactSum | None:
        """The sum of the updates trained here since the last call, or None if there were none."""
        collected, self.sum = self.sum, None
        return collected

    @torch.inference_mode()
    def evaluate(self, split: str, batches: list[np.ndarray], state: State | None) -> tuple[Any, None]:
        """Predict some batches of a split with the global values (and a client's personal ones).

        Returns:
            For each batch the task's predictions, summed loss and number of labels; and no new personal tensors.
        """
        self._load(state)
        self.model.eval()
        results = []
        for rows in batches:
            batch = self._batch(split, rows)
            labels = batch.pop("labels")
            with self.autocast:
                logits = self.model(**batch).logits
            results.append(self.task.predict(logits, labels))
        return results, None

    @torch.no_grad()
    def _load(self, state: State | None) -> State:
        """Put the global values, and the client's personal (or else the initial) ones, into the model; give them."""
        if state is None and self.clean:
            return self.start
        own = {name: tensor.to(self.job.device) for name, tensor in (state or {}).items()}
        values = {**self.start, **own}
        for name, parameter in self.trained.items():
            parameter.copy_(values[name])
        self.clean = state is None
        return values

    def _batch(self, split: str, rows: np.ndarray) -> dict[str, torch.Tensor]:
        batch = self.task.collate(self.job.splits[split], rows, self.pad)
        return {key: tensor.to(self.job.device, non_blocking=True) for key, tensor in batch.items()}
