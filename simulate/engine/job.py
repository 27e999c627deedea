"""What crosses between server and workers: the job, what its model is made of, and the report of a client's visit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from partitions.corpus import Task as CorpusTask
from simulate.aggregator import Aggregator
from simulate.clients.training import TrainSettings
from simulate.engine.faults import FaultSettings
from simulate.engine.prefix_cache import PrefixCacheSettings
from simulate.method import Method, Scope
from simulate.models.backbone import ModelSettings
from simulate.models.encoded import Encoded
from simulate.models.structure import Structure
from simulate.server_optimizer import ServerOptimizer

STAGES = ("load", "prefix", "steps", "send")
"""What a visit consists of: the global values are put into the model, hidden states computed that are not kept yet,
local steps taken, the update encoded and summed."""


@dataclass(frozen=True)
class Job:
    """All that a worker has to know of a run, handed over once.

    Attributes:
        key: of this run alone, for what its workers share on a machine.
        shards: for each client, the indices of its examples in the training split.
        labels: entity types or class names.
    """

    key: str
    seed: int
    rounds: int
    task: CorpusTask
    labels: tuple[str, ...]
    model: ModelSettings
    method: Method
    aggregation: Aggregator
    server: ServerOptimizer
    faults: FaultSettings
    train: TrainSettings
    prefix_cache: PrefixCacheSettings
    splits: Mapping[str, Encoded]
    shards: tuple[np.ndarray, ...]
    device: str
    workers: int
    threads: int
    deterministic: bool = False


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
class Verdict:
    """What became of what a client sent: of its update, or of the scores that it had measured.

    Attributes:
        status: ok, which alone is averaged; dropped before it trained; late; rejected by the server; or skipped, in a
            round of too few.
        reason: for all but ok and dropped, one line.
    """

    status: Literal["ok", "dropped", "late", "rejected", "skipped"]
    reason: str = ""


OK = Verdict("ok")


@dataclass(frozen=True)
class ClientReport:
    """One client's visit.

    Attributes:
        loss: mean over its steps; None where it did not train.
        layers: the blocks that it trained.
        bytes_up: encoded length of its update.
        stages: seconds of each of `STAGES`.
        update_norm: L2 norm of what local training changed; None where it did not train.
        verdict: what became of its update.
    """

    client: int
    examples: int
    steps: int = 0
    loss: float | None = None
    layers: tuple[int, ...] = ()
    bytes_up: int = 0
    update_norm: float | None = None
    stages: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    verdict: Verdict = OK

    @property
    def seconds(self) -> float:
        """Of the whole visit."""
        return sum(self.stages.values())
