"""Tuning: every method gets the same grid and budget, and keeps the point that is best on validation.

A key that only some methods have gives them more trials than others, and the file of the tuned settings says so.

The test split is recorded, never used. Trials are ordinary runs in `trials/` of the output folder; finished ones are
kept, so that the same command continues, and one with a wider grid adds what is missing.
"""

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from results import frames
from simulate.config import ConfigError, Experiment, from_yaml, load, merge, nested, parse_overrides, read
from simulate.study import fitting, method_key, own, refuse

TUNABLE = ("train", "method", "aggregation", "server")
"""Sections whose settings may differ between the methods of one comparison."""

BUDGET = (
    "rounds",
    "cohort.count",
    "cohort.fraction",
    *(f"train.{key}" for key in ("local_epochs", "local_steps", "batch_size", "batch_tokens", "partial_work")),
)
"""Settings that say how much a trial may train."""


@dataclass(frozen=True)
class Trial:
    """One run of the grid.

    Attributes:
        values: grid key -> value, for the keys that the method has.
        point: the method with the values, as the name of the run folder has it before the seed.
    """

    method: str
    values: dict[str, Any]
    point: str
    seed: int
    folder: Path
    experiment: Experiment


def read_grid(texts: Sequence[str]) -> dict[str, list[Any]]:
    """``["train.lr=1e-3,2e-3", "method.rank=4,8"]`` as key -> values; the values are YAML.

    Raises:
        ConfigError: if one is not ``key=value,value``, is empty, or a key comes twice.
    """
    grid: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        parsed = from_yaml(f"[{values}]", f"--grid {text!r}")
        if not equals or not key or not parsed or None in parsed:
            raise ConfigError(f"--grid {text!r}: expected key=value,value, such as train.lr=1e-3,2e-3")
        if key in grid:
            raise ConfigError(f"--grid {text!r}: {key} is given twice; list all its values once")
        grid[key] = parsed
    return grid


def trials(
    source: str | Path,
    methods: Sequence[str],
    grid: Mapping[str, Sequence[Any]],
    seeds: Sequence[int] | None,
    overrides: Sequence[str],
    folder: Path,
) -> list[Trial]:
    """Every method at every point of the grid under every seed; equal points are one.

    Keys of the grid go to the methods that they are for, as overrides do, see `simulate.study.fitting`.

    Raises:
        ConfigError: if the grid is empty, or a key or value is wrong; if the methods would not have equal budgets.
    """
    if not grid or not all(grid.values()):
        raise ConfigError("the grid is empty: give values to choose from, such as train.lr=1e-3,2e-3")
    refuse(overrides, {"seed": "--seeds", "method": "--methods", "method.name": "--methods"})
    for key in grid:
        full = own(key)[1]
        if full.endswith(".name") or full.split(".")[0] not in TUNABLE or "." not in full:
            instead = {"seed": "; give --seeds instead", "method": "; give --methods instead"}.get(key, "")
            raise ConfigError(f"grid key {key}: only settings of {', '.join(TUNABLE)} are tuned{instead}")
    points = fitting([f"{key}={place}" for place, key in enumerate(grid)], methods)
    found: dict[Path, Trial] = {}
    for method, settings in fitting(overrides, methods).items():
        chosen = dict(setting.split("=") for setting in points[method])
        refuse(settings, dict.fromkeys(chosen, "the grid alone"))
        for point in itertools.product(*(list(grid.values())[int(place)] for place in chosen.values())):
            values = [f"{key}={json.dumps(value)}" for key, value in zip(chosen, point, strict=True)]
            for seed in seeds or [load(source, settings, method).seed]:
                trial = _trial(load(source, [*settings, *values, f"seed={seed}"], method), list(chosen), folder)
                found.setdefault(trial.folder, trial)
    _require_equal_budgets(list(found.values()))
    return list(found.values())


def outcome(tried: Sequence[Trial]) -> pd.DataFrame:
    """What the trials gave and which point each method keeps, read from the run folders; one row a trial.

    Columns: ``method``, the keys of the grid (empty where a method lacks the setting), ``seed, metric``; ``validation``
    and ``test`` in percent at ``best_round``, the round best on validation; ``bytes_total`` (up + down), ``seconds``;
    ``chosen``. A trial that diverged has no numbers, and its point is never chosen. Of equal points the first is.

    Raises:
        ConfigError: if all points of a method diverged.
    """
    finished = [trial.folder for trial in tried if (trial.folder / "summary.json").is_file()]
    summaries: dict[Path, Mapping[Any, Any]] = {}
    if finished:
        runs = frames.load(finished)
        summaries = dict(zip(runs.folders, runs.summaries.to_dict("records"), strict=True))
    frame = pd.DataFrame([{**_row(trial, summaries.get(trial.folder)), "point": trial.point} for trial in tried])
    quality = frame.groupby(["method", "point"], sort=False)["validation"].agg(lambda values: values.mean(skipna=False))
    for method, points in quality.groupby("method", sort=False):
        if points.isna().all():
            raise ConfigError(f"{method} diverged at every point of the grid: give smaller values of train.lr")
    best = {point for _, point in quality.groupby("method", sort=False).idxmax()}
    keys = list(dict.fromkeys(key for trial in tried for key in trial.values))
    order = ["method", *keys, "seed", "metric", "validation", "test", "best_round", "bytes_total", "seconds"]
    return frame.assign(chosen=frame["point"].isin(best))[[*order, "chosen"]]


def chosen_values(tried: Sequence[Trial], table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Method -> the values it keeps, from the trials and their `outcome`."""
    return {trial.method: trial.values for trial, kept in zip(tried, table["chosen"], strict=True) if kept}


def at_edges(tried: Sequence[Trial], chosen: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A sentence for each chosen number that is the smallest or largest of those tried: a better one may lie beyond."""
    for method, values in chosen.items():
        for key, value in values.items():
            others = {trial.values[key] for trial in tried if trial.method == method and _is_number(trial.values[key])}
            if len(others) > 1 and value in (min(others), max(others)):
                side = "smallest" if value == min(others) else "largest"
                yield f"{method}: the best {key} is {value:g}, the {side} of its grid; extend the grid on that side"


def tuned(source: str | Path, overrides: Sequence[str], chosen: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The settings of a source and overrides as plain data, with each method's chosen values in `per_method`."""
    general = [override for override in overrides if own(override)[0] is None and method_key(override) is None]
    fit = fitting(overrides, list(chosen))
    base = read(source)
    per_method = base.pop("per_method", {})
    data = {"name": Path(source).stem, **merge(base, parse_overrides(general))}
    data["per_method"] = {}
    for method in dict.fromkeys([*per_method, *chosen]):
        before = dict(per_method.get(method, {}))
        changes = parse_overrides(fit.get(method, general))
        laid = _flat(merge(merge(nested(before, source), changes), nested(chosen.get(method, {}), "grid")))
        alone = parse_overrides([setting for name, setting in map(own, overrides) if name == method])
        kept = {*before, *_flat(alone), *chosen.get(method, {})}
        data["per_method"][method] = {
            key: value for key, value in laid.items() if key in kept or key.startswith("method.")
        }
    return data


def as_yaml(source: str | Path, data: Mapping[str, Any], tried: Sequence[Trial]) -> str:
    """The file of `tuned` settings, headed by how they came about."""
    grid, methods = _grids(tried), {trial.method for trial in tried}
    seeds = ", ".join(map(str, dict.fromkeys(trial.seed for trial in tried)))
    head = [f"# {Path(source).stem}, tuned: per method the point of this grid best on validation, seeds {seeds}"]
    for key, tried_by in grid.items():
        for values in {str(values): values for values in tried_by.values()}.values():
            whose = [method for method, its in tried_by.items() if its == values]
            names = "" if len(whose) == len(methods) else f" ({', '.join(whose)})"
            head.append(f"#     {key}{names}: {', '.join(map(str, values))}")
    counts = Counter(trial.method for trial in tried)
    if len(set(counts.values())) > 1:
        head.append(f"#     trials: {', '.join(f'{method} {count}' for method, count in counts.items())}")
    return "\n".join([*head, yaml.safe_dump(dict(data), sort_keys=False, default_flow_style=None, width=120)])


def _grids(tried: Sequence[Trial]) -> dict[str, dict[str, list[Any]]]:
    """Key -> method -> the values that it tries."""
    grid: dict[str, dict[str, list[Any]]] = {}
    for trial in tried:
        for key, value in trial.values.items():
            if value not in (values := grid.setdefault(key, {}).setdefault(trial.method, [])):
                values.append(value)
    return grid


def _trial(experiment: Experiment, keys: Sequence[str], folder: Path) -> Trial:
    method, settings = experiment.parts["method"], _flat(experiment.resolved())
    values = {key: settings[key] for key in keys}
    words = [method, *(f"{key.split('.')[-1]}{value}" for key, value in values.items())]
    point = "-".join(re.sub(r"[^\w.+-]+", "_", word) for word in words)
    path = folder / "trials" / f"{point}-seed{experiment.seed}"
    return Trial(method, values, point, experiment.seed, path, experiment)


def _require_equal_budgets(tried: Sequence[Trial]) -> None:
    """Refuse methods that see unlike amounts of data, but for what the grid varies for all of them alike."""
    first, methods = tried[0], {trial.method for trial in tried}
    alike = {
        key
        for key, tried_by in _grids(tried).items()
        if tried_by.keys() == methods and all(values == tried_by[first.method] for values in tried_by.values())
    }
    theirs = _flat(first.experiment.resolved())
    for trial in tried:
        own = _flat(trial.experiment.resolved())
        for key in BUDGET:
            if own[key] != theirs[key] and key not in alike:
                raise ConfigError(
                    f"{key} of {first.method} and {trial.method} differ ({theirs[key]}; {own[key]}): "
                    "methods are tuned with equal budgets"
                )


def _row(trial: Trial, summary: Mapping[Any, Any] | None) -> dict[str, Any]:
    row = {"method": trial.method, **trial.values, "seed": trial.seed}
    if summary is None:
        return row | {"validation": math.nan}
    metric = summary["metric"]
    return row | {
        "metric": metric,
        "validation": summary[f"best_validation_{metric}"] * 100,
        "test": summary[f"best_test_{metric}"] * 100,
        "best_round": summary["best_round"],
        "bytes_total": summary["bytes_up"] + summary["bytes_down"],
        "seconds": summary["seconds"],
    }


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
