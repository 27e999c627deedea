"""The workloads: a model shape, clients with random texts, and what is trained."""

from dataclasses import dataclass, replace
from typing import Any

from simulate.bench import BenchError
from simulate.registry import suggest

VARIANTS: dict[str, dict[str, Any]] = {
    "full": {"name": "fedavg"},
    "last5": {"name": "layer_skipping", "layers": 5},
    "last6": {"name": "layer_skipping", "layers": 6},
    "lora": {"name": "lora", "rank": 8, "target_modules": ["q_proj", "v_proj"]},
    "lora-last5": {"name": "lora", "rank": 8, "target_modules": ["q_proj", "v_proj"], "layers": 5},
}
"""What is trained and exchanged, as the method's settings: the whole model; the last 5 layers, final norm and head;
adapters of rank 8 on the query and value projections, and the head; the same in the last 5 layers alone."""


@dataclass(frozen=True)
class Workload:
    """Clients of equal size that classify random texts with a LLaMA-shaped model of random weights, by plain SGD.

    Attributes:
        title: what it is about.
        shape: settings of the model's configuration; the vocabulary is that of the texts.
        clients: all there are; `cohort`: of these in each round.
        examples: of each client.
        tokens: of each text.
        batch: examples a step; in a round each client goes once through its examples.
        lr: learning rate; small enough that rounding errors do not grow, as all contestants must end at one model.
        rounds: how many; the first counts as start-up.
        held_out: texts to evaluate after each round; 0 for no evaluation.
        variants: those that it is meant for.
    """

    title: str
    shape: dict[str, int]
    clients: int
    examples: int
    tokens: int
    cohort: int
    batch: int
    lr: float
    rounds: int
    variants: tuple[str, ...]
    held_out: int = 0


WORKLOADS = {
    "A": Workload(
        title="compute-bound",
        shape={
            "vocab_size": 4096,
            "hidden_size": 128,
            "intermediate_size": 344,
            "num_hidden_layers": 16,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        },
        clients=100,
        examples=64,
        tokens=64,
        cohort=20,
        batch=8,
        lr=0.005,
        rounds=4,
        variants=("full", "last5", "lora", "lora-last5"),
    ),
    "B": Workload(
        title="exchange-bound",
        shape={
            "vocab_size": 20_000,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "num_key_value_heads": 4,
        },
        clients=20,
        examples=1,
        tokens=16,
        cohort=20,
        batch=1,
        lr=0.01,
        rounds=4,
        variants=("full", "last5"),
    ),
    "C": Workload(
        title="scale",
        shape={
            "vocab_size": 512,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
        },
        clients=10_000,
        examples=4,
        tokens=16,
        cohort=1000,
        batch=4,
        lr=0.5,
        rounds=10,
        variants=("full",),
    ),
    "D": Workload(
        title="memory",
        shape={
            "vocab_size": 32_000,
            "hidden_size": 1536,
            "intermediate_size": 4736,
            "num_hidden_layers": 16,
            "num_attention_heads": 12,
            "num_key_value_heads": 4,
        },
        clients=8,
        examples=1,
        tokens=16,
        cohort=8,
        batch=1,
        lr=0.01,
        rounds=3,
        variants=("last6",),
    ),
}
"""A: 16 small layers, where training is what takes time. B: 119 million parameters and one step a client on one short
text, where moving weights is what takes time. C: many clients with next to nothing to do. D: 500 million
parameters, where what each worker holds is what counts."""


def find_workload(name: str, **changes: int | None) -> Workload:
    """A workload, some of its numbers changed; None leaves one as it is.

    Raises:
        BenchError: if there is none of that name, or its numbers do not fit together.
    """
    if name not in WORKLOADS:
        raise BenchError(f"unknown workload {name!r}{suggest(name, WORKLOADS)}")
    given: dict[str, Any] = {key: value for key, value in changes.items() if value is not None}
    workload = replace(WORKLOADS[name], **given)
    if workload.cohort > workload.clients:
        raise BenchError(f"--cohort {workload.cohort}: workload {name} has {workload.clients} clients")
    return workload


def variants_of(name: str, wanted: list[str]) -> list[str]:
    """The variants to run of a workload: those wanted, or all that it is meant for.

    Raises:
        BenchError: naming the first that it is not meant for.
    """
    known = WORKLOADS[name].variants
    for variant in wanted:
        if variant not in known:
            raise BenchError(f"--variants {variant!r}: workload {name} has {', '.join(known)}")
    return wanted or list(known)
