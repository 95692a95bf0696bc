"""Pictures of the curvature loss: its zero-loss set, the Jensen gap, fitted and trained critics, probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch, Rectangle
from matplotlib.ticker import LogFormatter
from torch import Tensor

from paperlib.notebooks.nb05_curvature_preservation import measures as curvature
from paperlib.pave.figures.names import METHOD_COLOURS
from paperlib.repro.figures import budget_label, colours
from paperlib.repro.statistics import mean_interval

_COLOURS = colours(["MPR alone", "MPR + Curv", "no penalty"])
_TARGET_COLOURS = colours(["rippled", "a'Bs", "concave"])


def zero_loss_set(traces: Sequence[float], delta: float) -> Figure:
    """Slices of the symmetric 2 x 2 matrices at fixed trace, and the loss of diag(1, -3) in a turned basis.

    In (x, q) = ((H_11 - H_22) / 2, H_12) the eigenvalues are tr/2 +- |(x, q)|, and the sign vectors give tr +- 2q.
    """
    figure, axes = plt.subplots(1, len(traces) + 1, figsize=(4.4 * (len(traces) + 1), 4.6))
    for ax, trace in zip(axes, traces, strict=False):
        _slice(ax, trace, delta)
    axes[0].plot(2.0, 0.0, "k*", markersize=14, linestyle="none")
    axes[0].annotate("diag(1, -3)", (2.0, 0.0), (1.2, -0.35), fontsize=10)
    axes[0].set_ylabel("$q = H_{12}$")
    handles = [
        Patch(color=_COLOURS["MPR + Curv"], alpha=0.35, label="zero loss: every sign vector passes"),
        Patch(color=_COLOURS["MPR alone"], alpha=0.45, label="negative definite"),
        Line2D([], [], color="k", linestyle="--", label=r"$\lambda_{\max} \leq -\delta$, as the paper says"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False)
    angles = np.linspace(0.0, np.pi / 2, 361)
    axes[-1].plot(np.degrees(angles), curvature.loss_of_turned((1.0, -3.0), delta, angles), color="k")
    axes[-1].set(xlabel="basis turned by (degrees)", ylabel="curvature loss", xticks=[0, 15, 30, 45, 60, 75, 90])
    axes[-1].set_title("eigenvalues 1 and -3, turned")
    return figure


def _slice(ax: Axes, trace: float, delta: float) -> None:
    reach = 3.4
    half = (abs(trace) - delta) / 2
    ax.add_patch(Rectangle((-reach, -half), 2 * reach, 2 * half, color=_COLOURS["MPR + Curv"], alpha=0.35, lw=0))
    ax.add_patch(Circle((0, 0), abs(trace) / 2, color=_COLOURS["MPR alone"], alpha=0.45, lw=0))
    ax.add_patch(Circle((0, 0), abs(trace) / 2 - delta, fill=False, color="k", linestyle="--", lw=1.5))
    ax.plot(0, 0, "k.", markersize=4)
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="$x = (H_{11} - H_{22})/2$")
    ax.set_title(f"tr H = {trace:g}")


def jensen(delta: float, spreads: Sequence[float], hessians: Tensor) -> Figure:
    """The loss against the trace for 2 x 2 matrices of fixed off-diagonal, and for random 4 x 4 ones."""
    figure, axes = plt.subplots(1, 2, figsize=(11.0, 4.4), sharey=True)
    traces = torch.linspace(-10.0, 8.0, 361, dtype=torch.float64)
    for spread, colour in zip(spreads, plt.get_cmap("viridis")(np.linspace(0.75, 0.1, len(spreads))), strict=True):
        off = torch.tensor([[0.0, spread], [spread, 0.0]], dtype=torch.float64)
        loss = curvature.expected_hinge(traces[:, None, None] / 2 * torch.eye(2, dtype=torch.float64) + off, delta)
        axes[0].plot(traces, loss, color=colour, label=f"$H_{{12}} = {spread:g}$")
    axes[0].legend(title="2 x 2", loc="upper left")
    trace = torch.diagonal(hessians, dim1=1, dim2=2).sum(1)
    loss = curvature.expected_hinge(hessians, delta)
    largest = torch.linalg.eigvalsh(hessians)[:, -1]
    points = axes[1].scatter(trace, loss, c=largest, s=14, cmap="YlOrRd", vmin=-2, vmax=10)
    figure.colorbar(points, ax=axes[1], label=r"$\lambda_{\max}(H)$")
    axes[1].plot(traces, (traces + delta).clamp_min(0), color="k", label=r"$\max(0, \mathrm{tr}\,H + \delta)$")
    axes[1].legend(title="random 4 x 4", loc="upper left")
    for ax in axes:
        ax.axvline(-delta, color="0.5", linestyle=":", lw=1.2)
        ax.set(xlim=(-10, 8), ylim=(-0.3, 10), xlabel=r"$\mathrm{tr}\,H$")
    axes[0].set_ylabel(r"$E_v\max(0, v^\top Hv + \delta)$")
    return figure


def fitted_critics(geometry: pd.DataFrame, quantities: Mapping[str, str], *, log: Sequence[str] = ()) -> Figure:
    """Four quantities, a panel each: groups by number of actions, a point per fit, its mean with the 95 % interval."""
    figure, grid = plt.subplots(2, 2, figsize=(10.0, 7.2), layout="constrained")
    figure.get_layout_engine().set(wspace=0.06)
    axes = grid.flat
    groups = list(geometry["actions"].unique())
    for ax, (quantity, label) in zip(axes, quantities.items(), strict=True):
        for offset, (name, chosen) in zip((-0.25, 0.0, 0.25), _by_penalty(geometry).items(), strict=True):
            for place, actions in enumerate(groups):
                values = chosen.loc[chosen["actions"] == actions, quantity].to_numpy()
                _fits(ax, place + offset, values, _COLOURS[name])
        ax.set_xticks(range(len(groups)), groups)
        ax.set(xlabel="actions $d_a$", ylabel=label, yscale="log" if quantity in log else "linear")
        ax.grid(False, axis="x")
        if quantity in log:
            for set_formatter in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
                set_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))
    handles = [Line2D([], [], color=_COLOURS[name], marker="o", lw=3, label=name) for name in _by_penalty(geometry)]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    fits = geometry["seed"].nunique()
    budget_label(
        figure, f"points: {fits} fits that differ in their initialisation; bars: their mean; boxes: its 95 % interval"
    )
    return figure


def _fits(ax: Axes, place: float, values: np.ndarray, colour: tuple[float, float, float]) -> None:
    ax.plot([place + 0.07] * len(values), values, "o", color=colour, alpha=0.6, markersize=4)
    interval = mean_interval(values, seed=0)
    box = Rectangle(
        (place - 0.09, interval["low"]), 0.12, interval["high"] - interval["low"], color=colour, alpha=0.3, lw=0
    )
    ax.add_patch(box)
    ax.hlines(interval["mean"], place - 0.1, place + 0.04, color=colour, lw=2.5)


def _by_penalty(geometry: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {
        "no penalty": geometry[(geometry["mpr"] == 0) & (geometry["curv"] == 0)],
        "MPR alone": geometry[(geometry["mpr"] > 0) & (geometry["curv"] == 0)],
        "MPR + Curv": geometry[(geometry["mpr"] > 0) & (geometry["curv"] > 0)],
    }


def penalty_sweep(sweep: pd.DataFrame, quantities: Mapping[str, str], published: float) -> Figure:
    """Each quantity against the weight of MPR, per kind of targets, dashed with Curv beside it."""
    figure, axes = plt.subplots(1, len(quantities), figsize=(4.2 * len(quantities), 4.3))
    places = {weight: i for i, weight in enumerate(sorted(sweep["mpr"].unique()))}
    for ax, (quantity, label) in zip(axes, quantities.items(), strict=True):
        for (targets, curv), part in sweep.groupby(["targets", "curv"], sort=False):
            style = {"color": _TARGET_COLOURS[targets], "linestyle": "--" if curv else "-"}
            ax.plot(part["mpr"].map(places), part[quantity], marker="o", label=_sweep_label(targets, curv), **style)
        ax.axvline(places[published], color="0.5", linestyle=":", lw=1.2)
        ax.set_xticks(list(places.values()), [_power(weight) for weight in places])
        ax.set(xlabel=r"weight $\lambda_1$ of MPR", ylabel=label, yscale="log")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    return figure


def _power(weight: float) -> str:
    return (
        f"{weight:g}" if weight < 10 else f"${weight / 10 ** int(np.log10(weight)):g}\\cdot 10^{int(np.log10(weight))}$"
    )


def _sweep_label(targets: str, curv: float) -> str:
    return f"{targets} targets" + (f", with Curv ({curv:g})" if curv else "")


def trained_critics(points: pd.DataFrame, delta: float) -> Figure:
    """tr H_aa against lambda_max(H_aa) at visited states, one panel per environment with its own axes."""
    environments = list(points["environment"].unique())
    figure, axes = plt.subplots(1, len(environments), figsize=(4.4 * len(environments), 4.2))
    palette = {"base": METHOD_COLOURS["base"], "pave": METHOD_COLOURS["pave"]}
    for ax, environment in zip(np.atleast_1d(axes), environments, strict=True):
        for method, colour in palette.items():
            part = points[(points["environment"] == environment) & (points["method"] == method)]
            ax.plot(part["trace"], part["largest"], ".", color=colour, markersize=5, alpha=0.5)
        if np.ptp(points.loc[points["environment"] == environment, "trace"]) > 20:
            ax.set_xscale("symlog", linthresh=1.0)
            ax.set_yscale("symlog", linthresh=1.0)
        ax.axhline(0.0, color="0.3", lw=1.0)
        ax.axvline(-delta, color="0.3", linestyle=":", lw=1.2)
        ax.set(xlabel=r"$\mathrm{tr}\,H_{aa}$", title=environment)
    np.atleast_1d(axes)[0].set_ylabel(r"$\lambda_{\max}(H_{aa})$")
    names = zip(("Base", "PAVE"), palette.values(), strict=True)
    handles = [Line2D([], [], color=colour, marker="o", linestyle="none", label=name) for name, colour in names]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
    return figure
