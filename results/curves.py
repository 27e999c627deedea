"""Quality against what it costs. Each function gives the figure, its axes, and the numbers it shows."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from results import canvas, style, tables
from results.canvas import save
from results.frames import ResultsError, Runs
from results.partition import partition_figure
from results.wording import change, denominators, metric_name, with_saving

__all__ = [
    "ablation_figure",
    "curve_frame",
    "overview",
    "partition_figure",
    "quality_against_bytes",
    "quality_against_rounds",
    "quality_against_seconds",
    "save",
]

X_LABELS = {
    "bytes_total": "bytes sent (up + down, all clients)",
    "round": "communication round",
    "seconds_total": "wall-clock time of training (s)",
}


def quality_against_bytes(runs: Runs) -> tuple[Figure, Axes, pd.DataFrame]:
    """The test metric against the bytes sent so far (log axis): what a method costs to communicate, and what it gives.

    Nothing is sent before round 1, and a log axis has no zero: lines start at the first transfer.

    Returns:
        The figure, its axes, and `curve_frame`.

    Raises:
        ResultsError: if the runs are not comparable, or none of them sends anything.
    """
    if not runs.rounds["bytes_total"].any():
        raise ResultsError("nothing to draw against bytes: no run sends anything; draw against rounds or seconds")
    return _single(runs, "bytes_total")


def quality_against_rounds(runs: Runs) -> tuple[Figure, Axes, pd.DataFrame]:
    """The test metric after each round, round 0 being the untrained model; as `quality_against_bytes` otherwise."""
    return _single(runs, "round")


def quality_against_seconds(runs: Runs) -> tuple[Figure, Axes, pd.DataFrame]:
    """The test metric against the wall-clock time of training and aggregation; as `quality_against_bytes` otherwise."""
    return _single(runs, "seconds_total")


def overview(runs: Runs) -> tuple[Figure, list[Axes], pd.DataFrame]:
    """Quality against bytes, rounds and seconds side by side, with one legend.

    Runs that all send nothing have no panel against bytes.

    Returns:
        The figure, its axes from left to right, and `curve_frame`.

    Raises:
        ResultsError: if the runs are not comparable.
    """
    sent = runs.rounds["bytes_total"].any()
    return _curves(runs, [x for x in X_LABELS if sent or x != "bytes_total"], style.PAGE_WIDTH)


def curve_frame(runs: Runs) -> pd.DataFrame:
    """What the curves show: one row a label and evaluated round, and one row (round NaN) a reference line.

    Columns: ``label, method, reference, round``; ``bytes_total`` and ``seconds_total``, mean over seeds; ``mean, low,
    high``: the test metric in percent, mean, smallest and largest over seeds; ``seeds``. A run that stopped before
    others of its label counts on with its last model and what it had cost. Labels that send nothing become reference
    lines, at the round best on validation, unless all send nothing.

    Raises:
        ResultsError: if the runs are not comparable.
    """
    quality = f"test_{runs.shared_metric()}"
    table = tables.comparison(runs)
    silent = table["bytes_total"] == 0
    references = set() if silent.all() else set(table.loc[silent, "label"])
    pieces = []
    for label, method in zip(table["label"], table["method"], strict=True):
        if label in references:
            best = runs.summaries.loc[runs.summaries["label"] == label, f"best_{quality}"] * 100
            piece = pd.DataFrame({"mean": [best.mean()], "low": best.min(), "high": best.max(), "seeds": len(best)})
            piece = piece.assign(round=np.nan, bytes_total=np.nan, seconds_total=np.nan)
        else:
            evaluated = runs.rounds[runs.rounds["label"] == label].dropna(subset=[quality])
            by_run = evaluated.pivot(index="round", columns="run", values=[quality, "bytes_total", "seconds_total"])
            carried = by_run.ffill()
            piece = (carried[quality] * 100).agg(["mean", "min", "max"], axis=1)
            piece = piece.rename(columns={"min": "low", "max": "high"}).reset_index()
            for cost in ("bytes_total", "seconds_total"):
                piece[cost] = carried[cost].mean(axis=1).to_numpy()
            piece["seeds"] = carried[quality].shape[1]
        pieces.append(piece.assign(label=label, method=method, reference=label in references))
    columns = ["label", "method", "reference", "round", "bytes_total", "seconds_total", "mean", "low", "high", "seeds"]
    return pd.concat(pieces, ignore_index=True)[columns]


def ablation_figure(runs: Runs) -> tuple[Figure, list[Axes], pd.DataFrame]:
    """Quality (left) and bytes sent (right) against the share of layers skipped, with the saving at each point.

    Runs without a skip ratio that send nothing are reference lines on the left; other runs without one are left out.

    Returns:
        The figure, its two axes, and `results.tables.ablation`.

    Raises:
        ResultsError: if no run has a skip ratio, or the runs are not comparable.
    """
    rows = tables.ablation(runs)
    table = tables.comparison(runs)
    references = table[table["skip_ratio"].isna() & (table["bytes_total"] == 0)]
    extremes = runs.summaries.groupby("label")[f"best_test_{rows['metric'].iloc[0]}"].agg(["min", "max"]) * 100
    names = {method: label.split(" (")[0] for method, label in zip(rows["method"], rows["label"], strict=True)}
    lines = pd.concat([rows.assign(label=rows["method"].map(names)), references])
    styles = style.line_styles(dict(zip(lines["label"], lines["method"], strict=True)))
    with style.paper():
        figure, (quality, sent) = canvas.panels(2, style.PAGE_WIDTH * 0.72)
        for method, points in rows.groupby("method"):
            line = styles[names[str(method)]]
            spread = extremes.loc[points["label"]]
            quality.plot(points["skip_ratio"], points["best_test"], **line.keywords())
            canvas.draw_band(quality, points["skip_ratio"], spread["min"], spread["max"], line)
            sent.plot(points["skip_ratio"], points["bytes_total"], **line.keywords())
            for point in points.dropna(subset=["saving"]).to_dict("records"):
                sent.annotate(
                    change(point["saving"]),
                    (point["skip_ratio"], point["bytes_total"]),
                    xytext=(3, 4),
                    textcoords="offset points",
                    fontsize=6,
                    color=style.GREY,
                )
        for label, level in zip(references["label"], references["best_test"], strict=True):
            low, high = extremes.loc[label, ["min", "max"]]
            canvas.draw_level(quality, level, low, high, styles[label])
        quality.set_ylabel(_quality_label(rows["metric"].iloc[0]))
        sent.set_ylabel("bytes sent (up + down)")
        sent.yaxis.set_major_formatter(EngFormatter(unit="B"))
        sent.set_ylim(0, sent.get_ylim()[1] * 1.05)
        for axes in (quality, sent):
            axes.set_xlabel("skip ratio (share of layers frozen)")
            axes.set_xlim(-0.06, 1.06)
        shown = pd.concat([rows["seeds"], references["seeds"]])
        note = ["Quality at the round best on validation.", _spread_note(shown), *denominators(rows)]
        canvas.add_foot(figure, styles, {label: label for label in styles}, note)
    return figure, [quality, sent], rows


def _single(runs: Runs, x: str) -> tuple[Figure, Axes, pd.DataFrame]:
    figure, (axes,), frame = _curves(runs, [x], style.COLUMN_WIDTH)
    return figure, axes, frame


def _curves(runs: Runs, abscissae: Sequence[str], width: float) -> tuple[Figure, list[Axes], pd.DataFrame]:
    frame = curve_frame(runs)
    table = tables.comparison(runs)
    styles = style.line_styles(dict(zip(table["label"], table["method"], strict=True)))
    names = {label: with_saving(label, saving) for label, saving in zip(table["label"], table["saving"], strict=True)}
    with style.paper():
        figure, panels = canvas.panels(len(abscissae), width, sharey=True)
        for axes, x in zip(panels, abscissae, strict=True):
            _draw(axes, frame, x, styles)
        panels[0].set_ylabel(_quality_label(runs.shared_metric()))
        note = [_spread_note(frame["seeds"])]
        if "bytes_total" in abscissae:
            note.append(
                "Bytes exclude set-up; curves against bytes start at the first transfer (round 0 sends nothing)."
            )
        if runs.summaries["stopped"].any():
            note.append("Runs that stopped early count on with their last model.")
        if frame["reference"].any():
            note.append("Level lines: methods that send nothing, at the round best on validation.")
        note += _focus(panels[0], frame)
        canvas.add_foot(figure, styles, names, [*note, *denominators(table)])
    return figure, panels, frame


def _draw(axes: Axes, frame: pd.DataFrame, x: str, styles: dict[str, style.LineStyle]) -> None:
    for label, points in frame.groupby("label", sort=False):
        line = styles[str(label)]
        if points["reference"].any():
            level, low, high = points[["mean", "low", "high"]].iloc[0]
            canvas.draw_level(axes, level, low, high, line)
            continue
        if x == "bytes_total":
            points = points[points["bytes_total"] > 0]
        marked = list(range(len(points) - 1, -1, -math.ceil(len(points) / 8) or -1))  # always the last point
        axes.plot(points[x], points["mean"], markevery=marked, **line.keywords())
        canvas.draw_band(axes, points[x], points["low"], points["high"], line)
    axes.set_xlabel(X_LABELS[x])
    if x == "bytes_total":
        set_byte_axis(axes)
    elif x == "round":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def _focus(axes: Axes, frame: pd.DataFrame) -> list[str]:
    """Start the quality axis below the weakest label's best by as much as the labels differ (at least 30 points).

    Untrained models score near 0; an axis down to there would hide the differences that matter.
    """
    best = frame.groupby("label")["mean"].max()
    floor = math.floor(best.min() - max(best.max() - best.min(), 30))
    if frame["low"].min() >= floor:
        return []
    axes.set_ylim(bottom=floor)
    return [f"Values below {floor} % lie outside the axis."]


def set_byte_axis(axes: Axes) -> None:
    """A log axis of bytes with ticks that can be read, also where it is short."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    short = math.log10(high / low) < 1.5  # decades; fewer than two of them fall on the axis
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if short else (1,)))
    axes.xaxis.set_major_formatter(EngFormatter(unit="B"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _quality_label(metric: str) -> str:
    return f"test {metric_name(metric)} (%)"


def _spread_note(seeds: pd.Series) -> str:
    if seeds.max() == 1:
        return "One seed a method."
    count = f"{seeds.max()}" if seeds.nunique() == 1 else f"{seeds.min()} to {seeds.max()}"
    return f"Mean over {count} seeds, band: smallest to largest."
