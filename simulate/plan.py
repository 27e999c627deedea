"""What an experiment would exchange and need: from configurations alone, without weights and without training."""

from dataclasses import dataclass
from math import prod

from simulate.clients.tasks import TASKS
from simulate.config import Experiment
from simulate.engine.cohort import cohort_size
from simulate.exchange.channel import Float32Channel
from simulate.models.backbone import meta_model
from simulate.models.structure import find_structure


@dataclass(frozen=True)
class Plan:
    """An experiment in numbers. Sizes are encoded lengths in bytes.

    Attributes:
        parameters: of the model, without a method's additions.
        trained: parameters that clients train; `exchanged`: those that also travel.
        tensors: exchanged tensors.
        full_bytes: one transfer of the whole model; `transfer_bytes`: one transfer of the exchanged set.
        setup_bytes: the whole prepared model, once per client.
        memory_bytes: estimated peak of one worker.
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
    setup_bytes: int
    memory_bytes: int
    clients: int | None
    cohort: int | None
    rounds: int

    @property
    def saving(self) -> float | None:
        """1 - exchanged bytes / the full model's bytes; None where nothing is exchanged."""
        return 1 - self.transfer_bytes / self.full_bytes if self.transfer_bytes else None

    def rows(self) -> list[tuple[str, str]]:
        """The plan for reading: (what, how much)."""
        up = (self.cohort or 0) * self.rounds * self.transfer_bytes
        down = (self.cohort or 0) * (self.rounds - 1) * self.transfer_bytes
        saving = (
            "– (nothing is exchanged)"
            if self.saving is None
            else f"{100 * self.saving:.1f} % less than the full model (embeddings, {self.layers} layers, final norm "
            f"and head: {size(self.full_bytes)} a transfer)"
        )
        return [
            ("method", self.method),
            ("model", f"{self.model}: {self.parameters:,} parameters with its task head"),
            ("trained", f"{self.trained:,} parameters ({100 * self.trained / self.parameters:.2f} % of the model)"),
            ("exchanged", f"{self.exchanged:,} parameters in {self.tensors} tensors"),
            ("per client and round", f"{size(self.transfer_bytes)} up, {size(self.transfer_bytes)} down (float32)"),
            ("saving", saving),
            ("set-up, once a client", size(self.setup_bytes)),
            ("clients", f"{self.clients}, {self.cohort} of them a round, {self.rounds} rounds"),
            (
                "whole run, all present",
                f"at most {size(up)} up and {size(down)} down (none in round 1), without set-up",
            ),
            ("memory of a worker", f"about {size(self.memory_bytes)}"),
        ]


def make_plan(experiment: Experiment) -> Plan:
    """Plan an experiment.

    Raises:
        ModelError, MethodError, CorpusError: as a run of it would.
    """
    kind, labels = experiment.corpus.describe()
    model = meta_model(experiment.model, kind, TASKS[kind](labels).model_labels)
    full = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    experiment.method.prepare(model)
    structure = find_structure(model)
    scope = experiment.method.scope(structure)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    exchanged = {name: shapes[name] for name in scope.exchanged}
    channel = Float32Channel()
    clients = 1 if experiment.method.pooled else experiment.partition.clients
    trained = sum(prod(shapes[name]) for name in scope.trained)
    tokens = experiment.train.batch_size * experiment.model.max_length
    first = next(
        (index for index, block in enumerate(structure.blocks) if not set(scope.trained).isdisjoint(block)),
        len(structure.blocks),
    )
    return Plan(
        method=experiment.method.label(structure),
        model=experiment.model.name,
        layers=len(structure.blocks),
        parameters=sum(map(prod, full.values())),
        trained=trained,
        exchanged=sum(map(prod, exchanged.values())),
        tensors=len(exchanged),
        full_bytes=channel.size(full.items()),
        transfer_bytes=channel.size(exchanged.items()),
        setup_bytes=channel.size(shapes.items()),
        memory_bytes=_memory(
            sum(map(prod, shapes.values())),
            trained,
            experiment.train.optimizer,
            tokens,
            len(structure.blocks) - first,
            model.config.hidden_size,
            getattr(model.config, "intermediate_size", 4 * model.config.hidden_size),
        ),
        clients=clients,
        cohort=cohort_size(experiment.cohort, clients),
        rounds=experiment.rounds,
    )


def size(count: float) -> str:
    """Bytes for reading, in decimal units: 1 MB is 1e6 bytes."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 1000 and len(units) > 1:
        count /= 1000
        del units[0]
    return f"{count:.4g} {units[0]}"


def _memory(
    parameters: int, trained: int, optimizer: str, tokens: int, blocks: int, hidden: int, intermediate: int
) -> int:
    """Estimated peak of a worker in bytes, beyond the Python process itself (about 500 MB).

    float32 weights; for each trained parameter its global value, gradient, optimizer moments (two for AdamW), update
    and encoded update, and the int64 sum; activations kept for the backward pass of the blocks from the first trained
    one up: about 16 hidden + 4 intermediate floats a token and block.
    """
    moments = 8 if optimizer == "adamw" else 0
    per_trained = 4 + 4 + moments + 4 + 4 + 8
    activations = 4 * tokens * blocks * (16 * hidden + 4 * intermediate)
    return 4 * parameters + per_trained * trained + activations
