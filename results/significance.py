"""Do two methods differ? A paired t-test on the seeds that both have run.

A seed fixes the partition, the cohorts, the order of the examples and the new weights, so two methods under one seed
meet the same luck; their difference, seed by seed, is less noisy than the two means. The t-test asks whether the mean
of the differences is zero: t = mean / (sd / sqrt(n)), n - 1 degrees of freedom. Many pairs are compared at once, so
p-values are corrected after Holm (1979): of m tests the k-th smallest p is multiplied by m - k + 1.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from results import statistics, tables
from results.frames import Runs
from results.wording import metric_name

LEVEL = 0.05


def paired_tests(runs: Runs) -> pd.DataFrame:
    """One row a pair of labels, in the order of `results.tables.comparison`.

    Columns: ``label, other, metric, pairs`` (seeds that both have run); ``difference``, the first label's test metric
    less the other's in points (percent), at the rounds best on validation, mean over those seeds, with ``_sd``,
    ``_low`` and ``_high`` (95 % t-interval); ``t``; ``p``, two-sided; ``p_holm``, corrected for the number of tests.
    With fewer than two pairs, or differences that do not vary, there is no test: NaN.

    Raises:
        ResultsError: if the runs are not comparable.
    """
    metric = runs.shared_metric()
    percent = runs.summaries.pivot(index="seed", columns="label", values=f"best_test_{metric}") * 100
    rows = []
    for label, other in itertools.combinations(tables.comparison(runs)["label"], 2):
        differences = (percent[label] - percent[other]).dropna()
        row = {"label": label, "other": other, "metric": metric, "pairs": len(differences)}
        rows.append(row | _test(differences))
    columns = ["label", "other", "metric", "pairs", *_test(pd.Series(dtype=float))]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(p_holm=holm(frame["p"].to_numpy()))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """p-values corrected after Holm, in the order given; NaN stays NaN and is not counted as a test."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # NaN is sorted last
    corrected = np.full_like(p, math.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return corrected


def text(rows: pd.DataFrame) -> str:
    """`paired_tests` as a Markdown table, with what so few seeds can and cannot say."""
    if rows.empty:
        return "One method: nothing to compare."
    cells = pd.DataFrame(
        {
            "Difference": rows["label"] + " − " + rows["other"],
            "Points": [_signed(row["difference"]) for row in rows.to_dict("records")],
            "sd": [_plain(row["difference_sd"]) for row in rows.to_dict("records")],
            "95 % interval": [
                _interval(row["difference_low"], row["difference_high"]) for row in rows.to_dict("records")
            ],
            "Pairs": rows["pairs"].astype(str),
            "p": [_p_value(row["p"], row["pairs"]) for row in rows.to_dict("records")],
            "p (Holm)": [tables.NOTHING if math.isnan(p) else _small(p) for p in rows["p_holm"]],
        }
    )
    notes = [
        f"Paired t-test on test {metric_name(rows['metric'].iloc[0])} at the round best on validation, same seeds; "
        f"p (Holm) is corrected for {rows['p'].notna().sum()} tests."
    ]
    return "\n".join([tables.markdown(cells), "", *notes, *_limits(rows)])


def _test(differences: pd.Series) -> dict[str, float]:
    count = len(differences)
    if count == 0:
        return dict.fromkeys(("difference", "difference_sd", "difference_low", "difference_high", "t", "p"), math.nan)
    low, high = statistics.confidence_interval(differences)
    row = {"difference": statistics.mean(differences), "difference_sd": statistics.standard_deviation(differences)}
    row |= {"difference_low": low, "difference_high": high, "t": math.nan, "p": math.nan}
    if count > 1 and np.ptp(differences) > 1e-9:
        result = stats.ttest_1samp(differences, 0.0)
        row |= {"t": float(result.statistic), "p": float(result.pvalue)}
    return row


def _limits(rows: pd.DataFrame) -> list[str]:
    """What the number of seeds leaves open."""
    notes = []
    if (rows["pairs"] < 2).any():
        notes.append("Too few seeds: a test needs at least two that both methods have run.")
    if (tested := rows.loc[rows["p"].notna(), "pairs"]).empty:
        return notes
    pairs = tested.min()
    needed = stats.t.ppf(1 - LEVEL / 2, pairs - 1) / math.sqrt(pairs)
    notes.append(
        f"With {pairs} pairs p falls below {LEVEL} only where the mean difference exceeds {needed:.2g} of its standard "
        "deviations over seeds, before correction: a larger p does not say that two methods are equal."
    )
    if pairs < 10:
        notes.append(f"Nor can {pairs} pairs show whether differences are normally distributed, as the test supposes.")
    notes.append("Seeds vary partition, order and new weights, not the corpus: this says nothing about other data.")
    return notes


def _plain(value: float) -> str:
    return tables.NOTHING if math.isnan(value) else f"{value:.1f}"


def _signed(value: float) -> str:
    return tables.NOTHING if math.isnan(value) else f"{value:+.1f}".replace("-", "−")


def _interval(low: float, high: float) -> str:
    return tables.NOTHING if math.isnan(low) else f"{_signed(low)} to {_signed(high)}"


def _p_value(p: float, pairs: int) -> str:
    if pairs < 2:
        return "too few seeds"
    return "no spread" if math.isnan(p) else _small(p)


def _small(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
