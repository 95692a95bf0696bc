"""The figures of notebook 08: surfaces, how a grid makes their teeth, growth during training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from paperlib.notebooks.nb08_critic_geometry.surfaces import CONVERGED, GRIDS, Sweep, axes_of, crest
from paperlib.pave.engine.checkpoints import TrainedNetworks
from paperlib.pave.figures.names import METHOD_COLOURS, method_name
from paperlib.pave.records.printed_tables import METHODS
from paperlib.repro.figures import budget_label

HEIGHT = r"$\|H_{sa}\|_2$"


def published_figure(
    surfaces: Mapping[str, np.ndarray], sweep: Sweep, ceiling: float, labels: Sequence[str], budget: str
) -> Figure:
    """Surfaces drawn with the paper's settings: 50 x 50 points in perspective, by method, clipped at `ceiling`.

    labels: of the state's and of the action's axis.
    """
    figure = plt.figure(figsize=(5.6 * len(surfaces), 4.8))
    for k, (method, height) in enumerate(surfaces.items()):
        panel = figure.add_subplot(1, len(surfaces), k + 1, projection="3d")
        state, action = np.meshgrid(*axes_of(sweep, len(height)), indexing="ij")
        panel.plot_surface(
            state, action, np.minimum(height, ceiling), cmap="viridis", vmin=0, vmax=ceiling, rcount=50, ccount=50, lw=0
        )
        panel.set(title=method_name(method), zlim=(0, ceiling))
        panel.set_xlabel(labels[0], labelpad=10)
        panel.set_ylabel(labels[1], labelpad=10)
        panel.set_zlabel(HEIGHT, labelpad=14)
        panel.set_xticks(np.linspace(*sweep.state, 5))
        panel.set_yticks(np.linspace(*sweep.action, 5))
        panel.tick_params(labelsize=8)
        panel.tick_params(axis="z", pad=7)
        panel.set_box_aspect(None, zoom=0.8)
    budget_label(figure, budget)
    return figure


def heat_maps(
    rows: Mapping[str, tuple[Sweep, Mapping[str, np.ndarray]]],
    networks: Mapping[str, TrainedNetworks],
    labels: Mapping[str, Sequence[str]],
    ceiling: float,
    budget: str,
) -> Figure:
    """A row per sweep, a column per method: heights as colours, and the action that the method's policy takes.

    rows: title to sweep and heights by method; labels: title to those of the state's and of the action's axis.
    """
    methods = list(networks)
    figure, axes = plt.subplots(
        len(rows), len(methods), figsize=(5.2 * len(methods) + 0.8, 3.7 * len(rows)), sharex="row", sharey="row"
    )
    for line, (title, (sweep, heights)) in zip(axes, rows.items(), strict=True):
        for panel, method in zip(line, methods, strict=True):
            extent = (*sweep.state, *sweep.action)
            shown = panel.imshow(
                heights[method].T, origin="lower", extent=extent, aspect="auto", cmap="viridis", vmin=0, vmax=ceiling
            )
            panel.plot(*policy_line(networks[method], sweep), color="w", lw=1.2, ls="--")
            panel.set(title=f"{method_name(method)}, {title}", xlim=sweep.state, ylim=sweep.action)
            panel.set_xlabel(labels[title][0])
            panel.grid(visible=False)
            panel.locator_params(axis="x", nbins=5)
        line[0].set_ylabel(labels[title][1])
    figure.colorbar(shown, ax=axes, label=f"{HEIGHT}, clipped", shrink=0.8)
    handle = plt.Line2D([], [], color="0.5", ls="--", label="what the method's own policy does")
    figure.legend(handles=[handle], loc="outside upper center", frameon=False)
    budget_label(figure, budget)
    return figure


def policy_line(networks: TrainedNetworks, sweep: Sweep, points: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """The policy's action along the state's axis of a sweep, as its action's axis counts; NaN where it lies outside."""
    places = axes_of(sweep, points)[0]
    states, fixed = sweep.at(torch.as_tensor(np.stack([places, np.zeros(points)], axis=1)))
    moved = (networks.act(states.float()).double() - fixed)[:, 0].numpy()
    return places, np.where((moved < sweep.action[0]) | (moved > sweep.action[1]), np.nan, moved)


def aliasing_figure(
    coarse: np.ndarray, fine: np.ndarray, sweep: Sweep, tables: Mapping[str, pd.DataFrame], label: str, budget: str
) -> Figure:
    """Left: Base's crest along the action on two grids; right: roughness over the grid's points, by method.

    tables: those of `refinement` by method; label: of the action's axis.
    """
    figure, (crests, rough) = plt.subplots(1, 2, figsize=(12.0, 4.2), width_ratios=(1.5, 1))
    for height, style in ((fine, {"color": "0.6", "lw": 1}), (coarse, {"color": METHOD_COLOURS["base"], "lw": 1.6})):
        points = len(height)
        crests.plot(axes_of(sweep, points)[1], crest(height), label=f"{points} x {points} points", **style)
    crests.set(
        xlabel=label, ylabel=f"largest {HEIGHT}\nover the state", ylim=(0, None), title="Base: teeth of the crest"
    )
    crests.legend(loc="lower left")
    for method, table in tables.items():
        rough.plot(table["points"], table["roughness"], "o-", color=METHOD_COLOURS[method], label=method_name(method))
    rough.set(xscale="log", xlabel="points along an axis", ylabel="mean absolute Laplacian", ylim=(0, None))
    rough.set_title(f"roughness, until it changes by less than {CONVERGED:.0%}")
    rough.set_xticks(GRIDS, [str(points) for points in GRIDS])
    rough.minorticks_off()
    rough.legend(loc="lower right")
    budget_label(figure, budget)
    return figure


def growth_figure(evaluations: pd.DataFrame, quantities: Mapping[str, str], budget: str) -> Figure:
    """A row per quantity, a column per method: every run thin, their mean thick; quantities: column to label."""
    methods = [m for m in METHODS if m in set(evaluations["method"])]
    shape = len(quantities), len(methods)
    figure, axes = plt.subplots(*shape, figsize=(2.6 * shape[1], 1.9 * shape[0]), sharex=True, sharey="row")
    for line, (quantity, label) in zip(axes, quantities.items(), strict=True):
        for panel, method in zip(line, methods, strict=True):
            runs = evaluations[evaluations["method"] == method].pivot(index="step", columns="seed", values=quantity)
            panel.plot(runs.index / 1000, runs, color=METHOD_COLOURS[method], lw=0.8, alpha=0.6)
            panel.plot(runs.index / 1000, runs.mean(axis=1), color=METHOD_COLOURS[method], lw=2.5)
        line[0].set_ylabel(label, fontsize=10)
    for panel, method in zip(axes[0], methods, strict=True):
        panel.set_title(method_name(method))
    for panel in axes[-1]:
        panel.set_xlabel("thousand steps", fontsize=10)
    budget_label(figure, budget)
    return figure
