"""A long run on two actors under faults: is memory flat over the rounds, and is anything left when it is over?

python -m tests.soak        500 rounds of 50 clients; writes its figures into results/reference/faults (`make soak`)
"""

import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch
from uuid import uuid4

import numpy as np
import pandas as pd
import ray

from partitions.cache import cache_folder
from results.canvas import panels
from results.output import whole
from simulate.engine.executors import make_executor
from simulate.engine.records import environment
from simulate.engine.rounds import Round
from simulate.experiment import prepare
from simulate.experiment import run as run_prepared
from tests import bad_inputs
from tests.conftest import write_corpus
from tests.fault_suite import REFERENCE, gone
from tests.processes import MARK
from tests.runs import experiment

FAULTS = {"availability": 0.9, "dropout": 0.1, "corrupted": 0.05, "slowness": 0.5, "deadline": 4, "min_clients": 30}
MEMORY = ["driver_mb", "actor_1_mb", "actor_2_mb", "object_store_mb"]


def resident(pid: int) -> float:
    """Resident memory of a process without what it shares, MB."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return (int(status["VmRSS"].split()[0]) - int(status["RssShmem"].split()[0])) / 1e3


def object_store() -> float:
    """What Ray's object store holds, MB."""
    name = "object_store_memory"
    return (ray.cluster_resources()[name] - ray.available_resources()[name]) / 1e6


def soak(folder: Path, rounds: int = 500, kills: int = 4, every: int = 10) -> pd.DataFrame:
    """SCAFFOLD, whose clients remember something, with 50 clients of which an actor now and then dies.

    Returns:
        A row every some rounds: ``round``, ``seconds`` since the beginning, and `MEMORY`.

    Raises:
        AssertionError: if processes, shared memory or files in the cache are left when it is over.
    """
    corpus = write_corpus(folder / "corpus", "ner", {"train": 600, "validation": 20, "test": 20})
    what = experiment(
        bad_inputs.materials()["model"],
        corpus,
        {"name": "scaffold", "layers": 4},
        rounds=rounds,
        partition={"name": "dirichlet", "clients": 50, "alpha": 0.5, "min_size": 3},
        train={"lr": 0.01, "batch_size": 4, "optimizer": "sgd", "weight_decay": 0, "clip_norm": None, "local_steps": 2},
        evaluate={"every": 50},
        faults=FAULTS,
        engine={"executor": "ray", "workers": 2},
    )
    rng, rows, mark = np.random.default_rng(0), [], uuid4().hex
    deadly = set(rng.choice(np.arange(1, rounds // 3), kills, replace=False).tolist())
    begin = time.monotonic()
    with patch.dict(os.environ, {MARK: mark, "SKIPFL_CACHE": str(folder / "cache")}):
        with make_executor(what.engine) as executor:

            def on_round(round_: Round) -> None:
                if round_.number % every and round_.number not in deadly:
                    return
                processes = [pid for pid, _ in executor.all("peak")]
                if round_.number % every == 0:
                    memory = [resident(pid) for pid in (os.getpid(), *processes)]
                    rows.append([round_.number, time.monotonic() - begin, *memory, object_store()])
                if round_.number in deadly:
                    os.kill(int(rng.choice(processes)), signal.SIGKILL)

            run_prepared(prepare(what), folder / "run", executor, on_round)
            assert executor.lost == kills
        gone(mark)
        left = [file.name for file in cache_folder().iterdir() if file.name.startswith("run-")]
        assert left in ([], ["run.lock"]), left
    return pd.DataFrame(rows, columns=["round", "seconds", *MEMORY])


def slopes(table: pd.DataFrame) -> dict[str, float]:
    """MB per 100 rounds over the second half, when all is warm and no actor is new."""
    half = table[table["round"] >= table["round"].max() / 2]
    return {name: round(float(np.polyfit(half["round"] / 100, half[name], 1)[0]), 3) + 0.0 for name in MEMORY}


def write(table: pd.DataFrame, counts: pd.Series, kills: int, folder: Path) -> None:
    """The figures as a table, in words, and drawn."""
    folder.mkdir(parents=True, exist_ok=True)
    table.round(2).to_csv(folder / "soak.csv", index=False)
    figure, axes = panels(2, 6.3)
    for name in MEMORY:
        axes[name == "object_store_mb"].plot(table["round"], table[name], label=name.removesuffix("_mb"))
    for panel in axes:
        panel.set(xlabel="round", ylabel="MB", ylim=(0, None))
        panel.legend(frameon=False)
    figure.tight_layout()
    with whole(folder / "soak.png") as file:
        figure.savefig(file, format="png", dpi=150)
    found, where, last = slopes(table), environment(), table.iloc[-1]
    rows = [
        f"| {name.removesuffix('_mb').replace('_', ' ')} | {last[name]:.1f} | {found[name]:+.2f} |" for name in MEMORY
    ]
    (folder / "soak.md").write_text(f"""# Memory over {last["round"]:.0f} rounds of 50 clients

Written by `make soak` (`python -m tests.soak`): SCAFFOLD on a tiny random model, two actors, simulated faults
({int(counts["dropped"])} dropouts, {int(counts["late"])} late and {int(counts["rejected"])} rejected updates,
{int(counts["skipped"])} rounds skipped), and {kills} actors killed in the first third. Resident memory without what
processes share; the slope is that of a line through the second half. Afterwards no process of the session, nothing in
shared memory and no folder of the run in the cache was left.

| | MB at the end | MB per 100 rounds |
|---|---:|---:|
{chr(10).join(rows)}

![Memory over the rounds](soak.png)

{where["start"][:10]}, {last["seconds"]:.0f} s, {where["cpus"]} CPU cores, {platform.system()},
Python {where["python"]}, torch {where["packages"]["torch"]}, Ray {where["packages"]["ray"]}.
""")


def main() -> None:
    rounds, kills = int(sys.argv[1]) if sys.argv[1:] else 500, 4
    folder = Path(tempfile.mkdtemp(prefix="skipfl-soak-"))
    try:
        table = soak(folder, rounds, kills)
        counts = pd.read_csv(folder / "run" / "rounds.csv").sum(numeric_only=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    write(table, counts, kills, REFERENCE)
    print(table.to_string(index=False), slopes(table), sep="\n")


if __name__ == "__main__":
    main()
