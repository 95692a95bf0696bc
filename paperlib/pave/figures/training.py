"""Figures of training runs: learning curves with intervals over runs, action traces beside their spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from paperlib.pave.engine.evaluation import Episode
from paperlib.pave.figures.names import METHOD_COLOURS, method_name
from paperlib.pave.smoothness import amplitude_spectrum, smoothness
from paperlib.repro.statistics import curve_interval


def _styles(methods: Sequence[str]) -> dict[str, dict]:
    """Line style per method, in the paper's order: the published ones by colour, variants dashed in darkening grey."""
    order = [*METHOD_COLOURS, *methods]
    methods = sorted(set(methods), key=order.index)
    variants = [method for method in methods if method not in METHOD_COLOURS]
    greys = {method: str(0.6 - 0.45 * i / max(len(variants) - 1, 1)) for i, method in enumerate(variants)}
    return {
        method: {
            "label": method_name(method),
            "color": METHOD_COLOURS.get(method, greys.get(method)),
            "linestyle": "--" if method in greys else "-",
        }
        for method in methods
    }


def learning_curves(evaluations: pd.DataFrame, quantities: Mapping[str, str], *, log: Sequence[str] = ()) -> Figure:
    """One row per quantity, one column per algorithm; lines are means over runs, bands 95 % bootstrap intervals.

    Args:
        evaluations: rows of (algorithm, method, seed, step, quantity, ...).
        quantities: column of the table to axis label.
        log: quantities drawn on a logarithmic axis.
    """
    algorithms = list(dict.fromkeys(evaluations["algorithm"]))
    styles = _styles(list(dict.fromkeys(evaluations["method"])))
    shape = len(quantities), len(algorithms)
    figure, axes = plt.subplots(
        *shape, figsize=(max(4.8 * shape[1], 7.5), 2.1 * shape[0] + 0.6), sharex="col", squeeze=False
    )
    for column, algorithm in enumerate(algorithms):
        part = evaluations[evaluations["algorithm"] == algorithm]
        for row, (quantity, label) in enumerate(quantities.items()):
            _curves(axes[row, column], part, quantity, styles)
            if quantity in log:
                _log_axis(axes[row, column])
            axes[row, 0].set_ylabel(label)
        axes[0, column].set_title(algorithm.upper())
        axes[-1, column].set_xlabel("environment steps")
    handles = {line.get_label(): line for ax in axes.flat for line in ax.get_lines()}
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=len(handles), frameon=False)
    return figure


def _log_axis(axes: Axes) -> None:
    """A logarithmic axis with plain numbers, between powers of ten only where there are few of these."""
    axes.set_yscale("log")
    for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        set_formatter(LogFormatter(minor_thresholds=(2.0, 0.5)))


def _curves(axes: Axes, part: pd.DataFrame, quantity: str, styles: Mapping[str, dict]) -> None:
    for method in [method for method in styles if method in set(part["method"])]:
        curves = part[part["method"] == method].pivot(index="seed", columns="step", values=quantity).dropna()
        style = styles[method]
        if len(curves) < 2:
            axes.plot(curves.columns, curves.to_numpy().T, **style)
            continue
        interval = curve_interval(curves.to_numpy(), seed=0)
        axes.plot(curves.columns, interval["mean"], **style)
        axes.fill_between(curves.columns, interval["low"], interval["high"], color=style["color"], alpha=0.2, lw=0)


def loss_terms(evaluations: pd.DataFrame) -> Figure:
    """The terms of the critics' loss as minimised, over training: means over runs, bands 95 % bootstrap intervals.

    evaluations: of one method, from its first update on; columns seed, step, td_loss and the weighted terms.
    """
    names = {"td_loss": "TD", "weighted_mpr": "MPR", "weighted_vfc": "VFC", "weighted_curv": "Curv"}
    figure, axes = plt.subplots(figsize=(8.0, 3.6))
    for (column, name), line in zip(names.items(), ("-", "--", "-.", ":"), strict=True):
        curves = evaluations.pivot(index="seed", columns="step", values=column)
        interval = curve_interval(curves.to_numpy(), seed=0)
        (drawn,) = axes.plot(curves.columns, interval["mean"], line, label=name)
        axes.fill_between(curves.columns, interval["low"], interval["high"], color=drawn.get_color(), alpha=0.2, lw=0)
    axes.set(yscale="log", xlabel="environment steps", ylabel="weighted, summed\nover both critics")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


def action_traces(
    episodes: Mapping[str, Sequence[Episode]], *, shown: int = 0, unit: str = "", per_run: int | None = None
) -> Figure:
    """Left: the first action component of one episode of each method; right: the mean spectra over all episodes.

    Args:
        episodes: method to its episodes; those of equal index have the same start state.
        shown: index of the episode drawn on the left.
        unit: of the action.
        per_run: how many episodes each run has, which follow one another; the spectra then have 95 % bootstrap bands
            over runs. None: the episodes are of one run.
    """
    of_unit = f" ({unit})" if unit else ""
    styles = _styles(list(episodes))
    figure, axes = plt.subplot_mosaic(
        [[method, "spectra"] for method in styles], figsize=(11.0, 1.9 * len(styles) + 0.6)
    )
    first, *others = (axes[method] for method in styles)
    for other in others:  # before anything is drawn: limits are taken from all
        other.sharex(first)
        other.sharey(first)
    for method, style in styles.items():
        episode, trace = episodes[method][shown], axes[method]
        score = smoothness(episode.environment_actions)
        trace.plot(episode.environment_actions[:, 0], color=style["color"], lw=1.2)
        trace.set_title(f"{style['label']}, smoothness score {score:.2f}", fontsize=11)
        trace.set_ylabel(f"action{of_unit}")
        _spectrum(axes["spectra"], episodes[method], per_run or len(episodes[method]), style)
    trace.set_xlabel("step of the episode")
    axes["spectra"].set(yscale="log", xlabel="frequency (cycles per step)", ylabel=f"mean amplitude{of_unit}")
    axes["spectra"].legend(frameon=False)
    return figure


def _spectrum(axes: Axes, episodes: Sequence[Episode], per_run: int, style: Mapping[str, str]) -> None:
    frequencies, amplitudes = mean_spectrum(episodes)
    axes.plot(frequencies[1:], amplitudes[1:], color=style["color"], lw=1.4, label=style["label"])
    of_runs = [mean_spectrum(episodes[at : at + per_run])[1] for at in range(0, len(episodes), per_run)]
    if len(of_runs) > 1:
        band = curve_interval(of_runs, seed=0)
        axes.fill_between(frequencies[1:], band["low"][1:], band["high"][1:], color=style["color"], alpha=0.2, lw=0)


def mean_spectrum(episodes: Sequence[Episode]) -> tuple[np.ndarray, np.ndarray]:
    """Amplitude spectrum of the actions, averaged over action components and over episodes of equal length."""
    spectra = [amplitude_spectrum(episode.environment_actions) for episode in episodes]
    return spectra[0][0], np.mean([amplitudes.mean(axis=1) for _, amplitudes in spectra], axis=0)
