"""Quality under a budget: what a method gives at equal rounds, or for equal bytes.

Under a budget a method counts with the round that is best on validation among those it has finished within the budget,
and with the test metric there: as a user would choose who must stop at the budget.
"""

import math
import re
from collections.abc import Sequence

import pandas as pd

from results import statistics, tables
from results.frames import ResultsError, Runs
from results.wording import byte_count, metric_name

ROUNDS, BYTES = "round", "bytes_total"

UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}


def best_rounds(runs: Runs, column: str = ROUNDS, budget: float = math.inf) -> pd.DataFrame:
    """The row of ``rounds.csv`` that is best on validation, of each run, among rounds within a budget.

    Args:
        column: what is limited: ``round``, ``bytes_total`` or ``seconds_total``.
        budget: its largest value. Runs that have finished and evaluated no round within it have no row.

    Raises:
        ResultsError: if the runs are not comparable, or do not record validation.
    """
    validation = f"validation_{runs.shared_metric()}"
    if validation not in runs.rounds:
        raise ResultsError(f"rounds.csv has no column {validation}; a budget needs the round best on validation")
    rounds = runs.rounds[(runs.rounds["round"] > 0) & (runs.rounds[column] <= budget)].dropna(subset=[validation])
    return rounds.loc[rounds.groupby("run", sort=False)[validation].idxmax()]


def quality_under(runs: Runs, column: str, budgets: Sequence[float] = ()) -> pd.DataFrame:
    """One row a label and budget, seeds averaged, labels in the order of `results.tables.comparison`.

    Columns: ``label, method, metric, column, budget, seeds``; ``within``, seeds that finished and evaluated a round
    within the budget; ``test`` in percent with ``_sd``, ``_low`` and ``_high`` (95 % t-interval), all NaN unless every
    seed is within; ``round``, the mean of the chosen rounds.

    Args:
        column: ``round`` or ``bytes_total`` (up + down, all clients, without set-up).
        budgets: by default a quarter, a half and all of the rounds; or of each label's largest total of bytes up to
            four, smallest and largest among them.

    Raises:
        ResultsError: as `best_rounds`.
    """
    metric = runs.shared_metric()
    order = tables.comparison(runs)
    rows = []
    for budget in budgets or _sensible(runs, column):
        chosen = best_rounds(runs, column, budget)
        for label, method, seeds in order[["label", "method", "seeds"]].itertuples(index=False):
            mine = chosen[chosen["label"] == label]
            percent = mine[f"test_{metric}"] * 100 if len(mine) == seeds else pd.Series([math.nan])
            low, high = statistics.confidence_interval(percent)
            rows.append(
                {"label": label, "method": method, "metric": metric, "column": column, "budget": budget}
                | {"seeds": seeds, "within": len(mine), "test": statistics.mean(percent)}
                | {"test_sd": statistics.standard_deviation(percent), "test_low": low, "test_high": high}
                | {"round": mine["round"].mean() if len(mine) == seeds else math.nan}
            )
    return pd.DataFrame(rows)


def text(rows: pd.DataFrame) -> str:
    """`quality_under` as a Markdown table, a column a budget, with what it means."""
    metric, rounds = metric_name(rows["metric"].iloc[0]), rows["column"].iloc[0] == ROUNDS
    cells = pd.DataFrame({"Method": rows["label"].unique()})
    for budget in rows["budget"].unique():
        column = rows[rows["budget"] == budget]
        heading = f"≤ {budget:.0f} rounds" if rounds else f"≤ {byte_count(budget)}"
        cells[heading] = [
            tables.with_interval(tables.with_spread(row["test"], row["test_sd"]), row["test_low"], row["test_high"])
            for row in column.to_dict("records")
        ]
    over_seeds = f", mean ± standard deviation over seeds [{tables.INTERVAL}, cut at 0]"
    notes = [
        f"Test {metric} (%) at the round best on validation among those finished and evaluated within the budget"
        f"{over_seeds if (rows['seeds'] > 1).any() else ''}."
    ]
    if not rounds:
        notes.append(
            "Bytes: up + down, all clients, without the one-off set-up transfer. A run that ends below a budget counts "
            "as it is; more rounds might have done more."
        )
    if (rows["within"] < rows["seeds"]).any():
        notes.append(f"{tables.NOTHING}: not every seed has such a round.")
    return "\n".join([tables.markdown(cells), "", *notes])


def read_bytes(words: str) -> float:
    """A number of bytes such as ``100MB`` or ``1.5 GB``, in decimal units.

    Raises:
        ResultsError: if it is not one.
    """
    found = re.fullmatch(r"\s*([\d.]+(?:e\d+)?)\s*([kmgt]?)b?\s*", words.lower())
    try:
        count = float(found[1]) * UNITS[found[2]] if found else 0.0
    except ValueError:
        count = 0.0
    if not 0 < count < math.inf:
        raise ResultsError(f"budget {words!r}: expected bytes with a unit, such as 100MB or 1.5GB")
    return count


def _sensible(runs: Runs, column: str) -> list[float]:
    """Budgets that tell the methods apart."""
    if column == ROUNDS:
        rounds = int(runs.rounds["round"].max())
        return sorted({math.ceil(rounds / 4), math.ceil(rounds / 2), rounds})
    sent = runs.summaries["bytes_up"] + runs.summaries["bytes_down"]
    most = sent.groupby(runs.summaries["label"]).max()  # a smaller budget would cut off the last rounds of some seed
    totals = [float(total) for total in sorted(set(most)) if total]
    if not totals:
        raise ResultsError("nothing to compare at equal bytes: no run sends anything")
    distinct = [total for total, next_ in zip(totals, [*totals[1:], math.inf], strict=True) if next_ > 1.1 * total]
    places = {round(k * (len(distinct) - 1) / 3) for k in range(4)}
    return [distinct[place] for place in sorted(places)]
