"""The figures of notebook 04."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from paperlib.notebooks.nb04_vector_field_consistency import measures as vf
from paperlib.notebooks.shared.transitions import Transitions
from paperlib.pave.critic_geometry import Critic, action_gradient
from paperlib.pave.figures.names import METHOD_COLOURS
from paperlib.repro.figures import colours

ENVIRONMENTS = ("pendulum", "reacher", "hopper")
METHODS = {"base": "Base", "pave": "PAVE"}
_COLOURS = colours(ENVIRONMENTS)
_STYLES = {"base": "-", "pave": "--"}
_MANY = 800  # more points than this only darken a scatter


def error_of_first_order(
    fractions: Sequence[float],
    medians: Mapping[tuple[str, str], Tensor],
    leading: Mapping[tuple[str, str], float],
    full: Mapping[tuple[str, str], tuple[Tensor, Tensor]],
) -> Figure:
    """Left: median error against t, with its leading term. Right: error against length of the environment's own step.

    medians: (environment, method) to (len(fractions),). full: to (lengths, errors) of the transitions at t = 1.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.6))
    grid = np.asarray(fractions)
    for (environment, method), values in medians.items():
        label = f"{environment}, {METHODS[method]}"
        left.plot(grid, values, _STYLES[method], marker="o", ms=3.5, color=_COLOURS[environment], label=label)
        left.plot(grid, leading[environment, method] * grid, ":", color="0.35", lw=1, zorder=0)
    left.plot([], [], ":", color="0.35", label="leading term")
    left.axhline(0.1, color="black", lw=1)
    left.text(grid[0], 0.115, "the rule: 10 %", fontsize=9)
    left.set(
        xscale="log",
        yscale="log",
        xlabel="fraction $t$ of the step",
        ylabel="median relative error",
        title="All critics",
    )
    left.legend(fontsize=8.5, loc="lower right")
    for environment in ENVIRONMENTS:
        lengths, errors = full[environment, "base"]
        right.scatter(
            lengths[:_MANY],
            errors[:_MANY],
            s=5,
            alpha=0.35,
            rasterized=True,
            color=_COLOURS[environment],
            label=environment,
        )
    right.axhline(0.1, color="black", lw=1)
    right.set(xscale="log", yscale="log", ylim=(1e-4, 1e3))
    right.set(xlabel=r"length of the step $\|\Delta s_t\|$", ylabel="relative error at $t = 1$", title="Base critics")
    right.legend(fontsize=9, loc="upper left", markerscale=3)
    return figure


def visited_directions(spectra: Mapping[str, Tensor], couplings: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """Left: cumulative spectrum of the visited directions. Right: ||H_sa u|| along them and along isotropic ones.

    couplings: environment to the norms (along transitions, along isotropic directions), each (B,).
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.4))
    for environment, spectrum in spectra.items():
        share = torch.cumsum(spectrum, 0)
        count = np.arange(1, len(share) + 1)
        left.plot(count, share, "o-", ms=4, color=_COLOURS[environment], label=f"{environment}, $d_s$ = {len(share)}")
        left.plot(count, count / len(share), ":", color=_COLOURS[environment])
    left.plot([], [], ":", color="0.35", label="isotropic")
    left.set(xlabel="number of principal directions", ylabel=r"share of $E\,\|u\|^2$", ylim=(0, 1.05))
    left.legend(fontsize=9, loc="lower right")
    labels = []
    for position, (environment, (along, isotropic)) in enumerate(couplings.items()):
        median = isotropic.median()
        boxes = right.boxplot(
            [(along / median).numpy(), (isotropic / median).numpy()],
            positions=[3 * position, 3 * position + 1],
            widths=0.8,
            whis=(5, 95),
            showfliers=False,
            patch_artist=True,
            medianprops={"color": "black"},
        )
        for box, alpha in zip(boxes["boxes"], (0.9, 0.3), strict=True):
            box.set(facecolor=_COLOURS[environment], alpha=alpha)
        labels += [f"{environment}\nsteps", "iso-\ntropic"]
    right.set(yscale="log", ylabel=r"$\|\nabla^2_{sa}Q\,u\|$ / isotropic median")
    right.set_xticks([3 * (i // 2) + i % 2 for i in range(len(labels))], labels, fontsize=9)
    return figure


def selectivity_sweep(sweeps: Mapping[str, Mapping[str, tuple[Sequence[float], Tensor, Tensor]]]) -> Figure:
    """One panel per environment: coupling against the weight of a loss, relative to none.

    sweeps: environment, then loss ("VFC", "MPR"), to (weights, along transitions, isotropic).
    """
    figure, panels = plt.subplots(1, len(sweeps), figsize=(12.0, 4.0), sharey=True)
    tint = colours(["VFC", "unused", "MPR"])
    for panel, (environment, losses) in zip(panels, sweeps.items(), strict=True):
        for loss, (weights, along, isotropic) in losses.items():
            panel.plot(weights, along, "o-", ms=4, color=tint[loss], label=f"{loss}: along transitions")
            panel.plot(weights, isotropic, "s:", ms=4, color=tint[loss], label=f"{loss}: all directions")
        panel.set(xscale="log", yscale="log", title=environment, xlabel="weight of the loss")
        panel.set_yticks([0.05, 0.1, 0.2, 0.5, 1.0], ["0.05", "0.1", "0.2", "0.5", "1"])
        panel.axhline(1.0, color="0.6", lw=0.8, zorder=0)
    panels[0].set_ylabel("coupling / coupling without the loss")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return figure


def one_transition(critic: Critic, transition: Transitions, fisher: float, *, points: int = 201) -> Figure:
    """Policies, scores and squared score difference of one transition with a one-dimensional action.

    fisher: the mean of the last over p(.|s_t).
    """
    actions = torch.linspace(-1, 1, points, dtype=torch.float64)[:, None]
    figure, panels = plt.subplots(1, 3, figsize=(12.5, 3.9))
    scores = []
    for state, name, colour in (
        (transition.states, "$s_t$", "0.6"),
        (transition.next_states, "$s_{t+1}$", "black"),
    ):
        grid = vf.ActionGrid(actions, torch.full((points,), 2 / points, dtype=torch.float64))
        panels[0].plot(actions, vf.log_boltzmann(critic, state, grid)[0].exp(), color=colour, label=name)
        scores.append(action_gradient(critic, state.expand(points, -1), actions)[:, 0])
        panels[1].plot(actions, scores[-1], color=colour, label=name)
    panels[2].plot(actions, (scores[0] - scores[1]).square(), color="black")
    at = transition.actions[0, 0].item()
    panels[2].plot(
        at, vf.vfc_terms(critic, transition)[0], "o", color="#D55E00", label="VFC term: at the replay action"
    )
    panels[2].axhline(fisher, ls="--", color="#0072B2", label=r"Fisher divergence: mean over $p(\cdot|s_t)$")
    panels[2].set(ylabel="squared score difference", ylim=(0, 1.35 * (scores[0] - scores[1]).square().max().item()))
    panels[0].set(ylabel="$p(a|s)$", ylim=(0, None))
    panels[1].set(ylabel=r"score $\nabla_a Q(s,a)$")
    for panel in panels:
        panel.set_xlabel("action $a$")
        panel.legend(fontsize=8.5)
    return figure


def divergence_against_loss(
    clouds: Mapping[str, tuple[Tensor, Tensor, float]],
    separations: Sequence[float],
    modes: Mapping[str, Sequence[float]],
) -> Figure:
    """Scatter panels of KL against VFC term (term, KL, rank correlation), then the two-mode counterexample."""
    figure, panels = plt.subplots(1, len(clouds) + 1, figsize=(13.0, 4.3))
    for panel, (name, (term, divergence, correlation)) in zip(panels[:-1], clouds.items(), strict=True):
        colour = METHOD_COLOURS[name.lower()]
        panel.scatter(term[:_MANY], divergence[:_MANY], s=5, alpha=0.3, rasterized=True, color=colour)
        panel.set(
            xscale="log", yscale="log", xlim=(1e-5, 1e2), ylim=(1e-7, 1e1), xlabel="VFC term at the replay action"
        )
        panel.set_title(f"pendulum, {name}: rank correlation {correlation:.2f}", fontsize=11)
    panels[0].set_ylabel(r"$\mathrm{KL}(p(\cdot|s_t)\,\|\,p(\cdot|s_{t+1}))$")
    for (name, values), style in zip(modes.items(), ("-", "--"), strict=True):
        panels[-1].plot(separations, values, style, color="black", label=name)
    panels[-1].set(yscale="log", xlabel="half the distance of the two modes")
    panels[-1].set_title("Constructed: the mass changes mode", fontsize=11)
    panels[-1].legend(fontsize=9, loc="lower left")
    return figure
