"""The look of the figures, and how they are written: the same bytes for the same data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_DOTS_PER_INCH = 150


def set_style() -> None:
    """Apply the house style to all figures made from here on, whatever the user's matplotlibrc and fonts."""
    mpl.rcdefaults()
    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind")
    mpl.rcParams.update(
        {
            "figure.constrained_layout.use": True,
            "figure.figsize": (8.0, 4.5),
            "figure.dpi": 100,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib
            "pdf.fonttype": 42,  # text stays text
        }
    )


def colours(names: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """One colour-blind-safe colour per name, by position: pass the same names in the same order everywhere."""
    if len(set(names)) != len(names):
        raise ValueError(f"names must differ, are {list(names)}")
    palette = sns.color_palette("colorblind")
    if len(names) > len(palette):
        raise ValueError(f"the palette tells {len(palette)} names apart, {len(names)} were given")
    return dict(zip(names, palette, strict=False))


def budget_label(target: Axes | Figure, text: str) -> None:
    """Print which budget the data come from: inside an axes at the lower right, or in a line below a whole figure."""
    style: dict[str, Any] = {"ha": "right", "fontsize": 8, "color": "0.3"}
    if isinstance(target, Figure):
        target.supxlabel(text, x=0.995, **style)
    else:
        box = {"facecolor": "white", "edgecolor": "0.7", "boxstyle": "round,pad=0.3"}
        target.text(0.995, 0.01, text, va="bottom", bbox=box, transform=target.transAxes, **style)


def stacked_bars(counts: pd.DataFrame, colour_of: Mapping[str, object], xlabel: str) -> Figure:
    """One horizontal bar per row of `counts` (index: row labels, first row on top), one segment per column."""
    figure, axes = plt.subplots(figsize=(9.0, 1.2 + 0.32 * len(counts)))
    left = np.zeros(len(counts))
    for column in counts.columns:
        axes.barh(counts.index, counts[column], left=left, color=colour_of[column], label=column, height=0.75)
        left += counts[column].to_numpy(dtype=float)
    for position, total in enumerate(left):
        axes.text(total + 0.01 * left.max(), position, f"{total:g}", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel=xlabel, xlim=(0, 1.06 * left.max()))
    axes.tick_params(axis="y", labelsize=9)
    axes.grid(False, axis="y")
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure


def show(figure: Figure, alt: str) -> None:
    """Display the figure as the cell's output, with its alternative text, and close it."""
    display(figure, metadata={"image/png": {"alt": alt}})
    plt.close(figure)


def save(figure: Figure, folder: Path, stem: str, *, vector: bool = True) -> Path:
    """Write `stem`.png and, if `vector`, `stem`.pdf into `folder`, without dates: equal figures are equal files."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.png"
    figure.savefig(path, dpi=_DOTS_PER_INCH, metadata={"Software": None})
    if vector:
        figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None})
    return path
