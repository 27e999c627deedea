"""What an experiment would exchange and need: from configurations alone, without weights and without training."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from operator import methodcaller

import torch
from transformers import PreTrainedConfig

from partitions.corpus import Task
from partitions.reader import CorpusReader
from simulate.clients.tasks import TASKS
from simulate.config import Experiment
from simulate.engine.cohort import cohort_size
from simulate.engine.executors import MemoryShortageError, bounded, resolve_device
from simulate.engine.memory import machine_bytes
from simulate.engine.prefix_cache import kept_blocks
from simulate.exchange.channel import Float32Channel
from simulate.method import Scope, Turn
from simulate.models.backbone import meta_model
from simulate.models.structure import Structure, find_structure

MOST_CLIENTS = 20
"""Clients whose uploads are averaged in a plan."""

PROCESS = 500_000_000
"""Bytes that a Python process takes with all that is imported, about."""

RAY = 350_000_000
"""Bytes that Ray's own processes take, about."""

USED = 0.9
"""The share of this machine's memory that is planned with."""


@dataclass(frozen=True)
class Plan:
    """An experiment in numbers. Sizes are encoded lengths in bytes.

    Attributes:
        parameters: of the model, without a method's additions.
        trained: parameters that clients train; `exchanged`: those that also travel.
        tensors: exchanged tensors.
        full_bytes: one transfer of the whole model.
        transfer_bytes: the mean upload of a client and round, with what it has measured.
        download_bytes: one transfer of all that is ever exchanged.
        choice_bytes: the mean of what tells a client of a round which blocks to train, where that is agreed each round.
        setup_bytes: the whole prepared model, once per client.
        device: cpu or cuda; `memory_bytes`: estimated peak of one worker there.
        room: workers on the CPU that this machine's memory has room for; None where the work is done elsewhere.
        prefix: what is kept of the frozen blocks below the first trained one, or why nothing is.
    """

    method: str
    model: str
    layers: int
    parameters: int
    trained: int
    exchanged: int
    tensors: int
    full_bytes: int
    transfer_bytes: int
    download_bytes: int
    choice_bytes: int
    setup_bytes: int
    device: str
    memory_bytes: int
    room: int | None
    prefix: str
    clients: int
    cohort: int
    rounds: int

    @property
    def saving(self) -> float | None:
        """1 - exchanged bytes / the full model's bytes; None where nothing is exchanged."""
        return 1 - self.transfer_bytes / self.full_bytes if self.transfer_bytes else None

    def _each(self) -> str:
        up, down = size(self.transfer_bytes), size(self.download_bytes)
        return f"{up} up, {down} down" if up == down else f"{up} up on average, at most {down} down"

    def rows(self) -> list[tuple[str, str]]:
        """The plan for reading: (what, how much)."""
        up = self.cohort * self.rounds * self.transfer_bytes
        down = self.cohort * ((self.rounds - 1) * self.download_bytes + self.rounds * self.choice_bytes)
        first = f"{size(self.choice_bytes)} a client" if self.choice_bytes else "none"
        saving = (
            "– (nothing is exchanged)"
            if self.saving is None
            else f"{100 * abs(self.saving):.1f} % {'less' if self.saving >= 0 else 'more'} than the full model "
            f"(embeddings, {self.layers} layers, final norm and head: {size(self.full_bytes)} a transfer)"
        )
        return [
            ("method", self.method),
            ("model", f"{self.model}: {self.parameters:,} parameters with its task head"),
            ("trained", f"{self.trained:,} parameters ({100 * self.trained / self.parameters:.2f} % of the model)"),
            ("exchanged", f"{self.exchanged:,} parameters in {self.tensors} tensors"),
            ("per client and round", f"{self._each()} (float32)"),
            ("saving" if self.transfer_bytes == self.download_bytes else "saving, uploads", saving),
            ("set-up, once a client", size(self.setup_bytes)),
            ("clients", f"{self.clients}, {self.cohort} of them a round, {self.rounds} rounds"),
            (
                "whole run",
                f"at most {size(up)} up and {size(down)} down ({first} in round 1), without set-up",
            ),
            ("frozen prefix", self.prefix),
            (f"{'GPU ' * (self.device == 'cuda')}memory of a worker", f"about {size(self.memory_bytes)}"),
            *(
                [("memory of this machine", f"has room for {workers_in_words(self.room)}, as estimated")]
                if self.room
                else []
            ),
        ]


def workers_in_words(number: int) -> str:
    """1 worker, 2 workers."""
    return f"{number} worker{'s' * (number > 1)}"


@dataclass(frozen=True)
class Outline:
    """The prepared model of an experiment without its weights.

    Attributes:
        full: shapes of the model's tensors without the method's additions; `shapes`: with them.
    """

    config: PreTrainedConfig
    structure: Structure
    scope: Scope
    full: dict[str, tuple[int, ...]]
    shapes: dict[str, tuple[int, ...]]


Description = Callable[[CorpusReader], tuple[Task, tuple[str, ...]]]


def outline(experiment: Experiment, describe: Description = methodcaller("describe")) -> Outline:
    """What an experiment would train, from its model's configuration.

    Args:
        experiment: what to plan.
        describe: asks a corpus for its task and labels; a study keeps what it reads for that.

    Raises:
        ModelError, MethodError, CorpusError: as a run of it would.
    """
    kind, labels = describe(experiment.corpus)
    model = meta_model(experiment.model, kind, TASKS[kind](labels).model_labels)
    full = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    experiment.method.prepare(model)
    structure = find_structure(model)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    return Outline(model.config, structure, experiment.method.scope(structure), full, shapes)


def make_plan(experiment: Experiment) -> Plan:
    """Plan an experiment.

    Raises:
        ModelError, MethodError, CorpusError: as a run of it would.
    """
    model = outline(experiment)
    structure, scope, shapes = model.structure, model.scope, model.shapes
    exchanged = _with_extras(experiment, {name: shapes[name] for name in scope.exchanged})
    channel = Float32Channel()
    clients = _clients(experiment)
    wanted = experiment.engine.device  # which need not be here
    device = resolve_device(wanted) if wanted == "auto" else wanted
    uploads, choices = zip(*_transfers(experiment, structure, shapes, clients), strict=True)
    return Plan(
        method=experiment.method.label(structure),
        model=experiment.model.name,
        layers=len(structure.blocks),
        parameters=sum(map(prod, model.full.values())),
        trained=sum(prod(shapes[name]) for name in scope.trained),
        exchanged=sum(map(prod, exchanged.values())),
        tensors=len(exchanged),
        full_bytes=channel.size(model.full.items()),
        transfer_bytes=round(sum(uploads) / len(uploads)),
        download_bytes=channel.size({**exchanged, **{name: shapes[name] for name in scope.merged}}.items()),
        choice_bytes=round(sum(choices) / len(choices)),
        setup_bytes=channel.size(shapes.items()),
        device=device,
        memory_bytes=_memory(model, experiment, device),
        room=room(model, experiment) if bounded(experiment.engine, device) else None,
        prefix=_prefix(experiment, model),
        clients=clients,
        cohort=_cohort(experiment),
        rounds=experiment.rounds,
    )


@contextmanager
def with_estimate(experiment: Experiment) -> Iterator[None]:
    """An error of a full GPU within the block says what the plan of the experiment estimates, too."""
    try:
        yield
    except MemoryShortageError as error:
        estimate = size(make_plan(experiment).memory_bytes)
        raise MemoryShortageError(f"{error}; `skipfl plan` estimates {estimate} a worker") from error


def _clients(experiment: Experiment) -> int:
    """How many there are; training on all data is one."""
    return 1 if experiment.method.pooled else experiment.partition.clients


def _kept_apart(model: Outline, experiment: Experiment) -> bool:
    """Whether the updates of a cohort are kept apart: by the aggregation, or for low-rank changes to be merged."""
    return experiment.aggregation.apart or bool(model.scope.merged)


def _cohort(experiment: Experiment) -> int:
    """Clients of a round."""
    return cohort_size(experiment.cohort, _clients(experiment))


def _prefix(experiment: Experiment, model: Outline) -> str:
    """What is kept of the frozen prefix, in words."""
    settings, depth = experiment.prefix_cache, len(model.structure.blocks)
    last = Turn(experiment.seed, experiment.rounds, experiment.rounds)
    blocks, why_not = kept_blocks(settings, experiment.method, model.structure, last)
    if why_not:
        return f"not kept: {why_not}"
    bytes_each = model.config.hidden_size * getattr(torch, settings.dtype).itemsize
    return f"{blocks} of {depth} layers, computed once and kept: {size(bytes_each)} a sub-word"


def _transfers(
    experiment: Experiment, structure: Structure, shapes: Mapping[str, tuple[int, ...]], clients: int
) -> Iterator[tuple[int, int]]:
    """The encoded lengths of what a client sends, and of the choice of blocks that it is told of, for each round and
    up to `MOST_CLIENTS` clients."""
    channel, method = Float32Channel(), experiment.method
    unmeasured = (0.0,) * len(structure.blocks)
    sizes: dict[tuple[tuple[str, tuple[int, ...]], ...], int] = {}
    for round_ in range(1, experiment.rounds + 1):
        for client in range(min(clients, MOST_CLIENTS)):
            turn = Turn(experiment.seed, round_, experiment.rounds, client, unmeasured)
            names = method.selected(structure, turn)
            sent = method.sent(_with_extras(experiment, {name: shapes[name] for name in names}), turn)
            key = tuple(sent.items())
            if key not in sizes:
                sizes[key] = channel.size(key)
            measured = channel.size([("scores", (len(structure.blocks),))]) if method.measure(turn) else 0
            agreed = measured or method.follows_change(turn)
            choice = channel.size([("layers", (len(structure.blocks_of(names)),))]) if agreed else 0
            yield sizes[key] + measured, choice


def _with_extras(experiment: Experiment, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Exchanged tensors, and what the method exchanges with them."""
    return shapes | experiment.method.extras(shapes)


def size(count: float) -> str:
    """Bytes for reading, in decimal units: 1 MB is 1e6 bytes."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 1000 and len(units) > 1:
        count /= 1000
        del units[0]
    return f"{count:.4g} {units[0]}"


def room(model: Outline, experiment: Experiment) -> int:
    """Workers on the CPU that the memory of this machine has room for, about; at least one.

    Those of one machine hold the weights that never change together. Beside them the main process has for each element
    that the server changes six float32, the global value, the change, the next value, what it sends, and two of that in
    Ray's object store; up to two more where a server optimizer remembers; and of updates kept apart, for each client of
    a cohort, 20 bytes: its sum, that as it is handed over, and the mean.
    """
    sizes = {name: prod(shape) for name, shape in model.shapes.items()}
    shared = 4 * sum(sizes[name] for name in sizes.keys() - model.scope.changing)
    exchanged = sum(sizes[name] for name in model.scope.exchanged)
    sent = sum(
        map(prod, _with_extras(experiment, {name: model.shapes[name] for name in model.scope.exchanged}).values())
    )
    served = sent + sum(sizes[name] for name in model.scope.merged)
    remembered = 8 if experiment.server.title else 0  # plain averaging has no title
    updates = _cohort(experiment) * exchanged if _kept_apart(model, experiment) else 0
    main = PROCESS + RAY + (24 + remembered) * served + 20 * updates
    each = PROCESS + _memory(model, experiment, "cpu") - shared - 8 * max(0, updates - exchanged)
    return max(1, int(USED * machine_bytes() - shared - main) // each)


def _memory(model: Outline, experiment: Experiment, device: str) -> int:
    """Estimated peak of a worker in bytes, beyond the process itself (`PROCESS`), or CUDA (600 MB).

    float32 weights; for each trained parameter its value at the round's start, gradient and optimizer moments (two for
    AdamW); for each exchanged one the encoded change, the int64 sum, and that sum as it is handed over; for each extra
    one of the method that, the global value and the client's; and the activations kept for the backward pass of the
    blocks from the first trained one up, about 16 hidden + 4 intermediate floats a token and block, for a batch of the
    longest examples, or of `batch_tokens`; with gradient checkpointing of one block, and of each what enters it. An
    aggregation of updates kept apart holds one int64 sum for each client that the worker visits, at most all of a
    cohort. On a GPU sums are the host's, each exchanged parameter has its change beside, and with bf16 what never
    changes, but for the embeddings and the method's own constants, takes half.
    """
    method, train = experiment.method, experiment.train
    sizes = {name: prod(shape) for name, shape in model.shapes.items()}
    trained = sum(sizes[name] for name in model.scope.trained)
    exchanged = sum(sizes[name] for name in model.scope.exchanged)
    extras = sum(map(prod, method.extras({name: model.shapes[name] for name in model.scope.exchanged}).values()))
    moments = 8 if train.optimizer == "adamw" else 4 if train.momentum else 0
    names = set(model.scope.trained)
    depth = len(model.structure.blocks)
    first = next((place for place, block in enumerate(model.structure.blocks) if names & set(block)), depth)
    width = 16 * model.config.hidden_size + 4 * getattr(model.config, "intermediate_size", 4 * model.config.hidden_size)
    kept = (depth - first) * width
    if train.gradient_checkpointing:
        kept = min(kept, width + (depth - first) * model.config.hidden_size)
    longest = experiment.model.max_length
    tokens = max(train.batch_tokens, longest) if train.batch_tokens else train.batch_size * longest
    activations = 4 * tokens * kept
    if device == "cuda":
        whole = {*model.structure.embedding, *model.scope.frozen, *model.scope.merged} - names
        halved = sum(sizes[name] for name in sizes.keys() - names - whole) if train.precision == "bf16" else 0
        frozen = 4 * (sum(sizes.values()) - trained) - 2 * halved
        return frozen + (12 + moments) * trained + 4 * exchanged + 12 * extras + activations
    apart = 8 * (_cohort(experiment) - 1) * exchanged if _kept_apart(model, experiment) else 0
    return 4 * sum(sizes.values()) + (8 + moments) * trained + 20 * exchanged + 28 * extras + activations + apart
