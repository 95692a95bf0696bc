"""The pictures of notebook 11."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from paperlib.lipschitz import closed_loop_on_line
from paperlib.lipschitz.simulation.domains import LQG
from paperlib.notebooks.nb11_return_is_lipschitz.measures import expanding_ratios, future_states_by_sampling
from paperlib.notebooks.shared.policy_pair import PolicyPair, future_states_by_series
from paperlib.repro.figures import colours


def future_states_figure(pair: PolicyPair, episodes: int) -> Figure:
    """delta of two policies three ways: linear system, series, and episodes that stop with probability 1 - gamma."""
    figure, axes = plt.subplots(figsize=(8, 4.2))
    names = [r"$\theta$", r"$\hat\theta$"]
    states, marks = pair.mdp.states, {"mfc": "none", "ms": 7, "ls": "none"}
    for name, colour, exact, pi in zip(names, colours(names).values(), pair.delta, pair.pi, strict=True):
        axes.plot(states, exact, color=colour, label=f"{name}: linear system")
        axes.plot(states, future_states_by_series(pair.mdp, pi), "o", color=colour, label=f"{name}: series", **marks)
        sampled = future_states_by_sampling(pair.mdp, pi, episodes)
        error = 2 * np.sqrt(exact * (1 - exact) / episodes)
        label = f"{name}: {episodes:,} episodes, two standard errors"
        axes.errorbar(states, sampled, error, fmt="x", color=colour, capsize=2, label=label)
    axes.plot(states, pair.mdp.start, color="0.5", ls=":", label=r"start $\mu$")
    axes.set(xlabel="state", ylabel=r"$\delta_\mu^\theta$")
    axes.legend(fontsize=9)
    return figure


def beyond_figure(slopes: Mapping[str, float]) -> Figure:
    """K(delta, delta') / |theta - theta'| against |theta - theta'| on deterministic maps of some slopes.

    Where a line rises to the left with slope kappa - 1, the distance is of the order |theta - theta'|^kappa.
    """
    figure, axes = plt.subplots(figsize=(7.5, 4.2))
    steps = np.logspace(-9, -1, 33)
    for (name, slope), colour in zip(slopes.items(), colours(list(slopes)).values(), strict=True):
        ratios = expanding_ratios(steps, slope)
        kappa = 1 + np.polyfit(np.log(steps[:20]), np.log(ratios[:20]), 1)[0]
        axes.plot(steps, ratios, "o-", ms=3, color=colour, label=rf"{name}: $\kappa$ = {kappa:.2f}")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel=r"$|\theta-\hat\theta|$",
        ylabel=r"$\mathcal{K}(\delta^\theta,\delta^{\hat\theta})\,/\,|\theta-\hat\theta|$",
        title=r"a line of slope $\kappa-1$: the distance is of order $|\theta-\hat\theta|^\kappa$",
    )
    axes.legend(title=r"slope ($= L_P$), $\gamma = 0.9$", fontsize=9)
    return figure


def closed_loop_figure(domains: Sequence[LQG], discount: float) -> Figure:
    """K of LQG against theta (solid) with the paper's bound L_P (1 + L_pi) of it (dashed), and where gamma K is 1."""
    figure, axes = plt.subplots(figsize=(8, 4.4))
    thetas = np.linspace(-1, 0.5, 61)[:, None]
    names = [f"$A$ = {lqg.a}" for lqg in domains]
    for lqg, (name, colour) in zip(domains, colours(names).items(), strict=True):
        policy = lqg.policy()
        known = closed_loop_on_line(policy, thetas, lqg.a, lqg.a, truncated=lqg.truncated)
        axes.plot(thetas, known, color=colour, lw=2.5, label=f"{name}: $K$")
        bound = policy.constants(thetas).closed_loop(lqg.constants())
        axes.plot(thetas, bound, color=colour, ls="--", label=f"{name}: $L_P(1+L_\\pi)$")
    axes.axhline(1 / discount, color="0.3", lw=1, ls=":", label=rf"$1/\gamma$, $\gamma$ = {discount}: none above")
    axes.set(xlabel=r"policy parameter $\theta$ (mean action $\theta s$)", ylabel="constant of the closed loop", ylim=0)
    figure.legend(loc="outside right center", frameon=False, fontsize=10)
    return figure
