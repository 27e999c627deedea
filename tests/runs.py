"""What the tests of whole runs share: a small experiment, how it is run, and what of its records can be compared."""

import json
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file

from simulate.config import build
from simulate.engine.serial_executor import SerialExecutor
from simulate.experiment import prepare
from simulate.experiment import run as run_prepared
from simulate.plan import outline

SGD = {"train": {"lr": 0.05, "batch_size": 4, "optimizer": "sgd", "weight_decay": 0, "clip_norm": None}}
"""Plain, as SCAFFOLD wants it."""

FAULTS = {"availability": 0.9, "dropout": 0.2, "corrupted": 0.2, "slowness": 0.5, "deadline": 8, "min_clients": 2}
"""Clients that are away, and updates lost in every way."""


def experiment(model: Path, corpus: Path, method="layer_skipping", reading=None, **changes):
    """Two rounds of a method (its name or settings) on a checkpoint and a JSONL folder; `reading` sets the model's."""
    settings = {"name": method} if isinstance(method, str) else method
    if settings["name"] == "layer_skipping" and not {"skip_ratio", "budgets"} & settings.keys():
        settings = {"layers": 2, **settings}
    data = {
        "name": "tiny",
        "rounds": 2,
        "corpus": {"name": "jsonl", "path": str(corpus)},
        "model": {"name": str(model), **(reading or {"max_length": 32})},
        "partition": {"name": "dirichlet", "clients": 4, "alpha": 0.5, "min_size": 3},
        "method": settings,
        "train": {"lr": 0.01, "batch_size": 4},
        "engine": {"executor": "serial"},
    }
    return build(data | changes)


def run(what, folder: Path, executor=None) -> dict:
    """The summary of an experiment that is run into a folder, serially unless told where."""
    return run_prepared(prepare(what), folder, executor or SerialExecutor(what.engine))


class Stopped(Exception):
    """What ends a run here; real signals do in `test_signals.py` and `test_kills.py`."""


class Mortal(SerialExecutor):
    """Ends the run when it has done so many tasks, of training or evaluation."""

    def __init__(self, settings, tasks: int) -> None:
        super().__init__(settings)
        self.left = tasks

    def run(self, tasks):
        for done in super().run(tasks):
            self.left -= 1
            if not self.left:
                raise Stopped
            yield done


def interrupted(what, folder: Path, tasks: int) -> Path:
    """The folder of a run that ends after so many tasks."""
    with pytest.raises(Stopped):
        run(what, folder, Mortal(what.engine, tasks))
    return folder


IN_ROUND_4 = 2 + 3 * (2 + 2) + 1
"""Tasks of a run with cohorts of two: validation and test of the untrained model, three rounds, and one client."""


def timeless(folder: Path, table: str) -> pd.DataFrame:
    """A table of a run but for what a clock measured."""
    frame = pd.read_csv(folder / f"{table}.csv")
    return frame[[column for column in frame if not column.startswith("seconds")]]


def timeless_summary(folder: Path) -> dict:
    """The summary of a run but for what depends on its processes: what a clock, memory or they themselves counted."""
    found = json.loads((folder / "summary.json").read_text())
    for key in ("seconds", "peak_memory_mb", "peak_memory_since_round", "lost_workers"):
        del found[key]
    cache = found.pop("prefix_cache")
    return found | {key: cache.get(key) for key in ("blocks", "why_not", "bytes_kept")}


def tensors(folder: Path) -> dict[str, bytes]:
    """The bits of a run's saved tensors."""
    (file,) = (folder / "model").glob("*.safetensors")
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(file).items()}


def same_results(folder: Path, other: Path) -> None:
    """Two run folders hold equal records, but for what depends on their processes, and equal tensors."""
    assert (folder / "model").is_dir() == (other / "model").is_dir(), "model/"
    if (other / "model").is_dir():
        assert tensors(folder) == tensors(other), "tensors"
    assert timeless_summary(folder) == timeless_summary(other), "summary.json"
    assert (folder / "partition.json").read_bytes() == (other / "partition.json").read_bytes(), "partition.json"
    tables = sorted(file.stem for file in folder.glob("*.csv"))
    assert tables == sorted(file.stem for file in other.glob("*.csv")), "tables"
    for table in tables:
        pd.testing.assert_frame_equal(timeless(folder, table), timeless(other, table), check_exact=True)


def require_same_bits(what, folder: Path, executors) -> None:
    """Run an experiment serially and on each executor (by name): equal records but for seconds, and equal tensors."""
    run(what, folder / "serial")
    for name, executor in executors.items():
        run(what, folder / name, executor)
        same_results(folder / name, folder / "serial")


def scope_shapes(what) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the model's tensors that an experiment exchanges, found without weights."""
    model = outline(what)
    return {name: model.shapes[name] for name in model.scope.exchanged}
