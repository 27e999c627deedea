"""This project: the experiment, run as `skipfl run` runs it, but without checkpoints, which no other writes either."""

import csv
import json
import time
from pathlib import Path

import yaml
from safetensors.torch import load_file

from simulate.bench.contestants.shared import Outcome
from simulate.config import build
from simulate.engine.make import make_executor
from simulate.engine.rounds import Round
from simulate.experiment import prepare, run

PEFT = "base_model.model."
"""What peft puts before the names of the tensors of a saved adapter."""


def main(folder: Path, output: Path, workers: int, threads: int, executor: str = "ray") -> None:
    engine = {"executor": executor, "threads": threads, "checkpoint_every": None}
    engine |= {"workers": workers} if executor == "ray" else {}
    experiment = build(yaml.safe_load((folder / "experiment.yaml").read_text()) | {"engine": engine})
    evaluated = json.loads((folder / "settings.json").read_text())["evaluate"]
    outcome = Outcome()

    def on_round(round_: Round) -> None:
        if round_.number == 0:
            outcome.first_client = time.time()
            return
        outcome.end_round()
        if evaluated and round_.scores is not None:
            right = sum(round_.scores[split]["accuracy"] * count for split, count in held_out.items())
            outcome.scores.append(right / sum(held_out.values()))

    prepared = prepare(experiment)
    held_out = {split: len(prepared.splits[split]) for split in ("validation", "test")}
    with make_executor(experiment.engine) as started:
        run(prepared, output / "run", started, on_round)
    with (output / "run" / "clients.csv").open(newline="") as stream:
        outcome.steps = sum(int(row["steps"]) for row in csv.DictReader(stream))
    (file,) = (output / "run" / "model").glob("*.safetensors")
    outcome.write(output, {_own_name(name): tensor for name, tensor in load_file(file).items()})


def _own_name(saved: str) -> str:
    """The name of a tensor in the model, from that in a saved adapter."""
    if not saved.startswith(PEFT):
        return saved
    return saved.removeprefix(PEFT).replace(".lora_A.", ".lora_A.default.").replace(".lora_B.", ".lora_B.default.")
