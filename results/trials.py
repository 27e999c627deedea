"""The trials of a tuning as a table: one row a method and point of the grid, its seeds averaged."""

import math

import pandas as pd

from results import statistics, tables
from results.wording import byte_count, metric_name

RECORDED = ("method", "seed", "metric", "validation", "test", "best_round", "bytes_total", "seconds", "chosen")
"""The columns of ``trials.csv`` beside the keys of the grid."""


def text(trials: pd.DataFrame) -> str:
    """``trials.csv`` as a Markdown table with what it means; values in percent."""
    keys = [str(column) for column in trials if column not in RECORDED]
    metric = metric_name(trials["metric"].dropna().iloc[0])
    lines: list[dict[str, str]] = []
    shown = trials.assign(**{key: [_value(value) for value in trials[key]] for key in keys})
    for _, point in shown.groupby(["method", *keys], sort=False):
        first = point.iloc[0]
        lines.append(
            {"Method": first["method"]}
            | {key: first[key] for key in keys}
            | {
                f"Validation {metric} (%)": _over_seeds(point["validation"]),
                f"Test {metric} (%)": _over_seeds(point["test"]),
                "Best round": _mean(point["best_round"]),
                "Sent": byte_count(point["bytes_total"].mean()) if point["bytes_total"].sum() else tables.NOTHING,
                "Time (s)": _mean(point["seconds"]),
                "Chosen": "yes" if first["chosen"] else "",
            }
        )
    notes = [
        f"Chosen on validation {metric} at the round best on validation"
        f"{', mean over seeds' if trials['seed'].nunique() > 1 else ''}; test {metric} there is shown, not used."
    ]
    if trials["validation"].isna().any():
        notes.append(f"{tables.NOTHING} under Validation: training diverged under a seed at least.")
    return "\n".join([tables.markdown(pd.DataFrame(lines)), "", *notes])


def _over_seeds(percent: pd.Series) -> str:
    if percent.isna().any():
        return tables.NOTHING
    return tables.with_spread(statistics.mean(percent), statistics.standard_deviation(percent))


def _mean(values: pd.Series) -> str:
    return tables.NOTHING if values.isna().any() else f"{values.mean():.3g}"


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    if isinstance(value, float):
        return tables.NOTHING if math.isnan(value) else f"{value:g}"
    return tables.NOTHING if value is None else str(value)
