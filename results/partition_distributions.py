"""The picture of many clients: how sizes, mixtures and each label's share are distributed over them."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

from results import style
from results.partition_record import PartitionRecord

PANEL_HEIGHT, ROW_HEIGHT = 1.5, 0.17
"""Inches: the histograms, and one label's row."""
EDGE: dict[str, Any] = {"markeredgecolor": style.BLACK, "markeredgewidth": 0.6}
BINS = 30
STEPS = (1, 2, 5, 10)
LOG_FROM = 30
"""The ratio of the largest to the smallest client from which sizes are drawn on a log axis."""


def draw_distributions(figure: Figure, record: PartitionRecord, kind: str, counts: pd.DataFrame) -> list[Axes]:
    """Histograms over clients, and below them for each label the quantiles of its share among clients.

    Args:
        figure: an empty figure; its size is set here.
        record: of the partition.
        kind: ``label``, ``group`` or ``cluster``.
        counts: the record's counts of that kind, perhaps condensed: a row of the picture for each column.

    Returns:
        The axes: sizes, effective classes, distances to all examples, labels.
    """
    rows = counts.shape[1]
    figure.set_size_inches(style.PAGE_WIDTH, PANEL_HEIGHT + ROW_HEIGHT * rows + 1.1)
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=[PANEL_HEIGHT, ROW_HEIGHT * rows + 0.9])[:, 0]
    sizes, effective, distance = upper.subplots(1, 3, sharey=True)
    measures = record.measures[kind]
    _sizes(sizes, record.sizes)
    together = record.statistics[kind].get("effective_classes_all")
    _histogram(effective, measures["effective_classes"], (1, max(measures["effective_classes"].max(), together or 1)))
    if together:
        effective.axvline(together, color=style.VERMILION, linestyle=(0, (5, 1.5)))
    _histogram(distance, measures["total_variation"], (0, 1))
    sizes.set_ylabel(f"clients (of {len(record.sizes)})")
    sizes.set_xlabel(f"examples of a client ({record.split} split)")
    effective.set_xlabel(f"effective number of {kind}s")
    distance.set_xlabel("earth mover's distance to all")
    labels = lower.subplots()
    _quantiles(labels, counts)
    labels.set_xlabel(f"share of a client's {kind}s (%)")
    lower.legend(loc="outside lower center", ncols=4, handlelength=2)
    return [sizes, effective, distance, labels]


def _sizes(axes: Axes, sizes: pd.Series) -> None:
    low, high = max(sizes.min(), 1), sizes.max()
    if high / low < LOG_FROM:
        width = -(-(high + 1 - sizes.min()) // BINS)  # whole numbers in every bin
        axes.hist(sizes, bins=(np.arange(sizes.min(), high + width + 1, width) - 0.5).tolist(), color=style.GREY)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=STEPS))
        axes.grid(axis="x", visible=False)
        return
    axes.hist(sizes, bins=np.geomspace(low, high, BINS + 1).tolist(), color=style.GREY)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", visible=False)


def _histogram(axes: Axes, values: pd.Series, limits: tuple[float, float]) -> None:
    axes.hist(values.dropna(), bins=BINS, range=limits, color=style.GREY)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True, steps=STEPS))
    axes.grid(axis="x", visible=False)


def _quantiles(axes: Axes, counts: pd.DataFrame) -> None:
    shares = counts.div(counts.sum(axis="columns").replace(0, np.nan), axis="index").dropna() * 100
    low, first, median, third, high = shares.quantile([0.05, 0.25, 0.5, 0.75, 0.95]).to_numpy()
    everyone = counts.sum(axis="index") / counts.to_numpy().sum() * 100
    rows = range(counts.shape[1])
    axes.hlines(rows, low, high, color=style.SKY_BLUE, linewidth=1.2, label="5 to 95 % of the clients")
    axes.hlines(rows, first, third, color=style.BLUE, linewidth=4, label="25 to 75 %")
    axes.plot(median, rows, linestyle="", marker="o", color="white", markersize=3.5, label="median", **EDGE)
    axes.plot(everyone, rows, linestyle="", marker="D", color=style.VERMILION, markersize=4, label="all examples")
    axes.set_yticks(rows, list(counts.columns))
    axes.set_ylim(counts.shape[1] - 0.4, -0.6)
    axes.set_xlim(left=-1)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
