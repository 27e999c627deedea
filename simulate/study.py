"""Several runs that belong together: methods x seeds, or skip ratios x seeds, one run folder each."""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from baselines import METHODS
from results.frames import SHARED_SETTINGS, difference, flatten
from simulate.config import ConfigError, Experiment, load, part, shown
from simulate.engine.executors import Executor, bounded, check_engine, processors, resolve_device, workers_wanted
from simulate.engine.make import make_executor
from simulate.engine.records import RecordedRun, check_free, check_unused, environment, state_of, tidy
from simulate.engine.rounds import Round
from simulate.engine.shared import sweep
from simulate.experiment import forget_corpora, prepare, read_corpus, require_same, require_same_sources, run
from simulate.plan import outline, room, with_estimate, workers_in_words
from simulate.registry import suggest

SECTIONS = tuple(name for name in Experiment.model_fields if name != "parts")
OWN_SECTIONS = ("train", "aggregation", "server", "evaluate")
"""Sections, beside `method`, of which one method of a comparison may have settings of its own."""


class Watcher(Protocol):
    """Whoever shows the progress of a study."""

    def begin(self, folder: Path, experiment: Experiment) -> None: ...
    def note(self, text: str) -> None: ...
    def round(self, experiment: Experiment, round_: Round) -> None: ...
    def skip(self, folder: Path, experiment: Experiment) -> None: ...


def comparison(
    source: str | Path, methods: Sequence[str], seeds: Sequence[int] | None, overrides: Sequence[str], folder: Path
) -> dict[Path, Experiment]:
    """The runs of a comparison: every method under every seed, as run folder -> experiment.

    Overrides go to the methods that they are for, see `fitting`.

    Args:
        source: a preset or YAML file.
        methods: names of methods.
        seeds: of the runs; None takes the preset's.
        overrides: `key=value` strings.
        folder: where the run folders go.

    Raises:
        ConfigError: if a setting is wrong, no method has an overridden setting, or the methods' own settings differ in
            what one table or figure must share.
    """
    refuse(overrides, {"seed": "--seeds", "method": "--methods", "method.name": "--methods"})
    runs = {
        folder / f"{method}-seed{seed}": load(source, [*settings, f"seed={seed}"], method)
        for method, settings in fitting(overrides, methods).items()
        for seed in seeds or [load(source, settings, method).seed]
    }
    _require_one_table(runs)
    return runs


def _require_one_table(runs: Mapping[Path, Experiment]) -> None:
    """Refuse runs that could not stand in one table or figure when they are done."""
    shared = {
        folder.name: flatten({key: experiment.resolved()[key] for key in SHARED_SETTINGS})
        for folder, experiment in runs.items()
    }
    (first, settings), *others = shared.items()
    for name, other in others:
        if (key := difference(settings, other)) is not None:
            raise ConfigError(
                f"a comparison needs one {key}: {first} has {shown(settings.get(key))}, {name} {shown(other.get(key))}"
            )


def ablation(
    source: str | Path,
    skip_ratios: Sequence[float],
    seeds: Sequence[int] | None,
    overrides: Sequence[str],
    folder: Path,
) -> dict[Path, Experiment]:
    """The runs of an ablation of layer skipping: every skip ratio under every seed.

    Ratios that give the same number of trained layers are one run; its records hold the ratio of that number.

    Raises:
        ConfigError: if a setting is wrong.
    """
    refuse(
        overrides,
        {
            "seed": "--seeds",
            "method": "",
            "method.name": "",
            "method.layers": "--skip-ratios",
            "method.skip_ratio": "--skip-ratios",
        },
    )
    settings = [load(source, [*overrides, f"method.skip_ratio={ratio}"], "layer_skipping") for ratio in skip_ratios]
    depth = len(outline(settings[0]).structure.blocks)
    layers = dict.fromkeys(setting.method.trained_layers(depth) for setting in settings)
    return {
        folder / f"layers{count}-seed{seed}": load(
            source, [*overrides, f"method.layers={count}", f"seed={seed}"], "layer_skipping"
        )
        for count in layers
        for seed in seeds or [settings[0].seed]
    }


def run_all(runs: Mapping[Path, Experiment], watcher: Watcher, tolerated: tuple[type[Exception], ...] = ()) -> None:
    """Run what has not been run yet, on one set of workers.

    A folder that holds a finished run of the same experiment is kept, one that was interrupted goes on from its last
    checkpoint: the same command again continues a study. A run that fails with a tolerated error is noted and left
    unfinished.

    Raises:
        RunFolderError: if a folder holds anything else, cannot be written, or another process writes it.
        ConfigError, CorpusError, EngineError, MethodError, ModelError, PartitionError: if an experiment cannot be run.
        All of these before any training, but for what only loaded weights tell.
    """
    states = {folder: state_of(folder, experiment.resolved()) for folder, experiment in runs.items()}
    executor: Executor | None = None
    try:
        rooms = _check(runs, states)
        for folder, experiment in runs.items():
            if state_of(folder, experiment.resolved()) == "finished":
                tidy(folder)
                sweep()  # its last process may have been killed when all was written
                watcher.skip(folder, experiment)
                continue
            prepared = prepare(experiment)
            notes = prepared.long()
            if executor is None or executor.settings != experiment.engine:
                if executor is not None:
                    executor.close()
                executor = make_executor(experiment.engine, min(rooms.values(), default=None))
                notes += _short_of_room(executor, rooms)
            watcher.begin(folder, experiment)
            for line in notes:
                watcher.note(line)
            try:
                with with_estimate(experiment):
                    run(prepared, folder, executor, partial(watcher.round, experiment))
            except tolerated as error:
                watcher.note(f"left unfinished: {error}")
    finally:
        forget_corpora()
        if executor is not None:
            executor.close()


def _short_of_room(executor: Executor, rooms: Mapping[Path, int]) -> list[str]:
    """What to say where memory decided how many workers there are.

    Args:
        rooms: workers that there is room for in each run that has been checked.
    """
    settings = executor.settings
    wanted = workers_wanted(settings, executor.device, processors(executor.device))
    if not rooms or settings.address or executor.workers >= wanted:
        return []
    most = min(rooms, key=rooms.__getitem__)
    number = workers_in_words(executor.workers)
    return [
        f"{number}: by skipfl plan the memory has room for no more ({most.name}); engine.workers sets another number"
    ]


def _check(runs: Mapping[Path, Experiment], states: Mapping[Path, str]) -> dict[Path, int]:
    """Find what is wrong with experiments before the first of them is trained.

    Returns:
        Workers that this machine's memory has room for, of each run to do whose workers fill it.
    """
    for folder in runs:
        if states[folder] == "new":
            check_free(folder)
        if states[folder] == "interrupted":
            check_unused(folder)
    to_do = {folder: experiment for folder, experiment in runs.items() if states[folder] != "finished"}
    outlines = {
        folder: outline(experiment, lambda reader: reader.describe(partial(read_corpus, reader)))
        for folder, experiment in to_do.items()
    }
    drawn = {(each.corpus, each.model, each.partition, each.seed): each for each in to_do.values()}
    for experiment in drawn.values():
        prepare(experiment)
    for engine in {each.engine for each in to_do.values()}:
        check_engine(engine)
    for folder, experiment in runs.items():
        if states[folder] == "interrupted":
            require_same(prepare(experiment), folder, resolve_device(experiment.engine.device))
        elif states[folder] == "finished" and to_do:  # those that are kept shall compare with those that follow
            require_same_sources(prepare(experiment), folder)
    kept = {folder: each for folder, each in runs.items() if folder not in to_do}
    if kept and to_do:
        _tell_other_versions(kept)
    return {
        folder: room(outlines[folder], experiment)
        for folder, experiment in to_do.items()
        if bounded(experiment.engine, resolve_device(experiment.engine.device))
    }


def _tell_other_versions(kept: Mapping[Path, Experiment]) -> None:
    """Warn, once, of finished runs that were made elsewhere than those that shall stand beside them."""
    here = environment()
    found: dict[str, list[Path]] = {}
    for folder, experiment in kept.items():
        device = {"device": resolve_device(experiment.engine.device)}
        changed = RecordedRun(folder, experiment.resolved()).other_versions(here | device)
        found.setdefault(changed, []).append(folder)
    found.pop("", None)
    if found:
        told = [
            f"{first}{f' and {len(more)} more' * bool(more)} with other {how}" for how, (first, *more) in found.items()
        ]
        warnings.warn(
            f"finished before and kept, but made elsewhere than the runs that follow: {', '.join(told)}; "
            "the last bits of results may differ for it",
            stacklevel=2,
        )


def fitting(overrides: Sequence[str], methods: Sequence[str]) -> dict[str, list[str]]:
    """Method -> the overrides that are for it, with their full keys; those for it alone come last and so count.

    `method.KEY=...` is for those methods that have the setting, `NAME.KEY=...` for the method NAME alone (`own`).

    Raises:
        ConfigError: if there is no such method, or none of those that an override is for has the setting.
    """
    fields = {method: set(part("method", method).model_fields) for method in methods}
    found: dict[str, list[str]] = {method: [] for method in methods}
    for override in sorted(overrides, key=lambda override: own(override)[0] is not None):
        name, setting = own(override)
        key, full = override.partition("=")[0], method_key(setting)
        if name is None and "." in key and key.split(".")[0] not in SECTIONS:
            raise ConfigError(f"unknown key {key}{suggest(key.split('.')[0], [*SECTIONS, *METHODS])}")
        if name not in (None, *methods):
            raise ConfigError(f"{key}: {name} is not among the methods here ({', '.join(methods)})")
        addressed = methods if name is None else [name]
        having = [method for method in addressed if full is None or full in fields[method]]
        if not having:
            known = sorted({f"{name or 'method'}.{field}" for method in addressed for field in fields[method]})
            whose = "" if name else f" for {', '.join(methods)}"
            raise ConfigError(f"unknown key {key}{whose}{suggest(key, known, ' and '.join(addressed))}")
        for method in having:
            found[method].append(setting)
    return found


def own(override: str) -> tuple[str | None, str]:
    """The method that `NAME.KEY=value` is for, None where it is for all, and the setting with its full key.

    KEY is a setting of the method, or begins with one of `OWN_SECTIONS`: `lora.rank=4`, `lora.train.lr=0.01`.
    """
    name, _, setting = override.partition(".")
    if name not in METHODS:
        return None, override
    section = setting.partition("=")[0].split(".")[0]
    return name, setting if section in OWN_SECTIONS else f"method.{setting}"


def method_key(setting: str) -> str | None:
    """KEY of `method.KEY=value`."""
    key = setting.partition("=")[0]
    return key.removeprefix("method.") if key.startswith("method.") else None


def refuse(overrides: Sequence[str], options: Mapping[str, str]) -> None:
    """Refuse overrides of what a study varies or fixes; `options` says for each key what to give instead."""
    for override in overrides:
        if (key := override.partition("=")[0]) in options:
            instead = f"; give {options[key]} instead" if options[key] else ""
            raise ConfigError(f"override {override!r}: {key} is what this study varies or fixes{instead}")
