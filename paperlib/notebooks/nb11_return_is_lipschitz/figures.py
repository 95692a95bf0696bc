"""The pictures of notebook 11."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from paperlib.lipschitz.finite_mdp import future_state_distribution
from paperlib.notebooks.nb10_lipschitz_mdps.measures import future_states_by_series
from paperlib.notebooks.nb11_return_is_lipschitz.measures import expanding_ratios, future_states_by_sampling
from paperlib.notebooks.shared.grid_family import Case
from paperlib.repro.figures import colours


def future_states_figure(case: Case, episodes: int) -> Figure:
    """delta of two policies three ways: linear system, series, and episodes that stop with probability 1 - gamma."""
    figure, axes = plt.subplots(figsize=(8, 4.2))
    names = [r"$\theta$", r"$\hat\theta$"]
    for name, theta, colour in zip(names, (case.theta, case.other), colours(names).values(), strict=True):
        policy = case.policy.probabilities(theta)
        axes.plot(case.mdp.states, future_state_distribution(case.mdp, policy), color=colour, label=f"{name}: exact")
        axes.plot(case.mdp.states, future_states_by_series(case.mdp, policy), "o", mfc="none", color=colour, ms=7)
        sampled = future_states_by_sampling(case.mdp, policy, episodes, seed=0)
        axes.plot(case.mdp.states, sampled, "x", color=colour, label=f"{name}: {episodes:,} episodes")
    axes.plot(case.mdp.states, case.mdp.start, color="0.5", ls=":", label=r"start $\mu$")
    axes.set(xlabel="state", ylabel=r"$\delta_\mu^\theta$", title="circles: the series")
    axes.legend(fontsize=9)
    return figure


def beyond_figure(slopes: Mapping[str, float]) -> Figure:
    """K(delta, delta') / |theta - theta'| against |theta - theta'| on deterministic maps of some slopes."""
    figure, axes = plt.subplots(figsize=(7.5, 4.2))
    steps = np.logspace(-9, -1, 33)
    for (name, slope), colour in zip(slopes.items(), colours(list(slopes)).values(), strict=True):
        axes.plot(steps, expanding_ratios(steps, slope=slope), "o-", ms=3, color=colour, label=name)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel=r"$|\theta-\hat\theta|$",
        ylabel=r"$\mathcal{K}(\delta^\theta,\delta^{\hat\theta})\,/\,|\theta-\hat\theta|$",
    )
    axes.legend(title=r"slope ($= L_P$), $\gamma = 0.9$", fontsize=9)
    return figure
