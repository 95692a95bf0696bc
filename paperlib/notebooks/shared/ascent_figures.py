"""The figures of notebooks 15 and 16: scores, steps, constants and margins over iterations, and motions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from paperlib.lipschitz.simulation.domains import Domain, MassSpringDamper, ShipSteering
from paperlib.notebooks.shared.ascents import LABELS, Ascents
from paperlib.repro.figures import budget_label, colours

_COLOUR_OF = colours([*LABELS])
_STYLE_OF = dict(zip(LABELS, ("-", "-", "-", "-", ":"), strict=True))


def budget_of(ascents: Ascents, cell: str) -> str:
    """For the label of a figure."""
    spec = ascents.spec(cell)
    return (
        f"recorded: {spec['runs']} runs, {spec['episodes']} episodes of {spec['steps']} steps per gradient; "
        "shading: 95 % interval of the mean"
    )


def draw_curves(
    panel: Axes, ascents: Ascents, cell: str, quantity: str, rules: Sequence[str], *, deviations: bool = False
) -> None:
    """Means over runs with 95 % intervals, or with the runs' standard deviation."""
    for rule in rules:
        curve = ascents.curve(cell, rule, quantity)
        width = curve["standard_deviation"] * (1 if deviations else 1.96 / np.sqrt(curve["runs"]))
        panel.plot(curve["iteration"], curve["mean"], _STYLE_OF[rule], color=_COLOUR_OF[rule], label=LABELS[rule])
        low, high = curve["mean"] - width, curve["mean"] + width
        panel.fill_between(curve["iteration"], low, high, color=_COLOUR_OF[rule], alpha=0.2, lw=0)


def scores_and_steps_figure(ascents: Ascents, cell: str, title: str) -> Figure:
    """Panels a (scores) and b (step sizes, 2-norm for MSS-MLC) of Figs. 2 and 3."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.0, 4.8))
    draw_curves(left, ascents, cell, "score", [*LABELS])
    draw_curves(right, ascents, cell, "step_size", [*LABELS])
    left.set(title=f"a. {title}", xlabel="iterations", ylabel=r"$J^\theta_\mu$")
    right.set(title="b. step sizes", xlabel="iterations", ylabel=r"$\|\alpha\|_2$", yscale="log")
    _legend(figure, left)
    budget_label(figure, budget_of(ascents, cell))
    return figure


def scores_figure(ascents: Ascents, cells: Mapping[str, str]) -> Figure:
    """Panels of Fig. 4: a cell each, bars the runs' standard deviation as printed (here shaded)."""
    figure, axes = plt.subplots(1, len(cells), figsize=(5.5 * len(cells), 4.8))
    for panel, letter, (title, cell) in zip(np.atleast_1d(axes), "abcd", cells.items(), strict=False):
        draw_curves(panel, ascents, cell, "score", [*LABELS], deviations=True)
        panel.set(title=f"{letter}. {title}", xlabel="iterations", ylabel=r"$J^\theta_\mu$")
    _legend(figure, np.atleast_1d(axes)[0])
    label = budget_of(ascents, next(iter(cells.values())))
    budget_label(figure, label.replace("95 % interval of the mean", "standard deviation over runs"))
    return figure


def behaviour_figure(ascents: Ascents, cells: Mapping[str, str]) -> Figure:
    """Fig. 5: a row per speed; scores, step sizes, L_pi and contraction margin over iterations."""
    panels = {
        "score": r"$J^\theta_\mu$",
        "step_size": r"$\|\alpha\|_2$",
        "policy_constant": r"$L_\pi$",
        "margin": r"$1-\gamma L_P(1+L_\pi)$",
    }
    figure, axes = plt.subplots(len(cells), 4, figsize=(16.0, 3.9 * len(cells)), squeeze=False)
    for row, (title, cell) in zip(axes, cells.items(), strict=True):
        for panel, (quantity, label) in zip(row, panels.items(), strict=True):
            draw_curves(panel, ascents, cell, quantity, [*LABELS])
            panel.set(xlabel="iterations", ylabel=label, title=title if quantity == "score" else "")
            panel.xaxis.set_major_locator(plt.MaxNLocator(4))
        row[1].set_yscale("log")
        row[3].axhline(0, color="0.3", lw=1)
    _legend(figure, axes[0, 0])
    budget_label(figure, budget_of(ascents, next(iter(cells.values()))))
    return figure


def _legend(figure: Figure, panel: Axes) -> None:
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)


def angle_figure(ascents: Ascents, cells: Sequence[str]) -> Figure:
    """What MSS-MLC guarantees over SSS-MLC against the angle between gradient and constants, runs of MSS-MLC."""
    figure, axes = plt.subplots(1, len(cells), figsize=(5.5 * len(cells), 4.2), sharey=True)
    for panel, cell in zip(axes, cells, strict=True):
        trace = ascents.table("trace", cell, "mss_mlc")
        trace = trace[trace["angle"] >= 0]
        points = panel.scatter(
            np.degrees(trace["angle"]), trace["mss_over_sss_mlc"], c=trace["iteration"], s=4, cmap="viridis", lw=0
        )
        panel.set(title=cell, xlabel="angle between |gradient| and constants, degrees")
    axes[0].set_ylabel("guarantee of MSS-MLC over SSS-MLC")
    figure.colorbar(points, ax=axes, label="iteration")
    budget_label(figure, budget_of(ascents, cells[0]).split(";")[0])
    return figure


def audit_figure(ascents: Ascents, cells: Sequence[str]) -> Figure:
    """Percentage of updates that improve by less than guaranteed, by tenth of the iterations."""
    figure, axes = plt.subplots(1, len(cells), figsize=(4.6 * len(cells), 4.4), sharey=True, squeeze=False)
    for panel, cell in zip(axes[0], cells, strict=True):
        for rule in LABELS:
            share = 100 * ascents.table("tenths", cell, rule).groupby("tenth")["violations"].mean()
            style = {"color": _COLOUR_OF[rule], "marker": ".", "label": LABELS[rule]}
            panel.plot(share.index + 1, share, _STYLE_OF[rule], **style)
        panel.set(title=cell, xlabel="tenth of the iterations", xticks=[1, 4, 7, 10])
    top = max(1, 1.05 * axes[0, 0].get_ylim()[1])
    axes[0, 0].set(ylabel="updates below their guarantee, %", ylim=(-0.03 * top, top))
    _legend(figure, axes[0, 0])
    budget_label(figure, budget_of(ascents, cells[0]).split(";")[0])
    return figure


def spring_motion_figure(domains: Mapping[str, MassSpringDamper], parameters: Mapping[str, np.ndarray]) -> Figure:
    """Position over time without noise, from either start, at theta = 0 and under each rule's mean final policy."""
    figure, axes = plt.subplots(1, len(domains), figsize=(5.5 * len(domains), 4.2), sharey=True)
    for panel, (name, domain) in zip(axes, domains.items(), strict=True):
        for label, theta in {"at the start": np.zeros(3), **parameters[name]}.items():
            states = noiseless(domain, theta, (np.array([-1.0, 1.0]), np.zeros(2)), 30)
            time = domain.interval * np.arange(len(states))
            rule = next((rule for rule, words in LABELS.items() if words == label), None)
            colour, style = (_COLOUR_OF[rule], "-") if rule else ("0.5", ":")
            panel.plot(time, states[:, 0], style, color=colour, label=[label, None])
        panel.axhline(domain.goal, color="0.3", lw=1, ls="--")
        panel.set(title=name, xlabel="time, s")
    axes[0].set_ylabel("position (goal dashed)")
    _legend(figure, axes[0])
    return figure


def noiseless(domain: Domain, theta: np.ndarray, start: tuple[np.ndarray, ...], steps: int) -> np.ndarray:
    """States under the mean action: shape (steps + 1, coordinates, episodes)."""
    state, states = start, [np.array(start)]
    for _ in range(steps):
        state = domain.step(state, mean_action(domain, theta, state))
        states.append(np.array(state))
    return np.array(states)


def mean_action(domain: Domain, theta: np.ndarray, state: tuple[np.ndarray, ...]) -> np.ndarray:
    """The admissible action nearest to theta'phi(s)."""
    return domain.applied(sum(t * phi for t, phi in zip(theta, domain.feature_values(state), strict=True)))


def routes_figure(
    domains: Mapping[str, ShipSteering], policies: Mapping[str, Mapping[str, Callable[[tuple], np.ndarray]]], steps: int
) -> Figure:
    """The ship's way without noise under policies (state to heading omega), by domain; the current in grey."""
    figure, axes = plt.subplots(1, len(domains), figsize=(5.6 * len(domains), 4.6), sharey=True)
    for panel, (title, domain) in zip(np.atleast_1d(axes), domains.items(), strict=True):
        y = np.linspace(-1.8, 1.8, 9)
        panel.quiver(np.full(9, 4.6), y, -y, 0 * y, color="0.7", scale=12, width=0.005)
        panel.text(4.6, 2.1, "current", color="0.5", ha="center", fontsize=9)
        for label, policy in policies[title].items():
            state, way = tuple(np.array([c]) for c in domain.start_at), [domain.start_at]
            for _ in range(steps):
                state = domain.step(state, policy(state))
                way.append(tuple(float(c[0]) for c in state))
            rule = next((rule for rule, words in LABELS.items() if words == label), None)
            colour, style = (_COLOUR_OF[rule], "-") if rule else ("0.3", "--")
            panel.plot(*np.array(way).T, style, color=colour, marker=".", ms=4, label=label)
        panel.add_patch(Circle((0, 0), domain.goal_radius, color="C2", alpha=0.4))
        panel.set(title=title, xlabel="x, km", xlim=(-2, 6), ylim=(-2.05, 2.4), aspect="equal")
    np.atleast_1d(axes)[0].set_ylabel("y, km")
    _legend(figure, np.atleast_1d(axes)[0])
    return figure
