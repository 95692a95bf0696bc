"""Which notebook needs which, as a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from paperlib.repro import catalogue
from paperlib.repro.figures import colours

NEEDS: dict[str, tuple[str, ...]] = {
    "01": (),
    "02": ("01",),
    "03": ("02",),
    "04": ("02",),
    "05": ("02",),
    "06": ("03", "04", "05"),
    "07": ("06",),
    "08": ("06",),
    "09": ("06",),
    "10": (),
    "11": ("10",),
    "12": ("11",),
    "13": ("12",),
    "14": ("13",),
    "15": ("13",),
    "16": ("13",),
    "17": ("08", "13"),
}
"""The notebooks that each one builds on, by number: what a reader should have seen before."""
_DERIVATIONS = ("01", "02", "03", "04", "05", "10", "11", "12", "13")
_COLOURS = colours(["derivations", "experiments"])
_WIDTH, _HEIGHT = 0.84, 0.78
_ROWS = {
    **{"01": 3, "02": 3, "03": 4, "04": 3, "05": 2, "06": 3, "07": 4, "08": 3, "09": 2},
    **{"10": 0, "11": 0, "12": 0, "13": 0, "14": 1, "15": 0, "16": -1, "17": 1.5},
}


def needs() -> Figure:
    """A box per notebook, to the right of those it needs: PAVE above, the step sizes below; planned ones are dashed."""
    entries = {name[:2]: entry for name, entry in catalogue.load_catalogue().items() if name[:2] in NEEDS}
    places = {number: (_depth(number), _ROWS[number]) for number in NEEDS}
    figure, axes = plt.subplots(figsize=(11.0, 5.6))
    for number, before in NEEDS.items():
        for one in before:
            _arrow(axes, places[one], places[number])
    for number, (x, y) in places.items():
        _box(axes, x, y, number, entries[number])
    axes.set(xlim=(-0.5, 5.5), ylim=(-1.5, 4.5))
    axes.axis("off")
    axes.text(-0.42, 3.6, "PAVE", fontsize=12, weight="bold")
    axes.text(-0.42, 0.6, "Lipschitz step sizes", fontsize=12, weight="bold")
    handles = [Patch(facecolor=_pale(colour), edgecolor=colour, label=kind) for kind, colour in _COLOURS.items()]
    handles.append(Patch(facecolor="none", edgecolor="0.3", linestyle="--", label="planned"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _depth(number: str) -> int:
    """Length of the longest way to a notebook."""
    return 1 + max((_depth(one) for one in NEEDS[number]), default=-1)


def _box(axes: Axes, x: float, y: float, number: str, entry: catalogue.CatalogueEntry) -> None:
    colour = _COLOURS["derivations" if number in _DERIVATIONS else "experiments"]
    words = textwrap.fill(entry.name[3:].replace("_", " "), 15)
    style = {"facecolor": _pale(colour), "edgecolor": colour, "linestyle": "-" if entry.exists else "--"}
    corner = x - _WIDTH / 2, y - _HEIGHT / 2
    axes.add_patch(plt.Rectangle(corner, _WIDTH, _HEIGHT, lw=1.4, zorder=4, **style))  # over the arrows
    axes.text(x, y, f"{number}\n{words}", ha="center", va="center", fontsize=9.5, linespacing=1.15, zorder=5)


def _pale(colour: Sequence[float]) -> list[float]:
    return [1 - 0.25 * (1 - part) for part in colour]


def _arrow(axes: Axes, begin: tuple[float, float], end: tuple[float, float]) -> None:
    """From the right of one box to the left of another; over a column in between at the height of its end."""
    start = begin[0] + _WIDTH / 2, begin[1]
    if end[0] - begin[0] > 1:
        start = begin[0], end[1]
        axes.plot([begin[0]] * 2, [begin[1] + _HEIGHT / 2, end[1]], color="0.45", lw=1)
    style = {"arrowstyle": "-|>", "color": "0.45", "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (end[0] - _WIDTH / 2, end[1]), start, arrowprops=style)
