"""Pictures of the notebook on PAVE Lemma 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from paperlib.notebooks.shared.interior_maxima import InteriorMaxima, interior_maxima
from paperlib.notebooks.shared.trained_critics import TrainedCritic
from paperlib.pave.critic_geometry import Critic, implicit_policy_jacobian
from paperlib.repro.figures import colours

_ACTIONS = torch.linspace(-1, 1, 121, dtype=torch.float64)
_LEAST_SENSITIVITY, _LARGEST_RATIO = 0.05, 20.0  # beyond them an actor at the end of its tanh would set the axes
_MARKERS = {"Base": "o", "PAVE": "^"}


def advantage_map(axes: Axes, critic: Critic, x: Tensor, states: Tensor, actions: Tensor = _ACTIONS) -> Tensor:
    """Draw Q minus its largest value over `actions`, against x (K,) and the action; returns the best action (K,)."""
    with torch.no_grad():
        rows, columns = states.repeat_interleave(len(actions), 0), actions.repeat(len(states))[:, None]
        values = critic(rows, columns).view(len(states), len(actions))
    advantage = values - values.amax(1, keepdim=True)
    levels = -np.geomspace(1, 1e-3, 13) * -advantage.min().item()
    thin = max(len(actions) // 120, 1)  # a finer grid finds the maximum, a coarse one is enough to draw
    axes.contourf(
        x, actions[::thin], advantage.T[::thin], levels=[*levels, 0.0], colors=plt.cm.Blues(np.linspace(0.03, 0.6, 13))
    )
    axes.grid(False)
    return actions[values.argmax(1)]


def ridges(cases: Sequence[TrainedCritic], *, low: float, high: float, tangents: int) -> Figure:
    """Q of the pendulum critics over angle and torque at rest, the maximiser, and Lemma 1's slope at
    `tangents` of the angles."""
    figure, panels = plt.subplots(1, len(cases), figsize=(5.2 * len(cases), 4.4), sharey=True, squeeze=False)
    for axes, case in zip(panels[0], cases, strict=True):
        angles = torch.linspace(low, high, 81, dtype=torch.float64)
        advantage_map(axes, case.critic, angles, _at_rest(angles))
        found = interior_maxima(case.label, case.critic, _at_rest(angles), 1)
        _tangent_lines(axes, found.thinned(tangents), length=0.4 * (high - low))
        ridge = torch.atan2(found.states[:, 1], found.states[:, 0])
        axes.plot(ridge, found.actions[:, 0], "k-", lw=1.5, label="maximiser $a^*$, by Newton")
        with torch.no_grad():
            axes.plot(angles, case.policy(_at_rest(angles))[:, 0], "--", color="C2", lw=2, label=r"actor $\pi_\phi$")
        axes.set(title=case.method, xlabel="angle from upright (rad)", ylim=(-1, 1), xlim=(low, high))
        axes.set_xticks([0.0, 0.1, 0.2])
    panels[0][0].set_ylabel("action (scaled torque)")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _at_rest(angles: Tensor) -> Tensor:
    """Pendulum observations (cos, sin, angular velocity 0), (K, 3)."""
    return torch.stack([angles.cos(), angles.sin(), torch.zeros_like(angles)], dim=1)


def _tangent_lines(axes: Axes, found: InteriorMaxima, *, length: float) -> None:
    angles = torch.atan2(found.states[:, 1], found.states[:, 0])
    direction = torch.stack([-angles.sin(), angles.cos(), torch.zeros_like(angles)], dim=1)
    slopes = (implicit_policy_jacobian(found.mixed, found.action) @ direction[:, :, None])[:, 0, 0]
    for i, (angle, action, slope) in enumerate(zip(angles, found.actions[:, 0], slopes, strict=True)):
        reach = length / (1 + (slope * length) ** 2) ** 0.5  # of like length on the page, whatever the slope
        ends = torch.stack([angle - reach / 2, angle + reach / 2])
        label = "slope by Lemma 1" if i == 0 else None
        axes.plot(ends, action + slope * (ends - angle), color="C3", lw=5, alpha=0.75, label=label)
        axes.plot(angle, action, "o", color="C3", ms=8, clip_on=False)


def accuracy(
    steps: Sequence[float], errors: Mapping[str, Sequence[float]], unrolled: Mapping[str, Sequence[float]]
) -> Figure:
    """Left: error of finite differences over the step. Right: error of the unrolled solver over its iterations."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.0, 4.4), sharey=True)
    colour = colours(list(errors))
    for kind, values in errors.items():
        left.loglog(steps, values, "o-", ms=4, color=colour[kind], label=kind)
    guide = np.array([1e-4, 2e-3])
    left.loglog(guide, 6e3 * guide**2, "k:", lw=1)
    left.text(2e-4, 1.5e-3, "slope 2", ha="right", fontsize=9)
    for kind, values in unrolled.items():
        right.semilogy(range(1, len(values) + 1), np.maximum(values, 1e-17), color=colour[kind], lw=2)
    left.set(xlabel="step $h$ of the central difference", ylabel="largest relative error against Lemma 1")
    right.set(xlabel="iterations of the solver differentiated by torch.func")
    for axes in (left, right):
        axes.axhline(1e-6, color="0.4", ls="--", lw=1)
    right.text(40, 1.5e-6, "the ledger's threshold", ha="right", fontsize=9, color="0.3")
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    return figure


def flatness(curvatures: Sequence[float], norms: Mapping[str, Sequence[float]], moves: Mapping[str, Sequence[float]]):
    """Left: ||J|| over the smallest curvature. Right: how far a gradient change of 1e-6 moves the maximiser."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.0, 4.0))
    for marker, (label, values) in zip("os^", norms.items(), strict=True):
        left.loglog(curvatures, values, marker + "-", ms=5, label=label)
    left.set(ylabel=r"$\|J\|_2$, measured from the maximiser", title="$H_{sa}$ fixed, the surface flattens")
    for marker, (label, values) in zip("os", moves.items(), strict=True):
        right.loglog(curvatures, values, marker, ms=7, mfc="none", mew=1.5, label=label)
    right.loglog(curvatures, 1e-6 / np.asarray(curvatures), "k-", lw=1, label=r"$10^{-6}\,\|H_{aa}^{-1}\|_2$")
    right.set(ylabel="displacement of the maximiser", title="a gradient change of $10^{-6}$")
    for axes in (left, right):
        axes.set_xlabel(r"smallest curvature $\min_i|\lambda_i(H_{aa})|$")
    left.set_ylim(0.3, 1e5)
    left.legend(loc="upper right", fontsize=9)
    right.legend()
    return figure


def hypotheses(panels: Mapping[str, tuple[Critic, float, float]]) -> Figure:
    """Q over a one-dimensional state and action, and the best action: {title: (critic, lowest and highest state)}."""
    figure, axes = plt.subplots(2, 2, figsize=(10.0, 7.6))
    for at, (title, (critic, low, high)) in zip(axes.flat, panels.items(), strict=True):
        x = torch.linspace(low, high, 201, dtype=torch.float64)
        best = advantage_map(at, critic, x, x[:, None], torch.linspace(-1, 1, 801, dtype=torch.float64)).clone()
        jumps = best.diff().abs() > 0.5
        shown = torch.cat([jumps, torch.tensor([False])])
        at.plot(x, torch.where(shown, torch.nan, best), color="C3", lw=2.5)
        at.set(title=title, xlabel="state $s$", ylabel="action $a$", ylim=(-1.05, 1.05))
        at.title.set_fontsize(11)
    return figure


def learned_policy(table: pd.DataFrame) -> Figure:
    """Left: ||J_pi|| beside ||J_a*||; right: the action gap. Columns: method, environment, greedy, actor, gap."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.0, 5.0))
    colour = colours(sorted(table["environment"].unique()))
    for (environment, method), rows in table.groupby(["environment", "method"]):
        style = {"color": colour[environment], "marker": _MARKERS[method], "ls": "", "ms": 5, "mfc": "none", "mew": 1.2}
        actor = rows["actor"].clip(lower=_LEAST_SENSITIVITY)
        left.loglog(rows["greedy"], actor, label=f"{environment}, {method} ({len(rows)} states)", **style)
        right.loglog((rows["greedy"] / actor).clip(upper=_LARGEST_RATIO), rows["gap"], **style)
    ends = [table["greedy"].min(), table["greedy"].max()]
    left.plot(ends, ends, "k-", lw=1, label="equal")
    right.axvline(1, color="k", lw=1)
    right.set_xticks(ticks := [0.1, 0.2, 0.5, 1, 2, 5, 10, 20], map(str, ticks))
    right.minorticks_off()
    left.text(0.02, 0.01, "lowest row: this or less", transform=left.transAxes, fontsize=9, color="0.3")
    right.text(0.98, 0.01, "last column: this or more", transform=right.transAxes, ha="right", fontsize=9, color="0.3")
    left.set(xlabel=r"$\|J_{a^*}(s)\|_2$, Lemma 1", ylabel=r"$\|J_{\pi_\phi}(s)\|_2$, the actor")
    right.set(xlabel=r"$\|J_{a^*}\|_2\,/\,\|J_{\pi_\phi}\|_2$  (right of 1: the actor is smoother)")
    right.set(ylabel=r"action gap $\|\pi_\phi(s) - a^*(s)\|_2$")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure
