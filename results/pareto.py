"""The Pareto front: which methods no other beats in both bytes and quality."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from results import canvas, style, tables
from results.curves import set_byte_axis
from results.frames import ResultsError, Runs
from results.wording import denominators, metric_name, with_saving

CLOSE = 1.05
"""Points whose bytes differ by less than this factor are drawn side by side..."""
APART = 7.0
"""...so many points (1/72 inch) apart..."""
WIDEST = 28.0
"""...and all together at most so many."""
FEW = 8
"""Methods whose legend fits below one column of a page; more take the whole page."""


def pareto_frame(runs: Runs) -> pd.DataFrame:
    """`results.tables.comparison` of the labels that send something, with a column ``front``; the cheapest first.

    A label is on the front unless another sends no more bytes and has no lower test metric, and is better in one of
    the two; bytes and metric are means over seeds, the metric at the round best on validation.

    Raises:
        ResultsError: if the runs are not comparable, or none of them sends anything.
    """
    rows = tables.comparison(runs)
    rows = rows[rows["bytes_total"] > 0].sort_values(["bytes_total", "best_test"], ascending=[True, False])
    if rows.empty:
        raise ResultsError("a Pareto front needs runs that send something; none of them does")
    cost, quality = (rows[column].to_numpy()[:, None] for column in ("bytes_total", "best_test"))
    no_worse = (cost <= cost.T) & (quality >= quality.T)
    better = (cost < cost.T) | (quality > quality.T)
    beaten = np.any(no_worse & better, axis=0)
    return rows.assign(front=~beaten).reset_index(drop=True)


def pareto_figure(runs: Runs) -> tuple[Figure, Axes, pd.DataFrame]:
    """The test metric against all bytes sent (log axis), a point a method, the front as steps through filled points.

    The quality axis is that of the methods that send something; those that send nothing are level lines, or a line of
    the note where they lie outside the axis.

    Returns:
        The figure, its axes, and `pareto_frame`.

    Raises:
        ResultsError: as `pareto_frame`.
    """
    frame = pareto_frame(runs)
    every = tables.comparison(runs)
    bounds = every[every["bytes_total"] == 0]
    styles = {
        row["label"]: replace(line, dashes="none", hollow=not row["front"])
        for row, line in zip(frame.to_dict("records"), style.line_styles(_methods(frame)).values(), strict=True)
    }
    low, high = _quality_limits(frame, bounds)
    inside = bounds[bounds["best_test"].between(low, high)]
    levels = style.line_styles(_methods(inside))
    front = frame[frame["front"]]
    with style.paper():
        figure, (axes,) = canvas.panels(1, style.COLUMN_WIDTH if len(every) <= FEW else style.PAGE_WIDTH)
        for row in inside.to_dict("records"):
            spread = 0.0 if np.isnan(row["best_test_sd"]) else row["best_test_sd"]
            around = row["best_test"] - spread, row["best_test"] + spread
            canvas.draw_level(axes, row["best_test"], *around, levels[row["label"]])
        axes.plot(front["bytes_total"], front["best_test"], drawstyle="steps-post", color=style.GREY, linewidth=0.9)
        places = _places(frame)
        apart = min(APART, WIDEST / max(1, *places)) / 72
        for row, aside in zip(frame.to_dict("records"), places, strict=True):
            shift = ScaledTranslation(-aside * apart, 0, figure.dpi_scale_trans)
            line = styles[row["label"]].keywords() | {"transform": axes.transData + shift}
            spread = None if np.isnan(row["best_test_sd"]) else row["best_test_sd"]
            bar: dict[str, Any] = {"yerr": spread, "capsize": 2, "capthick": 0.8, "elinewidth": 0.8}
            axes.errorbar(row["bytes_total"], row["best_test"], zorder=3, **bar, **line)
        axes.set_xscale("log")
        axes.set_xlim(*_byte_limits(frame["bytes_total"]))
        axes.set_ylim(low, high)
        set_byte_axis(axes)
        axes.set_xlabel("bytes sent (up + down, all clients)")
        axes.set_ylabel(f"test {metric_name(frame['metric'].iloc[0])} (%)")
        names = {row["label"]: with_saving(row["label"], row["saving"]) for row in every.to_dict("records")}
        note = [
            "Filled, joined by steps: the Pareto front; no other method does as well for fewer bytes.",
            "Quality at the round best on validation; bytes of the whole run, without set-up.",
        ]
        if every["seeds"].max() > 1:
            note.append("Mean ± standard deviation over seeds.")
        if any(places):
            note.append("Methods that send as much are drawn side by side.")
        for row in bounds.drop(inside.index).to_dict("records"):
            note.append(f"{row['label']} ({row['best_test']:.1f} %) lies outside the axis.")
        canvas.add_foot(figure, styles | levels, names, [*note, *denominators(every)])
    return figure, axes, frame


def _byte_limits(sent: pd.Series) -> tuple[float, float]:
    """The byte axis, with a margin of an eighth, and of a third of the value at least."""
    margin = max((sent.max() / sent.min()) ** 0.125, 4 / 3)
    return sent.min() / margin, sent.max() * margin


def _quality_limits(frame: pd.DataFrame, bounds: pd.DataFrame) -> tuple[float, float]:
    """The quality axis: points and their spread, bounds no farther from them than they lie apart, and a margin."""
    spread = frame["best_test_sd"].fillna(0)
    low, high = (frame["best_test"] - spread).min(), (frame["best_test"] + spread).max()
    apart = max(high - low, 2.0)
    near = bounds.loc[bounds["best_test"].between(low - apart, high + apart), "best_test"]
    return min(low, near.min()) - 0.15 * apart, max(high, near.max()) + 0.15 * apart


def _places(frame: pd.DataFrame) -> list[int]:
    """How many places each point is put aside among those with nearly as many bytes; the cheapest stays."""
    places, taken, first = [], 0, 0.0
    for row in frame.to_dict("records"):
        if row["bytes_total"] > first * CLOSE:
            first, taken = row["bytes_total"], 0
        places.append(taken)
        taken += 1
    return places


def _methods(rows: pd.DataFrame) -> dict[str, str]:
    return dict(zip(rows["label"], rows["method"], strict=True))
