"""Run folders read into two tidy frames: one row a round, one row a run."""

import csv
import json
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pydantic import BaseModel, ValidationError

from results.wording import setting, with_words

RUN_COLUMNS = ("run", "name", "task", "metric", "method", "label", "seed", "skip_ratio")
FREE_SETTINGS = ("name", "seed", "engine", "prefix_cache")
"""Settings in which repetitions of one experiment may differ without measuring something else."""
SHARED_SETTINGS = ("corpus", "model", "partition", "cohort", "faults", "rounds")
"""Settings that all runs of one table or figure must share; of `rounds` a run may have stopped early. In all others
variants of one method may differ, and their labels say so."""


class ResultsError(ValueError):
    """Records that cannot be read, or cannot stand in one table or figure; one line that names the file or run."""


@dataclass(frozen=True)
class Runs:
    """Finished runs.

    Attributes:
        rounds: one row a run and round: the columns of ``rounds.csv`` (metrics as fractions, bytes, seconds) behind
            ``run, name, task, metric, method, label, seed, skip_ratio``.
        summaries: one row a run: ``run`` and the entries of ``summary.json``, nested keys joined by ``_``
            (``best_test_f1``, ``bytes_up``, ``parameters_exchanged``).
        folders: where each run was read from, in the order of ``summaries``.
        configs: the resolved experiment of each run, in the same order.
        tested: the SHA-256 of each run's test split, in the same order; None where it is not recorded.
    """

    rounds: pd.DataFrame
    summaries: pd.DataFrame
    folders: list[Path]
    configs: list[dict[str, Any]]
    tested: list[str | None]

    def shared_metric(self) -> str:
        """The metric by which these runs may be compared in one table or figure.

        Runs are comparable when they have one task, metric, corpus, model, partition, cohort, number of rounds and the
        same faults, when those whose corpus has one seed were tested on the same examples, and when runs of one label,
        which `load` gives to runs of equal settings only, have each a seed of its own.

        Raises:
            ResultsError: if they are not, naming two runs that differ and in what.
        """
        first = self.summaries.iloc[0]
        shared = [
            {"task": run["task"], "metric": run["metric"]} | flatten({key: config.get(key) for key in SHARED_SETTINGS})
            for (_, run), config in zip(self.summaries.iterrows(), self.configs, strict=True)
        ]
        for run, other in zip(self.summaries["run"], shared, strict=True):
            if (key := difference(shared[0], other)) is not None:
                raise ResultsError(
                    f"one table or figure needs one {key}: {first['run']} has {shared[0].get(key)!r}, "
                    f"{run} has {other.get(key)!r}; give them apart"
                )
        firsts: dict[str, tuple[str, str]] = {}
        for run, config, digest in zip(self.summaries["run"], self.configs, self.tested, strict=True):
            if digest is not None:
                one, before = firsts.setdefault(_corpus_seed(config), (run, digest))
                if digest != before:
                    raise ResultsError(
                        f"one table or figure needs one test split: {one} and {run} were tested on other examples "
                        "(corpus_sha256 in partition.json), though their settings of the corpus are equal; give them "
                        "apart"
                    )
        for (label, seed), group in self.summaries.groupby(["label", "seed"]):
            if len(group) > 1:
                same = " and ".join(group["run"].iloc[:2])
                raise ResultsError(f"{same} are both {label!r} with seed {seed}; give each seed once")
        return str(first["metric"])


def load(paths: str | Path | Iterable[str | Path]) -> Runs:
    """Read every finished run at or below the given folders.

    A run folder holds ``config.yaml``, ``rounds.csv`` and ``summary.json``. Unfinished runs are skipped with a warning
    that names them; a folder met twice is read once. Where runs of one label differ in more than their seed, such as
    the learning rate, their labels say in what.

    Args:
        paths: a run folder, a folder of run folders (nested to any depth), or several of either.

    Raises:
        ResultsError: if a folder is missing, no finished run is found, or a record is unreadable or cut short.
    """
    roots = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    looked = ", ".join(map(str, roots)) or "no folder given"
    found = list({folder.resolve(): folder for root in roots for folder in _run_folders(root)}.values())
    unfinished = [folder for folder in found if not _is_finished(folder)]
    folders = [folder for folder in found if folder not in unfinished]
    if not folders:
        aside = f" (unfinished: {', '.join(map(str, unfinished))})" if unfinished else ""
        raise ResultsError(
            f"no finished run found; looked in: {looked}{aside}; "
            "a run folder has config.yaml, rounds.csv and summary.json"
        )
    if unfinished:
        warnings.warn(f"skipped unfinished runs: {', '.join(map(str, unfinished))}", stacklevel=2)

    rounds, summaries, configs, tested = zip(*map(_read_run, folders), strict=True)
    of_rounds: pd.DataFrame = pd.concat(rounds, ignore_index=True)
    of_runs: pd.DataFrame = pd.concat(summaries, ignore_index=True)
    of_runs["label"] = _told_apart(list(of_runs["label"]), list(configs))
    of_rounds["label"] = of_rounds["run"].map(dict(zip(of_runs["run"], of_runs["label"], strict=True)))
    return Runs(of_rounds, of_runs, folders, list(configs), list(tested))


def read_json(path: Path) -> Any:
    """One JSON record.

    Raises:
        ResultsError: if the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path}: not readable as JSON, perhaps cut short: {error}") from error


class _Evaluation(BaseModel):
    round: int
    validation: dict[str, float | None]
    test: dict[str, float | None]


class _Bytes(BaseModel):
    up: int
    down: int
    setup: int
    total: int


class _Parameters(BaseModel):
    total: int
    trained: int
    exchanged: int


class _Summary(BaseModel):
    name: str
    seed: int
    task: str
    metric: str
    method: str
    label: str
    skip_ratio: float | None
    depth: int | None = None
    rounds: int
    stopped: bool = False
    final: _Evaluation
    best: _Evaluation
    bytes: _Bytes
    saving: float | None
    saving_denominator: str | None
    parameters: _Parameters
    seconds: float
    peak_memory_mb: float | None


def _corpus_seed(config: dict[str, Any]) -> str:
    """The seed by which a corpus is drawn or split, in which runs of one table may differ; "None" where it has none."""
    corpus = config.get("corpus")
    return str(corpus.get("seed") if isinstance(corpus, dict) else None)


def _told_apart(labels: list[str], configs: list[dict[str, Any]]) -> list[str]:
    """The labels of runs; where some are equal, with the settings in which those runs differ."""
    apart = (*FREE_SETTINGS, *SHARED_SETTINGS)
    settings = [flatten({key: config[key] for key in config if key not in apart}) for config in configs]
    told = []
    for label, own in zip(labels, settings, strict=True):
        group = [other for its, other in zip(labels, settings, strict=True) if its == label]
        keys = [key for key in {key: None for other in group for key in other} if _varies(key, group)]
        words = ", ".join(setting(key, own.get(key)) for key in keys)
        told.append(with_words(label, words) if words else label)
    return told


def _varies(key: str, settings: list[dict[str, Any]]) -> bool:
    return any(other.get(key) != settings[0].get(key) for other in settings)


def _run_folders(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        raise ResultsError(f"{root}: no such folder; expected a run folder or a folder of run folders")
    for folder, children, files in os.walk(root):
        children.sort()
        if "config.yaml" in files and {"rounds.csv", "summary.json", "environment.json"} & set(files):
            children.clear()
            yield Path(folder)


def _is_finished(folder: Path) -> bool:
    if not (folder / "summary.json").is_file():
        return False
    environment = folder / "environment.json"
    if not environment.is_file():
        return True
    record = read_json(environment)
    if not isinstance(record, dict):
        raise ResultsError(f"{environment}: expected an object with the run's status, got {type(record).__name__}")
    return record.get("status") == "finished"


def _read_run(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any], str | None]:
    config = _read_config(folder / "config.yaml")
    record = _read_summary(folder / "summary.json")
    rounds = _read_rounds(folder / "rounds.csv", record)
    summary = pd.json_normalize({"run": str(folder)} | record.model_dump(), sep="_")
    optional = ["skip_ratio", "depth", "saving", "peak_memory_mb"]
    summary[optional] = summary[optional].astype(float)
    tested = _read_test_digest(folder / "partition.json")
    return summary[list(RUN_COLUMNS)].merge(rounds, how="cross"), summary, config, tested


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        line = f", line {mark.line + 1}" if (mark := getattr(error, "problem_mark", None)) else ""
        problem = getattr(error, "problem", None) or "perhaps cut short"
        raise ResultsError(f"{path}{line}: not readable as YAML: {problem}") from error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise ResultsError(f"{path}: not readable as YAML: {type(error).__name__}") from error
    if not isinstance(config, dict):
        raise ResultsError(f"{path}: expected a mapping of settings, got {type(config).__name__}")
    return config


def _read_summary(path: Path) -> _Summary:
    try:
        summary = _Summary.model_validate(read_json(path))
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"])) or "the record"
        got = "" if problem["type"] == "missing" else f", got {problem['input']!r}"
        raise ResultsError(f"{path}: {key}: {problem['msg']}{got}") from error
    for moment in ("final", "best"):
        if getattr(summary, moment).test.get(summary.metric) is None:
            raise ResultsError(f"{path}: {moment}.test has no {summary.metric}, the metric of this run")
    if summary.saving is not None and not summary.saving_denominator:
        raise ResultsError(f"{path}: saving {summary.saving} comes without its saving_denominator")
    return summary


def _read_test_digest(path: Path) -> str | None:
    """The SHA-256 of the test split; None where it is not recorded, as of older runs."""
    record = read_json(path) if path.is_file() else None
    digests = record.get("corpus_sha256") if isinstance(record, dict) else None
    return digests.get("test") if isinstance(digests, dict) else None


def _read_rounds(path: Path, summary: _Summary) -> pd.DataFrame:
    """The rows of ``rounds.csv``; pandas alone would fill a line that was cut short with blanks."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ResultsError(f"{path}: not readable as CSV in UTF-8") from error
    except ValueError as error:
        raise ResultsError(f"{path}: no header line; expected the columns round, bytes_total, ...") from error

    for column in ("round", "bytes_total", "seconds_total", f"test_{summary.metric}"):
        if column not in header:
            raise ResultsError(f"{path}: no column {column}")
    if len(set(header)) < len(header):
        raise ResultsError(f"{path}: two of its {len(header)} columns have the same name")
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ResultsError(f"{path}: line {line} has {len(row)} of {len(header)} columns, perhaps cut short")
    cells = pd.DataFrame(rows, columns=header, dtype=object)
    rounds = cells.apply(pd.to_numeric, errors="coerce")
    for column in header:
        unreadable = rounds[column].isna() & ~cells[column].isin(["", "nan"])
        if unreadable.any():
            index = int(unreadable.argmax())
            raise ResultsError(f"{path}: line {index + 2}, {column}: {cells[column][index]!r} is not a number")
    last = -1 if rounds.empty else int(rounds["round"].max())
    if last < summary.rounds:
        raise ResultsError(f"{path}: ends at round {last}, but summary.json tells of {summary.rounds} rounds")
    return rounds


def flatten(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value, without seeds; of a path only its last part, so that a moved folder stays the same."""
    flat: dict[str, Any] = {}
    for key, value in section.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        elif key == "path" and value is not None:
            flat[f"{prefix}{key}"] = Path(value).name
        elif key != "seed":
            flat[f"{prefix}{key}"] = value
    return flat


def difference(settings: dict[str, Any], other: dict[str, Any]) -> str | None:
    """The first key in which flat settings differ; None where they are equal."""
    return next((key for key in settings | other if settings.get(key) != other.get(key)), None)
