"""What all figures share: panels, bands over seeds, the strip with legend and note, and how they are written."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from results import output, style
from results.style import LineStyle

PANEL_HEIGHT = 2.2
GAP = 0.06
"""Inches: the height of a panel with its axis labels, and the space around legend and note."""
NOTE_SIZE = 6.0
BAND_OPACITY = 0.2


def panels(count: int, width: float, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels side by side, ``width`` inches in all, apart from pyplot's global state."""
    figure = Figure(figsize=(width, PANEL_HEIGHT))
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, count, sharey=sharey, squeeze=False)[0])


def draw_band(axes: Axes, x: pd.Series, low: pd.Series, high: pd.Series, line: LineStyle) -> None:
    """The spread over seeds around a curve."""
    axes.fill_between(x, low, high, color=line.color, alpha=BAND_OPACITY, linewidth=0)


def draw_level(axes: Axes, level: float, low: float, high: float, line: LineStyle) -> None:
    """A reference line at ``level`` across the panel, its spread over seeds behind it."""
    axes.axhline(level, **line.keywords())
    axes.axhspan(low, high, color=line.color, alpha=BAND_OPACITY / 2, linewidth=0)


def add_foot(figure: Figure, styles: Mapping[str, LineStyle], names: Mapping[str, str], note: Sequence[str]) -> None:
    """Put legend and note in a strip of their own below the panels, where they cover nothing; the figure grows by it.

    Args:
        figure: from `panels`, drawn.
        styles: label -> style, in the order of the legend.
        names: label -> what the legend says.
        note: sentences for the small print.
    """
    width, height = figure.get_size_inches()
    handles = [
        Line2D([], [], label=_wrap(names[label], width - 0.5, style.RC["legend.fontsize"]), **line.keywords())
        for label, line in styles.items()
    ]
    small_print = _wrap(" ".join(note), width - 2 * GAP, NOTE_SIZE)
    text = figure.text(GAP / width, 0, small_print, fontsize=NOTE_SIZE, color=style.GREY, va="bottom")
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    for columns in range(min(4, len(handles)), 0, -1):
        legend = figure.legend(handles=handles, loc="lower center", ncols=columns, borderpad=0, handlelength=3.2)
        box = legend.get_window_extent(renderer)
        if columns == 1 or box.width / figure.dpi <= width - 2 * GAP:
            break
        legend.remove()
    note_height = text.get_window_extent(renderer).height / figure.dpi
    strip = note_height + box.height / figure.dpi + 3 * GAP
    total = height + strip
    figure.set_size_inches(width, total)
    text.set_y(GAP / total)
    legend.set_loc("lower center")
    legend.set_bbox_to_anchor((0.5, (note_height + 2 * GAP) / total), transform=figure.transFigure)
    figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0, strip / total, 1, 1 - strip / total)))


def _wrap(words: str, width: float, size: float) -> str:
    """Break ``words`` to ``width`` inches; a letter of DejaVu Sans is about 0.57 of its size in points wide."""
    return textwrap.fill(words, int(width * 72 / (size * 0.57)))


def save(figure: Figure, stem: str | Path) -> list[Path]:
    """Write ``stem.png`` (200 dpi) and ``stem.pdf``; an ending ``.png`` or ``.pdf`` of ``stem`` is dropped.

    Each file appears whole or not at all, and the same figure gives the same bytes: nothing is stamped with the time.

    Returns:
        The two files.

    Raises:
        ResultsError: if one cannot be written.
    """
    stem = Path(stem)
    if stem.suffix in (".png", ".pdf"):
        stem = stem.with_suffix("")
    unstamped = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Creator": None, "Producer": None}}
    files = []
    with style.paper():
        for kind, metadata in unstamped.items():
            file = stem.with_name(f"{stem.name}.{kind}")
            with output.whole(file) as part:
                figure.savefig(part, format=kind, metadata=metadata)
            files.append(file)
    return files
