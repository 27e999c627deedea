"""What each client holds, as a picture."""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from results import style
from results.frames import ResultsError, read_json

BAR_HEIGHT = 0.7
ROW_HEIGHT = 0.16
"""Inches: the bars of client sizes, and one label's row."""


def partition_figure(path: str | Path) -> tuple[Figure, list[Axes], pd.DataFrame]:
    """What each client holds: its number of examples (top) and how its labels are mixed (below).

    Args:
        path: a ``partition.json``, or the run folder it lies in.

    Returns:
        The figure; its axes (sizes, labels); and one row a client and label: ``client, label, count, share`` (in
        percent of the client's labels, NaN for a client without any).

    Raises:
        ResultsError: if the record is missing or unreadable.
    """
    path = Path(path) / "partition.json" if Path(path).is_dir() else Path(path)
    record = read_json(path)
    try:
        sizes = {int(client["client"]): int(client["examples"]) for client in record["clients"]}
        counts = pd.DataFrame([client["label_counts"] for client in record["clients"]], index=list(sizes))
        counts = counts.reindex(columns=list(dict.fromkeys([*record["labels"], *counts.columns]))).fillna(0).astype(int)
        split = str(record["split"])
    except (KeyError, TypeError, ValueError) as error:
        raise ResultsError(
            f"{path}: not a partition record: {type(error).__name__} {error}; "
            "expected labels, split and clients with client, examples and label_counts"
        ) from error
    if counts.empty:
        raise ResultsError(f"{path}: holds no clients or no labels; nothing to draw")
    share = counts.div(counts.sum(axis="columns").replace(0, np.nan), axis="index") * 100
    frame = pd.DataFrame(
        {
            "client": np.repeat(counts.index, counts.shape[1]),
            "label": np.tile(counts.columns, counts.shape[0]),
            "count": counts.to_numpy().ravel(),
            "share": share.to_numpy().ravel(),
        }
    )
    with style.paper():
        grid_height = ROW_HEIGHT * counts.shape[1]
        figure = Figure(figsize=(style.COLUMN_WIDTH, BAR_HEIGHT + grid_height + 0.8), layout="constrained")
        FigureCanvasAgg(figure)
        top, grid = figure.subplots(2, sharex=True, height_ratios=[BAR_HEIGHT, grid_height])
        top.bar(range(len(sizes)), list(sizes.values()), color=style.GREY, width=0.8)
        top.set_ylabel("examples")
        top.grid(axis="x", visible=False)
        top.tick_params(bottom=False, labelbottom=False)
        shades = matplotlib.colormaps["Blues"].with_extremes(bad=style.PALE_GREY)
        image = grid.imshow(share.T, aspect="auto", cmap=shades, vmin=0, interpolation="none")
        grid.set_yticks(range(counts.shape[1]), [str(label) for label in counts.columns])
        step = next((step for step in (1, 2, 5, 10, 20, 50) if len(sizes) / step <= 15), 100)
        grid.set_xticks(range(0, len(sizes), step), [str(client) for client in list(sizes)[::step]])
        grid.grid(visible=False)
        grid.tick_params(length=0)
        grid.set_xlabel(f"client ({split} split)")
        bar = figure.colorbar(image, ax=[top, grid], pad=0.02, aspect=30)
        bar.set_label("share of the client's labels (%)")
        bar.outline.set_visible(False)
    return figure, [top, grid], frame
