"""A workload of the benchmark that takes a moment."""

from simulate.bench.workloads import VARIANTS, Workload

MINIATURE = Workload(
    title="miniature",
    shape={
        "vocab_size": 50,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 6,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    },
    clients=5,
    examples=6,
    tokens=8,
    cohort=3,
    batch=2,
    lr=0.1,
    rounds=2,
    variants=tuple(VARIANTS),
)
