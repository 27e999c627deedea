"""A worker: one resident model that trains and evaluates whichever virtual clients it is handed."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from math import prod
from typing import Any

import numpy as np
import torch

from simulate import seeds
from simulate.clients.batches import client_batches, local_steps, similar_lengths
from simulate.clients.tasks import TASKS
from simulate.clients.training import Batch, DivergenceError, learning_rate, train_client, train_mode
from simulate.engine.clock import Clock
from simulate.engine.job import OK, ClientReport, Job, ModelFacts, Verdict
from simulate.engine.memory import keep_freed, peak_mb, reset_peak
from simulate.engine.prefix_cache import PrefixCache, PrefixCounts, kept_blocks
from simulate.engine.shared import SharedFolder
from simulate.engine.weights import load
from simulate.exchange.aggregation import AggregationError, ExactSum
from simulate.exchange.changes import l2_norm, take_changes
from simulate.exchange.channel import Float32Channel, Payload, PayloadError, State
from simulate.method import Turn, Visit
from simulate.models.backbone import checkpoint_gradients, halve_constants
from simulate.models.last_block import LastBlock
from simulate.models.prefix import Prefix


class Worker:
    """Holds one model for the whole run; nothing is rebuilt per client.

    Global values arrive by `receive` once a round; each client starts from them in place. Updates are summed here, so
    that one set of tensors a worker, not one a client, leaves it (`collect`).
    """

    def __init__(self, job: Job) -> None:
        torch.set_num_threads(job.threads)
        _fix_order(job.deterministic)
        self.job = job
        self.task = TASKS[job.task](job.labels)
        self.channel = Float32Channel()
        reset_peak()
        self.folder = SharedFolder(job.key)
        try:
            self._begin_job()
        except BaseException:
            self.folder.close()
            raise

    def _begin_job(self) -> None:
        job = self.job
        sharing = job.workers > 1 and job.device == "cpu"
        loaded = load(
            job.model,
            job.task,
            self.task.model_labels,
            job.seed,
            job.method,
            self.folder if sharing else None,
            aligned=job.device == "cpu",
        )
        self.model = loaded.model
        if job.train.gradient_checkpointing:
            checkpoint_gradients(self.model)
        self.pad, self.full, self.structure, self.scope = loaded.pad, loaded.full, loaded.structure, loaded.scope
        self.mode: tuple[str, ...] = ()  # what `_mode` was last told
        self.prefix, self.cache, self.counts = self._split_off()
        last = LastBlock(self.model, self.structure)
        self.last = last if job.task != "ner" and last.fits() else None
        if job.train.precision == "bf16" and job.device == "cuda":  # on the CPU all workers share the constants anyway
            halve_constants(self.model, {*self.scope.frozen, *self.scope.changing})
        self.model.to(job.device)
        self.trainable = {name: self.model.get_parameter(name) for name in self.scope.trained}
        self.trained: dict[str, torch.nn.Parameter] = {}
        extras = job.method.extras({name: tuple(self.trainable[name].shape) for name in self.scope.exchanged})
        self.extras = {name: torch.zeros(shape, device=job.device) for name, shape in extras.items()}
        self.start: State = {name: tensor.to(job.device) for name, tensor in loaded.initial.items()}
        for name in (*self.scope.frozen, *self.scope.merged):  # no client changes these: the model itself holds them
            self.start[name] = self.model.get_parameter(name).detach()
        self.autocast = torch.autocast(job.device, torch.bfloat16, enabled=job.train.precision == "bf16")
        keep_freed()
        self.clean = True  # the model holds `start`
        self.sum: ExactSum | None = None

    def _split_off(self) -> tuple[Prefix | None, PrefixCache | None, PrefixCounts]:
        """The frozen prefix with the cache of what it computes, where that is valid; and else why it is not."""
        job = self.job
        last = Turn(job.seed, job.rounds, job.rounds)
        blocks, why_not = kept_blocks(job.prefix_cache, job.method, self.structure, last)
        if why_not:
            return None, None, PrefixCounts(0, why_not)
        prefix = Prefix(self.model, self.structure, blocks)
        self._mode(self.scope.trained)
        why_not = prefix.disagreement(self.pad)
        self._mode(())
        if why_not:
            return None, None, PrefixCounts(0, why_not)
        cache = PrefixCache(self.folder, job.prefix_cache, job.splits, job.shards, prefix.width())
        return prefix, cache, PrefixCounts(blocks, "", cache.bytes_kept, cache.bytes_each)

    def facts(self) -> ModelFacts:
        """What the prepared model is made of; call before any training."""
        everything = dict(self.model.named_parameters())
        return ModelFacts(
            self.structure,
            self.scope,
            {name: tuple(tensor.shape) for name, tensor in everything.items()},
            self.channel.size((name, tuple(tensor.shape)) for name, tensor in everything.items()),
            self.channel.size(self.full.items()),
            sum(map(prod, self.full.values())),
            self.model.config.to_json_string(use_diff=False),
        )

    def peak(self) -> tuple[int, float]:
        """This worker's process, and its peak resident memory since the job began, MB."""
        return os.getpid(), peak_mb()

    def initial(self) -> State:
        """The initial values of all that the global state holds, the method's extra tensors last, on the CPU."""
        scope = self.scope
        names = (*scope.exchanged, *scope.frozen, *scope.merged, *self.extras)
        return {name: self._global(name).cpu().clone() for name in names}

    def receive(self, payload: Payload) -> None:
        """Take the round's global values."""
        received = self.channel.decode(payload)
        # Memory that other processes share is not copied, unless a part of it would keep all of it; and what can be
        # written to is overwritten by its sender. A GPU has its own copy anyway.
        keep = not payload.flags.writeable and received.keys() >= {*self.scope.exchanged}
        keep |= self.job.device == "cuda"
        for name, tensor in received.items():
            if name in self.scope.merged:
                self.start[name].copy_(tensor)
                continue
            values = self.extras if name in self.extras else self.start
            values[name] = (tensor if keep else tensor.clone()).to(self.job.device)
        self.clean = False

    def _global(self, name: str) -> torch.Tensor:
        return self.extras[name] if name in self.extras else self.start[name]

    def measure(self, turn: Turn, total_weight: int, state: State | None) -> tuple[tuple[int, Verdict], State | None]:
        """Measure the importance of the blocks for one client, and add it to this worker's sum.

        Args:
            turn: as for `train`, in a round in which the method measures.
            total_weight: as for `train`.
            state: as for `train`.

        Returns:
            Bytes of the encoded scores and what became of them, and the client's state as it was.

        Raises:
            AggregationError: if the scores cannot be averaged and are not to be rejected.
        """
        measure = self.job.method.measure(turn)
        assert measure is not None
        self._load(state)
        self._mode(())
        with self.autocast:
            scores = measure(self.model, self.structure, self._batches(turn, "measure"), self.task.loss)
        payload = self.channel.encode({"scores": torch.tensor(scores, dtype=torch.float32)})
        verdict = OK
        try:
            self._add(self.channel.decode(payload), len(self.job.shards[turn.client]), total_weight)
        except AggregationError as error:
            if not self.job.faults.rejects:
                raise
            verdict = Verdict("rejected", str(error))
        return (len(payload), verdict), state

    def train(self, turn: Turn, total_weight: int, state: State | None) -> tuple[ClientReport, State | None]:
        """Train one client, add its update to this worker's sum, and report.

        Args:
            turn: whose turn it is.
            total_weight: examples of the whole cohort.
            state: the client's personal tensors and the method's memory from its last visit, or None at its first.

        Returns:
            The report, and the client's new state (None where the method keeps none); the old one, if its update does
            not count.

        Raises:
            DivergenceError, AggregationError: if the update cannot be averaged and is not to be rejected.
        """
        clock = Clock()
        job, round_, client = self.job, turn.round, turn.client
        examples = len(job.shards[client])
        exchanged = job.method.selected(self.structure, turn)
        self._select((*exchanged, *self.scope.personal))
        start = self._load(state)
        own = self._begin(start, turn)
        start |= own
        clean = self.clean and not own
        memory = {name: tensor.to(job.device) for name, tensor in (state or {}).items() if name not in self.trainable}
        self.clean = False
        self._mode(tuple(self.trained))
        clock.lap("load")
        batches = self._batches(turn, "batches", partial=True)
        clock.lap("prefix")
        lr = learning_rate(job.train, round_, job.rounds)
        with seeds.torch_draws(job.seed, "dropout", round_, client):
            result = train_client(
                self._forward,
                self.trained,
                batches,
                job.train,
                lr,
                lambda trained: job.method.local_term(trained, start, memory),
                self.task.loss,
            )
        clock.lap("steps")
        kept = {name: self.trained[name].detach().cpu().clone() for name in self.scope.personal}
        change, norm = self._change(start, exchanged)
        self.clean = clean
        diverged = not math.isfinite(result.loss + norm)
        if diverged and not job.faults.rejects:
            raise DivergenceError(
                f"client {client} diverged in round {round_}: loss {result.loss:g}, update norm {norm:g}; "
                f"a smaller train.lr than {job.train.lr:g} may help"
            )
        visit = Visit(start, memory, result.steps, lr, job.train)
        update, memory = job.method.upload({name: change[name] for name in exchanged}, visit)
        if job.faults.lies(turn, len(job.shards)):
            update = job.faults.lie(turn, update)
        payload = self.channel.encode(update)
        if diverged:
            verdict = Verdict("rejected", f"diverged: loss {result.loss:g}, update norm {norm:g}")
        else:
            verdict = self._submit(turn, payload, result.steps, examples, total_weight)
        kept |= {name: tensor.cpu() for name, tensor in memory.items()}
        layers = self.structure.blocks_of(self.trained)
        clock.lap("send")
        report = ClientReport(
            client, examples, result.steps, result.loss, layers, len(payload), norm, clock.seconds, verdict
        )
        return report, (kept or None) if verdict is OK else state

    def _change(self, start: State, exchanged: Sequence[str]) -> tuple[State, float]:
        """What training changed, where the channel wants it, and its L2 norm; the model is as before it again."""
        shapes = {name: tuple(self.trained[name].shape) for name in exchanged}
        on_cpu = self.job.device == "cpu"
        change = self.channel.slots(shapes) if on_cpu else {n: torch.empty_like(self.trained[n]) for n in exchanged}
        return change, take_changes(self.trained, start, change)

    def _submit(self, turn: Turn, payload: Payload, steps: int, weight: int, total_weight: int) -> Verdict:
        """Add what arrives of an encoded update to this worker's sum, unless it is late or cannot be used."""
        faults = self.job.faults
        if len(payload) and faults.deadline is not None and (time := faults.time(turn, steps)) > faults.deadline:
            return Verdict("late", f"took {time:.4g} of {faults.deadline:g}")
        try:
            received = self.channel.decode(faults.arrives(turn, payload))
            if faults.max_norm is not None and not (norm := l2_norm(received)) <= faults.max_norm:
                return Verdict("rejected", f"L2 norm {norm:.4g}, more than {faults.max_norm:g}")
            contribution = self.job.method.contribution(received, turn)
            self._add(self.job.aggregation.receive(contribution, turn.client), weight, total_weight)
        except (PayloadError, AggregationError) as error:
            if not faults.rejects:
                raise
            return Verdict("rejected", str(error))
        return OK

    @torch.no_grad()
    def _begin(self, start: State, turn: Turn) -> State:
        """Put the values of its own that a client begins with into the model; give them."""
        own = self.job.method.begin(start, turn)
        for name, tensor in own.items():
            self.trainable[name].copy_(tensor)
        return own

    def _mode(self, trained: tuple[str, ...]) -> None:
        """Have the model in training mode where these parameters are; of none, in evaluation mode."""
        if trained == self.mode:
            return
        if trained:
            train_mode(self.model, self.structure, trained)
        else:
            self.model.eval()
        self.mode = trained

    def _select(self, names: tuple[str, ...]) -> None:
        """Let gradients flow to these parameters alone."""
        if names == tuple(self.trained):
            return
        for parameter in self.trained.values():
            parameter.requires_grad_(False)
        self.trained = {name: self.trainable[name] for name in names}
        for parameter in self.trained.values():
            parameter.requires_grad_(True)

    def _batches(self, turn: Turn, purpose: str, partial: bool = False) -> Iterator[Batch]:
        """A client's batches of a round, in an order of its own for each purpose; where it is slow, a part of them."""
        train = self.job.splits["train"]
        rng = seeds.generator(self.job.seed, purpose, turn.round, turn.client)
        shard = train.windows(self.job.shards[turn.client])
        batches = client_batches(self.job.train, shard, train.lengths, rng)
        if partial:
            slow = seeds.generator(self.job.seed, "partial_work", turn.round, turn.client)
            batches = batches[: local_steps(self.job.train, len(batches), slow)]
        if self.cache and self.cache.keeps("train", shard):
            needed = np.concatenate(batches)
            groups = similar_lengths(self.job.train, shard, train.lengths)
            self._compute("train", [group for group in groups if np.isin(group, needed).any()], needed)
        return (self._batch("train", windows) for windows in batches)

    def _add(self, update: State, weight: int, total_weight: int) -> None:
        if self.sum is None:
            self.sum = ExactSum(total_weight)
        self.sum.add(update, weight, self.job.method.unweighted(update))

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
        self._mode(())
        self._compute(split, batches, np.concatenate(batches))
        results = []
        for windows in batches:
            batch = self._batch(split, windows)
            labels = batch.pop("labels")
            results.append(self.task.predict(self._forward(batch), labels))
        return results, None

    def _forward(self, batch: Batch) -> torch.Tensor:
        """The model's logits for a batch without its labels."""
        states = batch.pop("states", None)
        with self.autocast, self.last.reading(batch["input_ids"]) if self.last else nullcontext():
            if states is None:
                return self.model(**batch).logits
            assert self.prefix is not None
            return self.prefix.outputs(batch, states).logits

    def _compute(self, split: str, groups: list[np.ndarray], needed: np.ndarray) -> None:
        """Have the hidden states of each group of windows kept, as far as there is room and they are not yet.

        Args:
            needed: those of the windows that are asked for.
        """
        if self.cache is None or not self.cache.keeps(split, needed):
            return
        assert self.prefix is not None
        lacking = self.cache.lacking(split, needed)
        self.counts.first += lacking
        for windows in groups if lacking else ():
            if self.cache.lacking(split, windows):
                batch = self._collate(split, windows)
                del batch["labels"]
                with self.autocast:
                    self.cache.write(split, windows, self.prefix.states(batch))
                self.counts.computed += len(windows)

    @torch.no_grad()
    def _load(self, state: State | None) -> State:
        """Put the global values, and the client's personal (or else the initial) ones, into the model; give them."""
        if self.clean and (state is None or self.trainable.keys().isdisjoint(state)):
            return {**self.start, **self.extras}
        own = {name: tensor.to(self.job.device) for name, tensor in (state or {}).items() if name in self.trainable}
        values = {**self.start, **own}
        for name, parameter in self.trainable.items():
            parameter.copy_(values[name])
        self.clean = not own
        return {**values, **self.extras}

    def _batch(self, split: str, windows: np.ndarray) -> Batch:
        """The windows as the model takes them, with the hidden states that are kept of them."""
        batch = self._collate(split, windows)
        self.counts.asked += len(windows)
        if self.cache and self.cache.keeps(split, windows):
            states = self.cache.read(split, windows, pinned=self.job.device == "cuda")
            batch["states"] = states.to(self.job.device, non_blocking=True).to(self.model.dtype)
            self.counts.served += len(windows)
        return batch

    def _collate(self, split: str, windows: np.ndarray) -> Batch:
        batch = self.task.collate(self.job.splits[split], windows, self.pad)
        if self.job.device == "cpu":
            return batch
        return {key: tensor.pin_memory().to(self.job.device, non_blocking=True) for key, tensor in batch.items()}

    def prefix_counts(self) -> PrefixCounts:
        """What the cache of the frozen prefix did here."""
        return self.counts

    def close(self) -> None:
        """Let go of what the workers of a machine share."""
        self.folder.close()


def _fix_order(deterministic: bool) -> None:
    """Have CUDA add in a fixed order, or in whichever is fastest."""
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at its first product
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = False
