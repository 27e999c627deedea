"""The trials of a tuning as a table: one row a method and point of the grid, its seeds averaged."""

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
    for _, point in trials.groupby(["method", *keys], sort=False, dropna=False):
        first = point.iloc[0]
        lines.append(
            {"Method": first["method"]}
            | {key: tables.NOTHING if pd.isna(first[key]) else _value(first[key]) for key in keys}
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
    return f"{value:g}" if isinstance(value, float) else str(value)
