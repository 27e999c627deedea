"""The suite from Python: what the commands run, compare and ablate do, as functions that give back run folders.

    from results import frames, tables
    from simulate.api import compare

    folders = compare("demo", "runs/demo", methods=["layer_skipping", "lora"], overrides=["rounds=5"])
    print(tables.text(tables.comparison(frames.load(folders))))

Settings are a preset or YAML file and `key=value` overrides, exactly as on the command line. Finished runs of the same
settings are kept, so that the same call again continues an interrupted study. What a user may get wrong raises one of
`simulate.errors.USER_ERRORS`, before any training.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from baselines import METHODS
from partitions.statistics import describe
from simulate.config import Experiment, load
from simulate.engine.records import write_json
from simulate.experiment import spread
from simulate.progress import ProgressWatcher
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
    methods: Sequence[str] = tuple(METHODS),
    seeds: Sequence[int] | None = None,
    overrides: Sequence[str] = (),
    console: Console | None = None,
) -> list[Path]:
    """Run several methods, by default all, under several seeds.

    Args:
        source: a preset's name, or the path of a YAML file.
        output: the folder to write the run folders into.
        methods: names of methods, see `baselines.METHODS`.
        seeds: one run a method and seed; by default the preset's seed.
        overrides: ``key=value`` settings; ``method.KEY=...`` goes to those methods that have the setting.
        console: where progress is shown; by default on standard output.

    Returns:
        The run folders, method by method.
    """
    return simulate(comparison(source, methods, seeds, overrides, Path(output)), console)


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
        The file: a record as ``partition.json`` in a run folder (without ``tokens``, which need a tokenizer), for
        `results.curves.partition_figure`.
    """
    experiment = load(source, overrides)
    traits, found = spread(experiment, experiment.corpus.load())
    file = Path(output)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, describe(found, traits.labels, groups=traits.groups))
    return file


def simulate(runs: Mapping[Path, Experiment], console: Console | None = None) -> list[Path]:
    """Run experiments, each into its folder.

    Args:
        runs: run folder -> experiment, as `simulate.config.load` gives it.
        console: where progress is shown; by default on standard output.

    Returns:
        The run folders.
    """
    if console is None:  # a notebook asks for colour as a terminal would, but cannot redraw a bar
        console = Console(force_terminal=sys.stdout.isatty(), force_jupyter=False)
    with ProgressWatcher(console, len(runs), sum(experiment.rounds for experiment in runs.values())) as watcher:
        run_all(runs, watcher)
    return list(runs)
