"""Cost to a target: bytes, rounds and seconds until a method first does as well as a share of centralized training."""

import math
from collections.abc import Callable
from typing import Literal

import pandas as pd

from results import statistics, tables
from results.budgets import best_rounds
from results.frames import ResultsError, Runs
from results.wording import byte_count, metric_name

COSTS = ("round", "bytes_total", "seconds_total")


def cost_to_target(
    runs: Runs, percent: float = 95, split: Literal["validation", "test"] = "validation"
) -> pd.DataFrame:
    """One row a label, its seeds averaged, labels in the order of `results.tables.comparison`.

    The target is ``percent`` % of what centralized training reaches on the split at its round best on validation, mean
    over its seeds. A method has reached it at its first evaluated round with at least that.

    Columns: ``label, method, metric, split, percent, target`` (in percent of the metric), ``seeds, reached`` (how many
    of them reach it); ``round, bytes_total, seconds_total``, each with ``_sd``, ``_low`` and ``_high`` (95 %
    t-interval): the cost until then, NaN unless every seed reaches the target, for a mean over those that do would
    flatter the method.

    Args:
        split: validation is what can be watched while training; the test split tells of the same curve afterwards.

    Raises:
        ResultsError: if the runs are not comparable, or if there is not one label of centralized runs.
    """
    check(percent)
    quality = f"{split}_{runs.shared_metric()}"
    order = tables.comparison(runs)
    best = best_rounds(runs)
    central = best.loc[best["method"] == "centralized", quality]
    if central.empty:
        raise ResultsError("a target is a share of centralized training; none of the runs is centralized")
    if len(labels := best.loc[central.index, "label"].unique()) > 1:
        raise ResultsError(f"a target is a share of one centralized training; there are {' and '.join(labels)}")
    target = statistics.mean(central) * percent / 100
    good = runs.rounds[(runs.rounds["round"] > 0) & (runs.rounds[quality] >= target)]
    first = good.sort_values("round").drop_duplicates("run")
    rows = []
    for label, method, metric, seeds in order[["label", "method", "metric", "seeds"]].itertuples(index=False):
        mine = first[first["label"] == label]
        row = {"label": label, "method": method, "metric": metric, "split": split}
        row |= {"percent": percent, "target": target * 100, "seeds": seeds, "reached": len(mine)}
        for cost in COSTS:
            values = mine[cost] if len(mine) == seeds else pd.Series([math.nan])
            low, high = statistics.confidence_interval(values)
            row |= {cost: statistics.mean(values), f"{cost}_sd": statistics.standard_deviation(values)}
            row |= {f"{cost}_low": low, f"{cost}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def check(percent: float) -> None:
    """Refuse a target that is no share of centralized training.

    Raises:
        ResultsError: if it is not above 0 and at most 100.
    """
    if not 0 < percent <= 100:
        raise ResultsError(f"target {percent:g}: expected per cent of centralized training, above 0 and at most 100")


def text(rows: pd.DataFrame) -> str:
    """`cost_to_target` as a Markdown table with what it means."""
    first = rows.iloc[0]
    cells = pd.DataFrame(
        {
            "Method": rows["label"],
            "Reached": [_reached(*counts) for counts in zip(rows["reached"], rows["seeds"], strict=True)],
            "Rounds": _cells(rows, "round", "{:.1f}".format),
            "Sent": _cells(rows.mask(rows["bytes_total"] == 0), "bytes_total", byte_count),
            "Time (s)": _cells(rows, "seconds_total", "{:.1f}".format),
        }
    )
    notes = [
        f"Target: {first['split']} {metric_name(first['metric'])} of {first['target']:.1f} %, {first['percent']:g} % "
        "of what centralized training reaches at its round best on validation.",
        f"Cost up to the first evaluated round that reaches it, mean over seeds{_with_interval(rows)}, stated where "
        "every seed does; Sent: bytes up + down, all clients, without set-up; Time: local training and aggregation.",
    ]
    return "\n".join([tables.markdown(cells), "", *notes])


def _reached(reached: int, seeds: int) -> str:
    if reached == seeds:
        return "yes"
    return "not reached" if reached == 0 else f"not reached by {seeds - reached} of {seeds} seeds"


def _cells(rows: pd.DataFrame, cost: str, words: Callable[[float], str]) -> list[str]:
    return [
        tables.NOTHING
        if pd.isna(row[cost])
        else tables.with_interval(words(row[cost]), row[f"{cost}_low"], row[f"{cost}_high"], words)
        for row in rows.to_dict("records")
    ]


def _with_interval(rows: pd.DataFrame) -> str:
    return f" [{tables.INTERVAL}, cut at 0]" if (rows["seeds"] > 1).any() else ""
