"""One look for every figure: colour-blind safe, readable in grey, sized for a paper."""

import itertools
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib.style

COLUMN_WIDTH = 3.5
PAGE_WIDTH = 7.1
"""Widths in inches of one column and of the full page of a two-column paper."""

# Okabe and Ito, "Color Universal Design" (2008); their yellow is left out, it is too faint for lines on white.
BLACK, ORANGE, SKY_BLUE, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
GREY, PALE_GREY = "#666666", "#E3E3E3"

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every machine
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALE_GREY,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "lines.markeredgecolor": "white",
    "lines.markeredgewidth": 0.4,
    "figure.dpi": 130,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,  # embed TrueType fonts: text in the PDF can be searched and edited
}

Dashes = str | tuple[int, tuple[float, ...]]
COLORS = (SKY_BLUE, PURPLE, BLACK, GREEN, VERMILION, BLUE, ORANGE)
MARKERS = ("v", "p", "<", "d", ">")
DASHES: tuple[Dashes, ...] = ("-", (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (1, 1)))


@dataclass(frozen=True)
class LineStyle:
    """Colour, marker and dashes: any one of the three tells two lines apart.

    A bound (centralized, local only) has no marker; a hollow marker is white within.
    """

    color: str
    marker: str
    dashes: Dashes
    hollow: bool = False

    def keywords(self) -> dict[str, Any]:
        """The style as keyword arguments of matplotlib's line artists."""
        line = {"color": self.color, "marker": self.marker, "linestyle": self.dashes}
        hollow = {"markerfacecolor": "white", "markeredgecolor": self.color, "markeredgewidth": 1.1}
        return line | hollow if self.hollow else line


METHOD_STYLES = {
    "layer_skipping": LineStyle(BLUE, "o", "-"),
    "fedavg": LineStyle(VERMILION, "s", (0, (5, 1.5))),
    "fedprox": LineStyle(ORANGE, "^", (0, (5, 1.5, 1, 1.5))),
    "lora": LineStyle(GREEN, "D", (0, (1, 1))),
    "centralized": LineStyle(BLACK, "", (0, (9, 3))),
    "local_only": LineStyle(GREY, "", (0, (2, 2))),
}


def line_styles(methods: Mapping[str, str]) -> dict[str, LineStyle]:
    """A style for each label.

    The first label of a known method has that method's style, in every figure. Further labels of it (an ablation), and
    methods not known here, take from a cycle in which no combination comes back within 35 lines.

    Args:
        methods: label -> method name, in drawing order.
    """
    fixed = dict(METHOD_STYLES)
    spare = map(LineStyle, itertools.cycle(COLORS), itertools.cycle(MARKERS), itertools.cycle(DASHES))
    return {label: fixed.pop(method) if method in fixed else next(spare) for label, method in methods.items()}


def paper() -> AbstractContextManager[None]:
    """A context in which matplotlib draws in this style, whatever the user's own settings are."""
    return matplotlib.style.context(["default", RC])
