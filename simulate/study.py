"""Several runs that belong together: methods x seeds, or skip ratios x seeds, one run folder each."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import yaml

from simulate.config import ConfigError, Experiment, load
from simulate.engine.executors import Executor, make_executor
from simulate.engine.records import check_free
from simulate.engine.server import Round
from simulate.experiment import prepare, run


class Watcher(Protocol):
    """Whoever shows the progress of a study."""

    def begin(self, folder: Path, experiment: Experiment) -> None: ...
    def round(self, experiment: Experiment, round_: Round) -> None: ...
    def skip(self, folder: Path, experiment: Experiment) -> None: ...


def comparison(
    source: str | Path, methods: Sequence[str], seeds: Iterable[int], overrides: Sequence[str], folder: Path
) -> dict[Path, Experiment]:
    """The runs of a comparison: every method under every seed, as run folder -> experiment.

    A `method.KEY=...` override goes to those methods that have the setting.

    Raises:
        ConfigError: if a setting is wrong, or no method has an overridden setting.
    """
    runs = {}
    refused: dict[str, set[str]] = {}
    for method in methods:
        fitting = []
        for override in overrides:
            try:
                load(source, [override], method)
            except ConfigError as error:
                if not override.startswith("method."):
                    raise
                refused.setdefault(override, set()).add(str(error))
            else:
                fitting.append(override)
        for seed in seeds:
            runs[folder / f"{method}-seed{seed}"] = load(source, [*fitting, f"seed={seed}"], method)
    for override, errors in refused.items():
        if len(errors) == len(methods):
            raise ConfigError(f"{override}: no method takes it ({'; '.join(sorted(errors))})")
    return runs


def ablation(
    source: str | Path, skip_ratios: Sequence[float], seeds: Iterable[int], overrides: Sequence[str], folder: Path
) -> dict[Path, Experiment]:
    """The runs of an ablation of layer skipping: every skip ratio under every seed."""
    return {
        folder / f"skip{ratio:g}-seed{seed}": load(
            source, [*overrides, f"method.skip_ratio={ratio}", f"seed={seed}"], "layer_skipping"
        )
        for ratio in skip_ratios
        for seed in seeds
    }


def run_all(runs: Mapping[Path, Experiment], watcher: Watcher) -> None:
    """Run what has not been run yet, on one set of workers.

    A folder that holds a finished run of the same experiment is kept, so that the same command again continues a study
    that was interrupted between runs.

    Raises:
        RunFolderError: if a folder holds anything else; before any training.
    """
    finished = {folder for folder, experiment in runs.items() if _finished(folder, experiment)}
    for folder in runs:
        if folder not in finished:
            check_free(folder)
    executor: Executor | None = None
    try:
        for folder, experiment in runs.items():
            if folder in finished:
                watcher.skip(folder, experiment)
                continue
            prepared = prepare(experiment)
            if executor is None or executor.settings != experiment.engine:
                if executor is not None:
                    executor.close()
                executor = make_executor(experiment.engine)
            watcher.begin(folder, experiment)
            run(prepared, folder, executor, partial(watcher.round, experiment))
    finally:
        if executor is not None:
            executor.close()


def _finished(folder: Path, experiment: Experiment) -> bool:
    config = folder / "config.yaml"
    return (
        (folder / "summary.json").is_file()
        and config.is_file()
        and (yaml.safe_load(config.read_text()) == experiment.resolved())
    )
