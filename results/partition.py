"""What each client holds, as a picture."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from results import style
from results.frames import ResultsError
from results.partition_distributions import draw_distributions
from results.partition_record import PartitionRecord, read_partition

VIEWS = ("heatmap", "bubbles", "distributions")
MOST_CLIENTS = 50
"""Clients that are drawn one by one; more are summarised by their distributions."""
MOST_IN_COLUMN = 20
"""Clients that fit the width of one column; more take the page."""
MOST_ROWS = 30
"""Labels with a row of their own; the rarer ones share one."""
LONGEST_NAME = 34
BAR_HEIGHT = 0.7
ROW_HEIGHT = 0.16
BUBBLE_HEIGHT = 0.24
"""Inches: the bars of client sizes, and one label's row in the heatmap and among bubbles."""


def partition_figure(
    path: str | Path, view: str | None = None, kind: str | None = None
) -> tuple[Figure, list[Axes], pd.DataFrame]:
    """What each client holds: its number of examples, and how its labels (groups, clusters) are mixed.

    Args:
        path: a ``partition.json``, or the run folder it lies in.
        view: ``heatmap`` (client x label, with sizes above), ``bubbles`` (client x label, areas are numbers of
            examples) or ``distributions`` (over clients: of sizes, effective classes, distance to all examples, and
            each label's share); by default the heatmap for up to `MOST_CLIENTS` clients, else distributions.
        kind: ``label``, ``group`` or ``cluster``; by default what the partition is skewed by.

    Returns:
        The figure; its axes (heatmap: sizes, labels; bubbles: labels; distributions: sizes, effective classes,
        distances, labels); and the numbers. Heatmap and bubbles: one row a client and label, ``client, label, count,
        share`` (in percent of the client's labels, NaN for a client without any). Distributions: one row a client,
        ``client, examples, effective_classes, total_variation``.

    Raises:
        ResultsError: if the record is missing or unreadable, lacks the kind, has too many clients for
            bubbles, or there is no such view.
    """
    record = read_partition(path)
    kind = record.kind(kind)
    view = view or ("heatmap" if len(record.sizes) <= MOST_CLIENTS else "distributions")
    if view not in VIEWS:
        raise ResultsError(f"view {view!r}: expected {', '.join(VIEWS)}")
    if view == "bubbles" and len(record.sizes) > MOST_CLIENTS:
        raise ResultsError(
            f"bubbles of {len(record.sizes)} clients would cover each other (at most {MOST_CLIENTS}); "
            "draw the heatmap or distributions"
        )
    counts = _condensed(record.counts[kind])
    with style.paper():
        figure = Figure(layout="constrained")
        FigureCanvasAgg(figure)
        if view == "distributions":
            if record.measures[kind].shape[1] < 2:
                raise ResultsError(f"{path}: records no effective_classes and total_variation of the clients")
            axes = draw_distributions(figure, record, kind, counts)
            frame = record.measures[kind].rename_axis("client").reset_index()
            frame.insert(1, "examples", record.sizes.to_numpy())
            return figure, axes, frame
        axes = (_heatmap if view == "heatmap" else _bubbles)(figure, record, kind, counts)
    return figure, axes, _long(record, kind)


def _heatmap(figure: Figure, record: PartitionRecord, kind: str, counts: pd.DataFrame) -> list[Axes]:
    height = max(ROW_HEIGHT * counts.shape[1], 3.5 * ROW_HEIGHT)  # the colour bar has room for its label
    figure.set_size_inches(_width(record), BAR_HEIGHT + height + 0.8)
    top, grid = figure.subplots(2, sharex=True, height_ratios=[BAR_HEIGHT, height])
    top.bar(range(len(record.sizes)), record.sizes, color=style.GREY, width=0.8)
    top.set_ylabel("examples")
    top.yaxis.set_major_locator(MaxNLocator(3, integer=True, steps=(1, 2, 5, 10)))
    top.grid(axis="x", visible=False)
    top.tick_params(bottom=False, labelbottom=False)
    shares = counts.div(counts.sum(axis="columns").replace(0, np.nan), axis="index") * 100
    shades = matplotlib.colormaps["Blues"].with_extremes(bad=style.PALE_GREY)
    scale = PowerNorm(0.5, vmin=0, vmax=100)  # the same in every picture, and small shares remain visible
    image = grid.imshow(shares.T, aspect="auto", cmap=shades, norm=scale, interpolation="none")
    _name_axes(grid, record, counts)
    bar = figure.colorbar(image, ax=[top, grid], pad=0.02, aspect=30, ticks=[0, 2, 10, 25, 50, 100])
    bar.set_label(f"share of the client's {kind}s (%)")
    bar.outline.set_visible(False)
    return [top, grid]


def _bubbles(figure: Figure, record: PartitionRecord, kind: str, counts: pd.DataFrame) -> list[Axes]:
    figure.set_size_inches(_width(record), BUBBLE_HEIGHT * counts.shape[1] + 0.9)
    axes = figure.subplots()
    values = counts.to_numpy()
    client, row = np.nonzero(values)
    look: dict[str, Any] = {"color": style.BLUE, "alpha": 0.75, "linewidths": 0}
    bubbles = axes.scatter(client, row, s=0, clip_on=False, **look)
    axes.set_xlim(-0.6, len(record.sizes) - 0.4)
    axes.set_ylim(counts.shape[1] - 0.4, -0.6)
    _name_axes(axes, record, counts)
    marks = _round_numbers(int(values.max()))
    handles = [axes.scatter([], [], s=0, label=f"{mark}", **look) for mark in marks]
    figure.legend(
        handles=handles, title="examples", loc="outside right upper", labelspacing=1.1, borderpad=0, handletextpad=0.8
    )
    figure.draw_without_rendering()
    (left, top), (right, bottom) = axes.transData.transform([(0, 0), (1, 1)])
    cell = min(right - left, top - bottom) / figure.dpi * 72
    bubbles.set_sizes(values[client, row] / values.max() * cell**2)
    for mark, handle in zip(marks, figure.legends[0].legend_handles, strict=True):
        handle.set_sizes([mark / values.max() * cell**2])  # type: ignore[union-attr]
    return [axes]


def _round_numbers(largest: int) -> list[int]:
    """Up to three of 1, 2, 5, 10, 20, 50, ... spread below a number."""
    numbers = [
        step * 10**power for power in range(len(str(largest))) for step in (1, 2, 5) if step * 10**power <= largest
    ]
    return numbers[::-1][:5:2][::-1]


def _name_axes(axes: Axes, record: PartitionRecord, counts: pd.DataFrame) -> None:
    clients = list(record.sizes.index)
    axes.set_yticks(range(counts.shape[1]), list(counts.columns))
    step = next((step for step in (1, 2, 5, 10, 20, 50) if len(clients) / step <= 15 * _width(record) / 3.5), 100)
    axes.set_xticks(range(0, len(clients), step), [f"{client}" for client in clients[::step]])
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.set_xlabel(f"client ({record.split} split)")


def _width(record: PartitionRecord) -> float:
    return style.COLUMN_WIDTH if len(record.sizes) <= MOST_IN_COLUMN else style.PAGE_WIDTH


def _condensed(counts: pd.DataFrame) -> pd.DataFrame:
    """At most `MOST_ROWS` columns, the rarest put together in the last, with names that fit beside a row."""
    if counts.shape[1] > MOST_ROWS:
        order = counts.sum(axis="index").sort_values(ascending=False, kind="stable").index
        kept = [name for name in counts.columns if name in set(order[: MOST_ROWS - 1])]
        rest = counts.drop(columns=kept)
        counts = counts[kept].assign(**{f"{rest.shape[1]} others": rest.sum(axis="columns")})
    short = [f"{name[: LONGEST_NAME - 1]}…" if len(name) > LONGEST_NAME else name for name in map(str, counts.columns)]
    return counts.set_axis(short, axis="columns")


def _long(record: PartitionRecord, kind: str) -> pd.DataFrame:
    counts, shares = record.counts[kind], record.shares(kind)
    return pd.DataFrame(
        {
            "client": np.repeat(counts.index, counts.shape[1]),
            kind: np.tile(counts.columns, counts.shape[0]),
            "count": counts.to_numpy().ravel(),
            "share": shares.to_numpy().ravel(),
        }
    )
