"""Which layers were trained, by how many of the clients, in which round."""

from pathlib import Path
from textwrap import fill

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from results import style
from results.frames import ResultsError, Runs

MOST_PANELS = 12
"""Runs that one figure shows."""
COLUMNS = 3
PANEL_HEIGHT = 1.6
"""Inches."""
TITLE_WIDTH = 32
"""Characters of a line of a panel's title."""


def layers_frame(folder: Path, depth: int | None = None) -> pd.DataFrame:
    """The share of those clients of a round that trained at all, by layer of a run.

    Args:
        folder: a run folder, whose ``clients.csv`` has the column ``layers``: numbers parted by spaces. A client whose
            ``status`` is dropped has not trained.
        depth: layers of the model; None takes the highest that was ever trained for the last.

    Returns:
        One row a round and layer, ``round, layer, share``.

    Raises:
        ResultsError: if the record is missing or has no such column; if no layer was trained and there is no depth.
    """
    path = folder / "clients.csv"
    try:
        clients = pd.read_csv(path, dtype={"layers": str}, keep_default_na=False)
        if "status" in clients:
            clients = clients[clients["status"] != "dropped"]
        chosen = [[int(layer) for layer in layers.split()] for layers in clients["layers"]]
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read: {error.strerror}") from None
    except (KeyError, ValueError) as error:
        raise ResultsError(f"{path}: does not say which layers were trained: {error}") from None
    highest = max((layer for layers in chosen for layer in layers), default=-1)
    if highest < 0 and depth is None:
        raise ResultsError(f"{path}: no layer was trained")
    depth = depth or 1 + highest
    if highest >= depth:
        raise ResultsError(f"{path}: layer {highest} was trained, but summary.json tells of {depth} layers")
    trained = pd.DataFrame(0.0, index=clients["round"], columns=pd.RangeIndex(depth, name="layer"))
    for row, layers in enumerate(chosen):
        trained.iloc[row, layers] = 1.0
    return trained.groupby("round").mean().reset_index().melt("round", var_name="layer", value_name="share")


def layers_figure(runs: Runs) -> tuple[Figure, list[Axes], pd.DataFrame]:
    """A heatmap, layer x round, for the first seed of each label.

    Returns:
        The figure, an axes for each label, and `layers_frame` of each with the column ``label`` before it.

    Raises:
        ResultsError: as `layers_frame`, or if there are too many labels.
    """
    first = runs.summaries.drop_duplicates("label")
    if len(first) > MOST_PANELS:
        raise ResultsError(f"{len(first)} methods; a figure of layers shows at most {MOST_PANELS}, give fewer folders")
    frames = {
        str(run["label"]): layers_frame(runs.folders[place], None if pd.isna(run["depth"]) else int(run["depth"]))
        for place, (_, run) in zip(first.index, first.iterrows(), strict=True)
    }
    columns = min(COLUMNS, len(frames))
    rows = -(-len(frames) // columns)
    depth = 1 + max(int(frame["layer"].max()) for frame in frames.values())
    with style.paper():
        width = style.COLUMN_WIDTH if columns == 1 else style.PAGE_WIDTH
        figure = Figure(figsize=(width, 0.5 + rows * PANEL_HEIGHT), layout="constrained")
        FigureCanvasAgg(figure)
        grid = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, (label, frame) in zip(grid, frames.items(), strict=False):
            shares = frame.pivot(index="layer", columns="round", values="share").reindex(range(depth)).fillna(0) * 100
            shares = shares.reindex(columns=range(1, int(frame["round"].max()) + 1))  # blank where nobody trained
            edges = np.arange(shares.shape[1] + 1) + 0.5
            image = axes.pcolormesh(
                edges,
                np.arange(depth + 1) - 0.5,
                shares,
                cmap=matplotlib.colormaps["Blues"],
                vmin=0,
                vmax=100,
            )
            axes.set_title(fill(label, TITLE_WIDTH))
            axes.grid(visible=False)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        for axes in grid[len(frames) :]:
            axes.remove()
        shown = grid[: len(frames)]
        for axes in shown[::columns]:
            axes.set_ylabel("layer (0 nearest the input)" if rows == 1 else "layer")
        for axes in shown[-columns:]:
            axes.set_xlabel("communication round")
        bar = figure.colorbar(image, ax=shown, pad=0.02, aspect=30)
        bar.set_label("share of the clients (%)")
        bar.outline.set_visible(False)
    return figure, shown, pd.concat([frame.assign(label=label)[["label", *frame]] for label, frame in frames.items()])
