"""The figures of notebook 03."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, ScalarFormatter

from paperlib.repro.figures import budget_label, colours

ENVIRONMENT_COLOURS = colours(["pendulum", "reacher", "hopper", "random", "concave"])
_LINES = {"Base": "-", "PAVE": "--"}
_UNTRAINED_LINES = {"pendulum": ":", "hopper": "-.", "walker": (0, (5, 1, 1, 1, 1, 1))}


def case_style(name: str) -> dict:
    """Colour by environment, dashes for PAVE; the second critic of a pair is thinner and not in the legend."""
    words = name.split()
    style = {"color": ENVIRONMENT_COLOURS[words[0]], "ls": _UNTRAINED_LINES.get(words[-1], ":"), "lw": 1.6}
    style["label"] = name
    if words[-1].isdigit():
        first = words[-1] == "1"
        style |= {"ls": _LINES[words[1]], "lw": 1.8 if first else 0.8}
        style["label"] = " ".join(words[:2]) if first else None
    return style


def remainder_figure(lengths: Sequence[float], remainders: Mapping[str, Sequence[float]], relu: Sequence) -> Figure:
    """Norm of the remainder against ||eps||. Left: smooth critics; right: a ReLU critic, mean over the points."""
    figure, (smooth, kinked) = plt.subplots(1, 2, figsize=(10.5, 4.6), sharex=True, sharey=True)
    for name, values in remainders.items():
        smooth.loglog(lengths, values, **case_style(name))
    guide = np.asarray(lengths) ** 2
    smooth.plot([], [], color="0.3", lw=0.8, label="thin: second critics")
    anchor = 3 * max(values[-1] for values in remainders.values()) / guide[-1]
    smooth.loglog(lengths, anchor * guide, color="0.3", lw=1, ls="-.", label="slope 2")
    kinked.loglog(lengths, relu, color="black", marker="o", ms=4, label="random ReLU network")
    slope_one = 3 * relu[-1] / lengths[-1]
    kinked.loglog(lengths, slope_one * np.asarray(lengths), color="0.3", lw=1, ls=":", label="slope 1")
    smooth.set(title="smooth critics: the remainder is second order", ylabel="norm of the Taylor remainder")
    kinked.set(title="ReLU: it is first order, $H_{sa} = 0$")
    for axes in (smooth, kinked):
        axes.set_xlabel(r"$\|\epsilon\|$")
    kinked.legend(frameon=False, fontsize=9, loc="lower right")
    figure.legend(*smooth.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=9)
    return figure


def proxy_error_figure(sigmas: Sequence[float], errors: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Median relative error of the proxy against sigma; errors[precision][case]."""
    figure, panels = plt.subplots(1, len(errors), figsize=(10.5, 4.4), sharex=True, sharey=True)
    for axes, (precision, curves) in zip(panels, errors.items(), strict=True):
        for name, values in curves.items():
            axes.loglog(sigmas, values, **case_style(name))
        axes.axvline(0.01, color="0.3", lw=1)
        axes.axhline(0.1, color="firebrick", lw=1, ls=":")
        label = {"ha": "right", "va": "bottom", "fontsize": 9, "color": "0.3", "transform": axes.get_xaxis_transform()}
        axes.text(0.009, 0.03, r"published $\sigma$", rotation=90, **label)
        axes.text(sigmas[2], 0.13, "10 %", fontsize=9, color="firebrick")
        axes.set(title=precision, xlabel=r"$\sigma$")
    panels[0].set_ylabel("median relative error of the proxy")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=9)
    return figure


def bias_figure(
    sigmas: Sequence[float], bias: Mapping, name: str, ratio_sigmas: Sequence[float], ratios: Mapping
) -> Figure:
    """Left: |L_MPR - sigma^2 ||H||_F^2| of the critic `name`, by kind of draw; right: the ratio, all critics."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.6))
    for (kind, values), (slope, marker) in zip(bias.items(), ((4, "o"), (3, "s")), strict=True):
        (line,) = left.loglog(sigmas, np.abs(values), marker=marker, ms=4, lw=1.2, label=kind)
        guide = np.abs(values[0]) * (np.asarray(sigmas) / sigmas[0]) ** slope
        left.loglog(sigmas, guide, color=line.get_color(), lw=0.8, ls=":", label=f"slope {slope}")
    left.set(
        xlabel=r"$\sigma$",
        ylabel=r"$|L_{\mathrm{MPR}} - \sigma^2 \|H\|_F^2|$, same draws",
        title=f"the bias, {name}",
    )
    left.legend(frameon=False, fontsize=9, loc="lower right")
    right.axhspan(0.95, 1.05, color="0.9", lw=0)
    right.axvline(0.01, color="0.3", lw=1)
    for critic, values in ratios.items():
        right.loglog(ratio_sigmas, values, **case_style(critic))
    right.set(
        xlabel=r"$\sigma$",
        ylabel=r"$L_{\mathrm{MPR}} \,/\, \mathbb{E}\|H\epsilon\|^2$, same draws",
        title="the ratio, all critics",
    )
    right.yaxis.set_major_formatter(ScalarFormatter())
    figure.legend(*right.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=9)
    return figure


def norms_figure(ratios: Mapping[str, np.ndarray], lowest: Mapping[str, float]) -> Figure:
    """Distribution of ||H||_2 / ||H||_F per critic, with the least value that its rank allows."""
    figure, axes = plt.subplots(figsize=(8.5, 0.9 + 0.36 * len(ratios)))
    names = list(ratios)
    axes.boxplot([ratios[n] for n in names], orientation="horizontal", whis=(0, 100), tick_labels=names, widths=0.6)
    for row, name in enumerate(names, start=1):
        axes.plot([lowest[name]] * 2, [row - 0.35, row + 0.35], color="firebrick", lw=2)
    axes.plot([], [], color="firebrick", lw=2, label=r"least possible, $1/\sqrt{\min(d_s, d_a)}$")
    axes.axvline(1, color="0.3", lw=1)
    axes.set(xlabel=r"$\|H_{sa}\|_2 \,/\, \|H_{sa}\|_F$ over the points", xlim=(0, 1.03))
    axes.invert_yaxis()
    axes.legend(frameon=False, loc="lower left", fontsize=9)
    return figure


def ridge_figure(states: np.ndarray, profiles: Mapping[float, np.ndarray], widths, means, sups) -> Figure:
    """Left: the mixed partial of ridges of several widths; right: its mean square and largest value by width."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
    for width, profile in profiles.items():
        left.plot(states, profile, label=f"w = {width:g}")
    left.set(
        xlabel="s",
        ylabel=r"$\partial^2 Q / \partial s\,\partial a$",
        title="a ridge that narrows",
        ylim=(0, 1.3),
        xticks=(-1, -0.5, 0, 0.5, 1),
    )
    left.legend(frameon=False, fontsize=9, ncols=3, loc="upper center")
    right.loglog(widths, means, label="mean of the square, what MPR sees")
    right.loglog(widths, sups, label="largest value, what M is")
    right.set(xlabel="width w", title="the mean says nothing about the largest value", ylim=(None, 2))
    right.legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def fit_figure(table: pd.DataFrame, chosen: Mapping[str, float], note: str) -> Figure:
    """sup and root mean square of ||H_sa||_F on held-out states, and TD error, relative to no MPR, by weight."""
    figure, (norms, error) = plt.subplots(1, 2, figsize=(10.5, 4.4))
    for environment, rows in table.groupby("environment", sort=False):
        plain, rest = rows[rows["multiple"] == 0].iloc[0], rows[rows["multiple"] > 0]
        colour = ENVIRONMENT_COLOURS[environment]
        sup, rms = (rest[f"held_out_{kind}"] / plain[f"held_out_{kind}"] for kind in ("sup", "rms"))
        norms.plot(rest["multiple"], sup, color=colour, marker="o", ms=4, label=f"{environment}, sup")
        norms.plot(rest["multiple"], rms, color=colour, ls="--", lw=1.2, label=f"{environment}, root mean square")
        ring = (rest["multiple"] == chosen[environment]).to_numpy()
        norms.plot(rest["multiple"][ring], sup[ring], "o", ms=12, mfc="none", color=colour)
        error.plot(rest["multiple"], rest["td"] / plain["td"], color=colour, marker="o", ms=4, label=environment)
    norms.axhline(0.9, color="0.3", lw=1, ls=":")
    norms.text(0.01, 0.89, "the rule: 0.9", fontsize=9, va="top", transform=norms.get_yaxis_transform())
    norms.set(xscale="log", ylim=(0, 1.08), ylabel=r"$\|H_{sa}\|_F$, held-out, relative to no MPR")
    error.axhline(1, color="0.3", lw=1)
    error.set(xscale="log", yscale="log", ylabel="TD error, relative to no MPR")
    for which in (error.yaxis.set_major_formatter, error.yaxis.set_minor_formatter):
        which(LogFormatter(minor_thresholds=(2, 0.5)))
    figure.legend(*norms.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    for axes in (norms, error):
        axes.set_xlabel("weight of MPR, in multiples of the published one")
    budget_label(figure, note)
    return figure
