"""What bfloat16 and compiled blocks make of a training step on one core, by the size of the model.

    python -m simulate.bench.precision [--sizes 128,256,512] [-o table.csv]

A 16-layer LLaMA shape of each hidden size (random weights, five classes) takes a step on 8 texts of 64 sub-words in
each way, in turn: forward, backward, plain SGD. Compiling is not counted, it happens before.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from rich.console import Console
from rich.progress import track
from torch.nn import functional
from transformers import LlamaConfig, LlamaForSequenceClassification

from simulate.bench.measured import tell
from simulate.bench.workloads import WORKLOADS
from simulate.seeds import torch_draws

TURNS = 8
TEXTS, SUBWORDS = 8, 64
WAYS = ("float32", "bf16", "compiled")
FORMS = {"ms a step": "{:.0f}", "smallest": "{:.0f}", "largest": "{:.0f}", "× float32": "{:.2f}"}


def make_model(hidden: int) -> LlamaForSequenceClassification:
    """The shape of workload A at another width, with heads of 32."""
    shape = WORKLOADS["A"].shape
    scaled = {
        "hidden_size": hidden,
        "intermediate_size": shape["intermediate_size"] * hidden // shape["hidden_size"],
        "num_attention_heads": hidden // 32,
        "num_key_value_heads": hidden // 64,
    }
    config = LlamaConfig(**shape | scaled, num_labels=5, pad_token_id=0, use_cache=False)
    with torch_draws(0, "model"):
        return LlamaForSequenceClassification(config).train()


def stepper(hidden: int, way: str) -> Callable[[], float]:
    """A function that takes a step, and gives its seconds."""
    model = make_model(hidden)
    if way == "compiled":
        for block in model.model.layers:
            block.compile()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, foreach=True)
    with torch_draws(0, "texts"):
        ids = torch.randint(1, model.config.vocab_size, (TEXTS, SUBWORDS))
        labels = torch.randint(5, (TEXTS,))

    def step() -> float:
        started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=way == "bf16"):
            logits = model(input_ids=ids).logits
        functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        return time.perf_counter() - started

    step()
    return step


def measure(hidden: int) -> list[dict[str, object]]:
    """A row for each way."""
    steps = {way: stepper(hidden, way) for way in WAYS}
    taken = pd.DataFrame([{way: 1000 * step() for way, step in steps.items()} for _ in range(TURNS)])
    ratios = taken.div(taken["float32"], axis="index").median()
    return [
        {
            "hidden size": hidden,
            "way": way,
            "ms a step": taken[way].median(),
            "smallest": taken[way].min(),
            "largest": taken[way].max(),
            "× float32": ratios[way],
        }
        for way in WAYS
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m simulate.bench.precision", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="128,256,512", help="hidden sizes, multiples of 64 (128,256,512)")
    parser.add_argument("-o", "--output", type=Path, help="CSV file to write the table to")
    arguments = parser.parse_args()
    try:
        sizes = [int(size) for size in arguments.sizes.split(",")]
    except ValueError:
        sizes = []
    if not sizes or any(size <= 0 or size % 64 for size in sizes):
        raise SystemExit(f"error: --sizes {arguments.sizes!r}: expected multiples of 64 separated by commas")
    torch.set_num_threads(1)
    console = Console()
    rows = [row for size in track(sizes, "measuring", console=console) for row in measure(size)]
    tell(rows, FORMS, arguments.output, console)


if __name__ == "__main__":
    main()
