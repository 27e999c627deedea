"""A long run on two actors under faults: is memory flat over the rounds, and is anything left when it is over?

python -m tests.soak        500 rounds of 50 clients; writes its figures into results/reference/faults (`make soak`)
"""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import numpy as np
import pandas as pd
import ray

from partitions.cache import cache_folder
from results.canvas import panels
from results.output import whole
from simulate.bench.race import machine
from simulate.engine.make import make_executor
from simulate.engine.rounds import Round
from simulate.experiment import prepare
from simulate.experiment import run as run_prepared
from tests import bad_inputs
from tests.conftest import write_corpus
from tests.fault_suite import REFERENCE, gone, provenance
from tests.processes import MARK
from tests.runs import experiment

FAULTS = {"availability": 0.9, "dropout": 0.1, "corrupted": 0.05, "slowness": 0.5, "deadline": 4, "min_clients": 30}
MEMORY = ["driver_mb", "actor_1_mb", "actor_2_mb"]
STORE = ["object_store_mb"]
REFERENCES = ["references"]
COLUMNS = MEMORY + STORE + REFERENCES
BOUNDS = dict.fromkeys(MEMORY, 1.0) | dict.fromkeys(STORE, 0.5) | dict.fromkeys(REFERENCES, 1.0)
"""The most by which each may grow in 100 rounds, when all is warm: MB, or objects."""


def resident(pid: int) -> float:
    """Resident memory of a process without what it shares, MB."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return (int(status["VmRSS"].split()[0]) - int(status["RssShmem"].split()[0])) / 1e3


def kept() -> tuple[float, int]:
    """What Ray's object store has to keep, MB, and to how many objects this process refers."""
    name = "object_store_memory"
    size = ray.cluster_resources()[name] - ray.available_resources()[name]
    return size / 1e6, len(ray._private.worker.global_worker.core_worker.get_all_reference_counts())


def soak(folder: Path, rounds: int = 500, kills: int = 4, every: int = 10) -> pd.DataFrame:
    """SCAFFOLD, whose clients remember something, with 50 clients of which an actor now and then dies.

    Returns:
        A row every some rounds: ``round``, ``seconds`` since the beginning, and `COLUMNS`.

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
    # What is small does not go to the object store; here all goes there, as that of larger models does.
    variables = {MARK: mark, "SKIPFL_CACHE": str(folder / "cache"), "RAY_max_direct_call_object_size": "100"}
    with patch.dict(os.environ, variables):
        with make_executor(what.engine) as executor:

            def on_round(round_: Round) -> None:
                if round_.number % every and round_.number not in deadly:
                    return
                processes = [pid for pid, _ in executor.all("peak")]
                if round_.number % every == 0:
                    memory = [resident(pid) for pid in (os.getpid(), *processes)]
                    rows.append([round_.number, time.monotonic() - begin, *memory, *kept()])
                if round_.number in deadly:
                    os.kill(int(rng.choice(processes)), signal.SIGKILL)

            run_prepared(prepare(what), folder / "run", executor, on_round)
            assert executor.lost == kills
        gone(mark)
        left = [file.name for file in cache_folder().iterdir() if file.name.startswith("run-")]
        assert left in ([], ["run.lock"]), left
    return pd.DataFrame(rows, columns=["round", "seconds", *COLUMNS])


def slopes(table: pd.DataFrame) -> dict[str, float]:
    """MB, or objects, per 100 rounds over the second half, when all is warm and no actor is new."""
    half = table[table["round"] >= table["round"].max() / 2]
    return {name: round(float(np.polyfit(half["round"] / 100, half[name], 1)[0]), 3) + 0.0 for name in COLUMNS}


def growing(found: Mapping[str, float], bounds: Mapping[str, float] = BOUNDS) -> list[str]:
    """Those of the slopes that are above their bound."""
    return [name for name in COLUMNS if not found[name] <= bounds[name]]


def write(table: pd.DataFrame, counts: pd.Series, kills: int, folder: Path, where: Mapping[str, Any]) -> None:
    """The figures as a table, in words, and drawn.

    Args:
        table: as `soak` gives it.
        counts: the sums of the run's ``rounds.csv``.
        kills: actors that were killed.
        folder: to write into.
        where: as `simulate.bench.race.machine` gives it, before anything is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table.round(2).to_csv(folder / "soak.csv", index=False)
    figure, axes = panels(3, 9.5)
    for panel, names, unit in zip(axes, (MEMORY, STORE, REFERENCES), ("MB", "MB", "objects"), strict=True):
        for name in names:
            panel.plot(table["round"], table[name], label=name.removesuffix("_mb").replace("_", " "))
        panel.set(xlabel="round", ylabel=unit, ylim=(0, None))
        panel.legend(frameon=False)
    figure.tight_layout()
    with whole(folder / "soak.png") as file:
        figure.savefig(file, format="png", dpi=150)
    found, last = slopes(table), table.iloc[-1]
    rows = [
        f"| {name.removesuffix('_mb').replace('_', ' ')}{', MB' * name.endswith('_mb')} | {last[name]:.1f} "
        f"| {found[name]:+.2f} |"
        for name in COLUMNS
    ]
    (folder / "soak.md").write_text(f"""# Memory over {last["round"]:.0f} rounds of 50 clients

Written by `make soak` (`python -m tests.soak`): SCAFFOLD on a tiny random model, two actors, simulated faults
({int(counts["dropped"])} dropouts, {int(counts["late"])} late and {int(counts["rejected"])} rejected updates,
{int(counts["skipped"])} rounds skipped), and {kills} actors killed in the first third. Resident memory without what
processes share. Whatever actors exchange, and what clients keep, goes through Ray's object store here, however small it
is: what it holds, and to how many of its objects the driver refers. The change is that of a line through the second
half. Afterwards no process of the session, nothing in shared memory and no folder of the run in the cache was left.

| | at the end | change in 100 rounds |
|---|---:|---:|
{chr(10).join(rows)}

![Memory over the rounds](soak.png)

{provenance(where)}: {last["seconds"]:.0f} s.
""")


def main() -> None:
    rounds, kills = int(sys.argv[1]) if sys.argv[1:] else 500, 4
    where = machine()
    folder = Path(tempfile.mkdtemp(prefix="skipfl-soak-"))
    try:
        table = soak(folder, rounds, kills)
        counts = pd.read_csv(folder / "run" / "rounds.csv").sum(numeric_only=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    write(table, counts, kills, REFERENCE, where)
    found = slopes(table)
    print(table.to_string(index=False), found, sep="\n")
    if grown := growing(found):
        sys.exit(f"grows by more than {BOUNDS} in 100 rounds: {', '.join(grown)}")


if __name__ == "__main__":
    main()
