"""Tables over runs: numbers first (a tidy frame), wording second (text cells and footnotes)."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from results import statistics
from results.frames import ResultsError, Runs
from results.wording import byte_count, denominators, metric_name

NOTHING = "–"

INTERVAL = "95 % interval"
"""Of a mean over seeds, Student's t."""


def comparison(runs: Runs) -> pd.DataFrame:
    """One row a label, its seeds averaged; the costliest to communicate first, methods that send nothing last.

    Columns: ``label, method, metric, skip_ratio, seeds`` (number of runs); ``best_test`` (test metric at the round
    that is best on validation) and ``final_test`` (at the last round), in percent, each with ``_sd`` (NaN for one
    seed), ``_low`` and ``_high`` (95 % t-interval); ``bytes_total`` (up + down, all clients and rounds, without
    set-up), ``bytes_setup``; ``saving`` in percent (NaN where nothing is sent) and ``saving_denominator``;
    ``seconds``; ``peak_memory_mb`` (the largest over seeds); ``evaluated``: when the best round is looked for.

    Raises:
        ResultsError: if the runs are not comparable (see `Runs.shared_metric`).
    """
    metric = runs.shared_metric()
    summaries = runs.summaries.assign(evaluated=[_evaluated(config) for config in runs.configs])
    rows = pd.DataFrame([_row(group, metric) for _, group in summaries.groupby("label")])
    return rows.sort_values(["bytes_total", "label"], ascending=[False, True], ignore_index=True)


def ablation(runs: Runs) -> pd.DataFrame:
    """The rows of `comparison` whose method skips layers, by rising skip ratio: quality and bytes against the ratio.

    Raises:
        ResultsError: if no run has a skip ratio, or the runs are not comparable.
    """
    rows = comparison(runs).dropna(subset=["skip_ratio"])
    if rows.empty:
        raise ResultsError(f"an ablation needs runs with a skip_ratio; none of {len(runs.folders)} runs has one")
    return rows.sort_values(["skip_ratio", "label"], ignore_index=True)


def formatted(rows: pd.DataFrame) -> pd.DataFrame:
    """The cells of `comparison` or `ablation` as text under printed headings; the first column is the row's name.

    The skip ratio is printed where every row has one.
    """
    metric = metric_name(rows["metric"].iloc[0])
    columns: dict[str, Callable[[Any], str]] = {"Method": lambda row: row.label}
    if rows["skip_ratio"].notna().all():
        columns["Skip ratio"] = lambda row: f"{row.skip_ratio:.3g}"
    columns |= {
        f"Test {metric}, best (%)": lambda row: with_spread(row.best_test, row.best_test_sd),
        f"Test {metric}, final (%)": lambda row: with_spread(row.final_test, row.final_test_sd),
        "Sent": lambda row: byte_count(row.bytes_total) if row.bytes_total else NOTHING,
        "Set-up": lambda row: byte_count(row.bytes_setup) if row.bytes_setup else NOTHING,
        "Saving": lambda row: _percent(row.saving),
        "Time (s)": lambda row: f"{row.seconds:.0f}" if row.seconds >= 10 else f"{row.seconds:.1f}",
        "Peak memory": lambda row: NOTHING if pd.isna(row.peak_memory_mb) else byte_count(row.peak_memory_mb * 1e6),
        "Seeds": lambda row: str(row.seeds),
    }
    return pd.DataFrame({heading: [cell(row) for row in rows.itertuples()] for heading, cell in columns.items()})


def footnotes(rows: pd.DataFrame) -> list[str]:
    """What the columns of `formatted` mean, with the denominator of every saving."""
    metric = metric_name(rows["metric"].iloc[0])
    over_seeds = ", mean ± standard deviation over seeds" if (rows["seeds"] > 1).any() else ""
    notes = [
        f"Test {metric}{over_seeds}. Best: at the round with the best validation {metric}; final: at the last round."
    ]
    if (rows["bytes_total"] > 0).any():
        notes.append(
            "Sent: bytes up + down, all clients and rounds (1 MB = 1e6 bytes), without the one-off set-up transfer."
        )
    notes += [*denominators(rows), "Time: local training and aggregation, without evaluation."]
    if (rows["bytes_total"] == 0).any():
        notes.append(f"{NOTHING} under Sent: the method sends nothing, so there is no saving to state.")
    return notes + evaluation_notes(rows)


def evaluation_notes(rows: pd.DataFrame) -> list[str]:
    """Which methods were evaluated more often than others, and so had more rounds to choose the best from."""
    if rows["evaluated"].nunique() < 2:
        return []
    groups = rows.groupby("evaluated", sort=False)["label"].agg(list)
    most, *others = groups.sort_values(key=lambda labels: -labels.map(len), kind="stable").items()
    said = "; ".join(f"{' and '.join(labels)}: {often}" for often, labels in others)
    return [f"Evaluated {most[0]}, but {said}. Who is evaluated less often has fewer rounds to choose the best from."]


def text(rows: pd.DataFrame) -> str:
    """`formatted` as a Markdown table, then the footnotes, one a line."""
    return "\n".join([markdown(formatted(rows)), "", *footnotes(rows)])


def markdown(cells: pd.DataFrame) -> str:
    """Cells of text as a Markdown table with aligned columns, the first to the left."""
    lines = [[str(heading) for heading in cells], *cells.to_numpy().tolist()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = [
        [
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    rules = [f"{'-' * (width + 1)}:" if i else f":{'-' * (width + 1)}" for i, width in enumerate(widths)]
    heading, *body = [f"| {' | '.join(line)} |" for line in aligned]
    return "\n".join([heading, f"|{'|'.join(rules)}|", *body])


def _row(group: pd.DataFrame, metric: str) -> dict[str, Any]:
    first = group.iloc[0]
    row = {key: first[key] for key in ("label", "method")} | {"metric": metric}
    row |= {"skip_ratio": first["skip_ratio"], "seeds": len(group)}
    for moment in ("best", "final"):
        percent = group[f"{moment}_test_{metric}"] * 100
        low, high = statistics.confidence_interval(percent)
        row |= {
            f"{moment}_test": statistics.mean(percent),
            f"{moment}_test_sd": statistics.standard_deviation(percent),
            f"{moment}_test_low": low,
            f"{moment}_test_high": high,
        }
    return row | {
        "bytes_total": statistics.mean(group["bytes_up"] + group["bytes_down"]),
        "bytes_setup": statistics.mean(group["bytes_setup"]),
        "saving": statistics.mean(group["saving"] * 100),
        "saving_denominator": first["saving_denominator"],
        "seconds": statistics.mean(group["seconds"]),
        "peak_memory_mb": group["peak_memory_mb"].max(),
        "evaluated": first["evaluated"],
    }


def _evaluated(config: Mapping[str, Any]) -> str:
    """How often a run was evaluated, and whether it could stop early, in words."""
    settings = config.get("evaluate") or {}
    every, patience, rounds = settings.get("every", 1), settings.get("patience"), config.get("rounds", math.inf)
    often = "every round" if every == 1 else "after the last round" if every >= rounds else f"every {every} rounds"
    return f"{often}, stopped after {patience} without a better one" if patience else often


def _percent(saving: float) -> str:
    rounded = round(saving, 1) + 0.0  # no "-0.0" where a header's few bytes exceed the denominator
    return NOTHING if pd.isna(saving) else f"{rounded:.1f} %".replace("-", "−")


def with_interval(mean: str, low: float, high: float, words: Callable[[float], str] = "{:.1f}".format) -> str:
    """A printed mean with the ends of its interval, not below 0, if it has one: "12.0 [10.5, 13.5]"."""
    return mean if pd.isna(low) else f"{mean} [{words(max(0.0, low))}, {words(high)}]"


def with_spread(percent: float, deviation: float) -> str:
    """Mean ± standard deviation, to a tenth; the mean alone where there is no spread to state, "–" for nothing."""
    if pd.isna(percent):
        return NOTHING
    return f"{percent:.1f}" if pd.isna(deviation) else f"{percent:.1f} ± {deviation:.1f}"
