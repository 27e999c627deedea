"""The suite from Python: what the commands run, compare, tune and ablate do, as functions.

    from results import frames, tables
    from simulate.api import compare

    folders = compare("demo", "runs/demo", methods=["layer_skipping", "lora"], overrides=["rounds=5"])
    print(tables.text(tables.comparison(frames.load(folders))))

Settings are a preset or YAML file and `key=value` overrides, exactly as on the command line. Finished runs of the same
settings are kept, so that the same call again continues an interrupted study. What a user may get wrong raises one of
`simulate.errors.USER_ERRORS`, before any training.
"""

import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from baselines import COMPARED
from partitions.statistics import describe
from results.output import write
from simulate import tuning
from simulate.clients.training import DivergenceError
from simulate.config import Experiment, load
from simulate.exchange.aggregation import AggregationError
from simulate.experiment import spread
from simulate.progress import ProgressWatcher
from simulate.replay import Replay
from simulate.replay import replay as redo
from simulate.study import ablation, comparison, run_all


def run(
    source: str | Path, output: str | Path, overrides: Sequence[str] = (), console: Console | None = None
) -> list[Path]:
    """Run one experiment.

    Args:
        source: a preset's name, or the path of a YAML file.
        output: the run folder to write.
        overrides: ``key=value`` settings, such as ``rounds=5`` or ``method.layers=4``.
        console: where progress is shown; by default on standard output.

    Returns:
        The run folder, in a list.
    """
    return simulate({Path(output): load(source, overrides)}, console)


def compare(
    source: str | Path,
    output: str | Path,
    methods: Sequence[str] = COMPARED,
    seeds: Sequence[int] | None = None,
    overrides: Sequence[str] = (),
    console: Console | None = None,
) -> list[Path]:
    """Run several methods, by default `baselines.COMPARED`, under several seeds.

    Args:
        source: a preset's name, or the path of a YAML file.
        output: the folder to write the run folders into.
        methods: names of methods, see `baselines.METHODS`.
        seeds: one run a method and seed; by default the preset's seed.
        overrides: ``key=value`` settings; ``method.KEY=...`` goes to those methods that have the setting,
            ``lora.rank=4`` or ``lora.train.lr=0.01`` to that method alone.
        console: where progress is shown; by default on standard output.

    Returns:
        The run folders, method by method.
    """
    return simulate(comparison(source, methods, seeds, overrides, Path(output)), console)


def tune(
    source: str | Path,
    output: str | Path,
    grid: Mapping[str, Sequence[Any]],
    methods: Sequence[str] = tuple(COMPARED),
    seeds: Sequence[int] | None = None,
    overrides: Sequence[str] = (),
    console: Console | None = None,
) -> pd.DataFrame:
    """Run every method at every point of a grid and keep, per method, the point best on validation.

    Writes ``tuned.yaml``, which takes a preset's place anywhere, ``trials.csv``, and the run folders in ``trials``.
    Warns where a chosen number lies at an edge of its grid.

    Args:
        source: a preset's name, or the path of a YAML file.
        output: the folder to write into.
        grid: setting -> values, such as ``{"train.lr": [1e-3, 2e-3], "lora.rank": [4, 8]}``; keys go to the methods
            that overrides would go to.
        methods: names of methods, see `baselines.METHODS`.
        seeds: one run a point and seed, the same for every method; by default the preset's seed.
        overrides: ``key=value`` settings; ``tuned.yaml`` holds them too.
        console: where progress is shown; by default on standard output.

    Returns:
        The trials, as `simulate.tuning.outcome` and ``trials.csv`` have them.
    """
    folder = Path(output)
    tried = tuning.trials(source, methods, grid, seeds, overrides, folder)
    tolerated = DivergenceError, AggregationError  # too large a learning rate is an answer, too
    simulate({trial.folder: trial.experiment for trial in tried}, console, tolerated)
    table = tuning.outcome(tried)
    chosen = tuning.chosen_values(tried, table)
    write(folder / "tuned.yaml", tuning.as_yaml(source, tuning.tuned(source, overrides, chosen), tried))
    write(folder / "trials.csv", table.to_csv(index=False))
    for edge in tuning.at_edges(tried, chosen):
        warnings.warn(edge, stacklevel=2)
    return table


def ablate(
    source: str | Path,
    output: str | Path,
    skip_ratios: Sequence[float],
    seeds: Sequence[int] | None = None,
    overrides: Sequence[str] = (),
    console: Console | None = None,
) -> list[Path]:
    """Run layer skipping at several skip ratios (frozen layers / all layers) under several seeds.

    Args:
        source: a preset's name, or the path of a YAML file.
        output: the folder to write the run folders into.
        skip_ratios: each in [0, 1]; 0 trains every layer, 1 only the final norm and the head.
        seeds: one run a ratio and seed; by default the preset's seed.
        overrides: ``key=value`` settings.
        console: where progress is shown; by default on standard output.

    Returns:
        The run folders, ratio by ratio.
    """
    return simulate(ablation(source, skip_ratios, seeds, overrides, Path(output)), console)


def partition(source: str | Path, output: str | Path, overrides: Sequence[str] = ()) -> Path:
    """Spread the training examples over clients as a run would; no model is loaded and nothing trained.

    Args:
        source: a preset's name, or the path of a YAML file.
        output: the JSON file to write.
        overrides: ``key=value`` settings, such as ``partition=natural`` or ``partition.alpha=0.1``.

    Returns:
        The file: a record as ``partition.json`` in a run folder (without ``tokens`` and ``corpus_sha256``), for
        `results.curves.partition_figure`.
    """
    experiment = load(source, overrides)
    traits, found = spread(experiment, experiment.corpus.load())
    file = Path(output)
    write(file, json.dumps(describe(found, traits.labels, groups=traits.groups), indent=2) + "\n")
    return file


def replay(folder: str | Path, number: int, client: int, stop: bool = False, console: Console | None = None) -> Replay:
    """Do one client's visit in one round of a run again, in this process, and compare it with its record.

    Args:
        folder: the run folder, of a finished run or not; nothing in it is changed.
        number: of the round, from 1.
        client: of that round's cohort.
        stop: stop in the debugger just before the visit.
        console: where progress is shown, line by line; by default on standard output.

    Returns:
        The visit's row of ``clients.csv`` as it is now, and as it was recorded.
    """
    if console is None:
        console = Console(force_terminal=False, force_jupyter=False)  # a debugger could not share it with a bar
    with ProgressWatcher(console, 1, number - 1) as watcher:
        return redo(Path(folder), number, client, watcher, stop)


def simulate(
    runs: Mapping[Path, Experiment],
    console: Console | None = None,
    tolerated: tuple[type[Exception], ...] = (),
) -> list[Path]:
    """Run experiments, each into its folder.

    Args:
        runs: run folder -> experiment, as `simulate.config.load` gives it.
        console: where progress is shown; by default on standard output.
        tolerated: errors that leave a run unfinished, but do not end the others.

    Returns:
        The run folders.
    """
    if console is None:  # a notebook asks for colour as a terminal would, but cannot redraw a bar
        console = Console(force_terminal=sys.stdout.isatty(), force_jupyter=False)
    with ProgressWatcher(console, len(runs), sum(experiment.rounds for experiment in runs.values())) as watcher:
        run_all(runs, watcher, tolerated)
    return list(runs)
