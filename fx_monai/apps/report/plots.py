"""Figures inside the page: matplotlib's SVG with colours of the page, so that they follow light, dark and print."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# colours that stand for a variable of the style sheet; none of them is ever seen
INK, MUTED, GRID = "#010101", "#010102", "#010103"
SERIES = tuple(f"#0102{number:02x}" for number in range(8))
DASHES = ("-", "--", ":")
_COLOURS = {INK: "currentColor", MUTED: "var(--muted)", GRID: "var(--line)"}
_COLOURS |= {colour: f"var(--s{number})" for number, colour in enumerate(SERIES)}

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fx_monai",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.6,
}


@dataclass(frozen=True)
class LegendEntry:
    """One line of a legend: number of the series, what it is, its value."""

    number: int
    name: str
    value: str = ""

    @property
    def series(self) -> int:
        """Number of the colour."""
        return self.number % len(SERIES)

    @property
    def dash(self) -> int:
        """Number of the line style."""
        return self.number // len(SERIES) % len(DASHES)


@dataclass(frozen=True)
class Panel:
    """One figure of the page. Names from the data stand in the page, never inside the picture.

    Args:
        title: above the picture.
        svg: the picture.
        legend: below it.
    """

    title: str
    svg: Markup
    legend: Sequence[LegendEntry] = ()


def series(number: int) -> str:
    """Return the colour of a series; they repeat after eight."""
    return SERIES[number % len(SERIES)]


def dash(number: int) -> str:
    """Return the line style of a series; it changes when the colours repeat."""
    return DASHES[number // len(SERIES) % len(DASHES)]


def new_axes(size: tuple[float, float] = (3.6, 2.9), *, rows: Sequence[float] = (1,)) -> tuple[Figure, list[Axes]]:
    """Return a figure of a size in inches with axes one below the other, of relative heights, on one x axis."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size)
        axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": list(rows)})
        # margins for two digits and a name, which a layout engine would find at several times the cost
        width, height = size
        figure.subplots_adjust(0.55 / width, 0.5 / height, 1 - 0.12 / width, 1 - 0.12 / height, hspace=0.16)
        for own in axes[:, 0]:
            own.set_axisbelow(True)
    return figure, list(axes[:, 0])


def to_svg(figure: Figure, alt: str) -> Markup:
    """Return the figure as an element of the page.

    Args:
        figure: made with :func:`new_axes`.
        alt: what it shows, for those who don't see it.
    """
    with matplotlib.rc_context(_STYLE):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    inside = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    opening = re.search(r"<svg[^>]*?viewBox=\"([^\"]*)\"[^>]*>", inside)
    assert opening is not None
    body = inside[opening.end() :].replace("xlink:href", "href")
    for colour, variable in _COLOURS.items():
        body = body.replace(colour, variable)
    own = hashlib.sha256(body.encode()).hexdigest()[:8]
    body = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{own}-", body)
    body = re.sub(r"\s*\n\s*", "\n", body)
    head = Markup('<svg class="plot" role="img" aria-label="{}" viewBox="{}">').format(alt, opening[1])
    # matplotlib escapes what it writes, and nothing of the data's names is in it
    return head + Markup(body)
