"""Figures of training runs: learning curves with intervals over runs, action traces beside their spectra."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paperlib.pave.engine.evaluation import Episode
from paperlib.pave.figures.names import METHOD_COLOURS, method_name
from paperlib.pave.smoothness import amplitude_spectrum
from paperlib.repro.statistics import curve_interval


def _styles(methods: Iterable[str]) -> dict[str, dict]:
    """Line style per method: the published ones by colour, variants dashed in darkening grey."""
    methods = list(dict.fromkeys(methods))
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
    algorithms, styles = list(dict.fromkeys(evaluations["algorithm"])), _styles(evaluations["method"])
    shape = len(quantities), len(algorithms)
    figure, axes = plt.subplots(
        *shape, figsize=(max(4.8 * shape[1], 7.5), 2.1 * shape[0] + 0.6), sharex="col", squeeze=False
    )
    for column, algorithm in enumerate(algorithms):
        part = evaluations[evaluations["algorithm"] == algorithm]
        for row, (quantity, label) in enumerate(quantities.items()):
            _curves(axes[row, column], part, quantity, styles)
            axes[row, column].set_yscale("log" if quantity in log else "linear")
            axes[row, 0].set_ylabel(label)
        axes[0, column].set_title(algorithm.upper())
        axes[-1, column].set_xlabel("environment steps")
    handles = {line.get_label(): line for ax in axes.flat for line in ax.get_lines()}
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=len(handles), frameon=False)
    return figure


def _curves(axes: Axes, part: pd.DataFrame, quantity: str, styles: Mapping[str, dict]) -> None:
    for method in dict.fromkeys(part["method"]):
        curves = part[part["method"] == method].pivot(index="seed", columns="step", values=quantity).dropna()
        style = styles[method]
        if len(curves) < 2:
            axes.plot(curves.columns, curves.to_numpy().T, **style)
            continue
        interval = curve_interval(curves.to_numpy(), seed=0)
        axes.plot(curves.columns, interval["mean"], **style)
        axes.fill_between(curves.columns, interval["low"], interval["high"], color=style["color"], alpha=0.2, lw=0)


def action_traces(episodes: Mapping[str, Sequence[Episode]], *, steps: int = 100) -> Figure:
    """Left: the first action component of each method's first episode; right: the mean spectrum over all episodes.

    Args:
        episodes: method to its episodes, the first of each method from the same start state.
        steps: how much of the episode is drawn on the left.
    """
    count, styles = len(episodes), _styles(episodes)
    figure, axes = plt.subplots(count, 2, figsize=(10, 1.9 * count + 0.6), sharex="col", sharey="col", squeeze=False)
    for (trace, spectrum), (method, played) in zip(axes, episodes.items(), strict=True):
        style = styles[method]
        trace.plot(played[0].environment_actions[:steps, 0], color=style["color"], lw=1.2)
        trace.set_ylabel(f"{style['label']}\naction")
        frequencies, amplitudes = mean_spectrum(played)
        spectrum.fill_between(frequencies[1:], amplitudes[1:], color=style["color"], alpha=0.35, lw=0)
        spectrum.plot(frequencies[1:], amplitudes[1:], color=style["color"], lw=1.2)
        spectrum.set(yscale="log", ylabel="amplitude")
    axes[-1, 0].set_xlabel("step of the episode")
    axes[-1, 1].set_xlabel("frequency (cycles per step)")
    return figure


def mean_spectrum(episodes: Sequence[Episode]) -> tuple[np.ndarray, np.ndarray]:
    """Amplitude spectrum of the actions, averaged over action components and over episodes of equal length."""
    spectra = [amplitude_spectrum(episode.environment_actions) for episode in episodes]
    return spectra[0][0], np.mean([amplitudes.mean(axis=1) for _, amplitudes in spectra], axis=0)
