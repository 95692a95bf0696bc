"""Critics fitted to one set of targets under different penalties: what MPR alone does, and what Curv adds.

They differ in the weights of the penalties and in their initial parameters only; see `paperlib.notebooks.shared.fits`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from paperlib.notebooks.nb05_curvature_preservation.measures import expected_hinge
from paperlib.notebooks.shared.fits import DELTA, Weights, fit, halving_weight
from paperlib.pave.closed_form import closed_form_pave
from paperlib.pave.critic_geometry import action_gradient, action_hessian, mixed_hessian
from paperlib.pave.engine.networks import StackedMLP
from paperlib.pave.example_critics import ConcaveCritic, NetworkCritic
from paperlib.repro.statistics import mean_interval

STATE_DIM = 4
HIDDEN, LEARNING_RATE = (32, 32), 5e-3
TRAINING_POINTS, HELD_OUT_POINTS = 4096, 256

Targets = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class FittedCritic:
    """One fitted critic, in float64, with what it was fitted under."""

    action_dim: int
    weights: Weights
    seed: int
    critic: NetworkCritic


def rippled_targets(action_dim: int, *, waves: int = 8, frequency: float = 1.5, seed: int = 0) -> Targets:
    """A sum of random plane waves in (s, a) with variance near 1: its curvature has either sign equally often.

    frequency: standard deviation of each component of the wave vectors.
    """
    generator = torch.Generator().manual_seed(seed)
    vectors = frequency * torch.randn(STATE_DIM + action_dim, waves, generator=generator)
    phases = 2 * torch.pi * torch.rand(waves, generator=generator)
    scale = (2.0 / waves) ** 0.5

    def targets(states: Tensor, actions: Tensor) -> Tensor:
        return scale * torch.sin(torch.cat([states, actions], 1) @ vectors + phases).sum(1)

    return targets


def coupled_targets(action_dim: int, *, seed: int = 0) -> Targets:
    """a'Bs with a random B: all of the action's influence is coupling, and the action Hessian is zero."""
    generator = torch.Generator().manual_seed(seed)
    coupling = torch.randn(STATE_DIM, action_dim, generator=generator)
    return lambda states, actions: (actions * (states @ coupling)).sum(1)


def concave_targets(action_dim: int, *, seed: int = 0) -> Targets:
    """Values of a concave critic: there is no curvature to restore."""
    critic = ConcaveCritic(STATE_DIM, action_dim, seed=seed)
    return lambda states, actions: critic(states.double(), actions.double()).detach().float()


def draw_points(action_dim: int, count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """States (count, STATE_DIM) and actions (count, d_a), uniform in [-1, 1]."""
    points = 2 * torch.rand(count, STATE_DIM + action_dim, generator=torch.Generator().manual_seed(seed)) - 1
    return points[:, :STATE_DIM], points[:, STATE_DIM:]


def fit_critics(
    targets: Targets,
    action_dim: int,
    weights: Sequence[Weights],
    *,
    seeds: Sequence[int],
    updates: int,
    losses: Callable = closed_form_pave,
) -> list[FittedCritic]:
    """Fit a critic per weights and seed; seeds differ in the initial parameters. losses: as `closed_form_pave`.

    targets: (states, actions) to values (n,).
    """
    if min(action_dim, updates, len(weights), len(seeds)) < 1:
        raise ValueError("action_dim, updates, weights and seeds must each be at least one")
    runs = [(each, seed) for each in weights for seed in seeds]
    stack = StackedMLP((STATE_DIM + action_dim, *HIDDEN, 1), [torch.Generator().manual_seed(seed) for _, seed in runs])
    states, actions = draw_points(action_dim, TRAINING_POINTS, seed=1)
    options = {"updates": updates, "learning_rate": LEARNING_RATE, "seed": 2, "losses": losses}
    critics = fit(stack, [each for each, _ in runs], (states, actions, states), targets(states, actions), **options)
    return [FittedCritic(action_dim, *run, critic) for run, critic in zip(runs, critics, strict=True)]


def held_out_geometry(fitted: Sequence[FittedCritic], targets: Targets) -> pd.DataFrame:
    """One row per critic, from points it was not fitted to; medians over the points.

    mpr_loss and curv_loss: means over training points of ||H_sa||_F^2, which L_MPR is up to a constant, and of the
    curvature loss over all sign vectors. state_part and action_part: see `gradient_parts`.
    error: root mean square of Q - target; gradient: ||grad_a Q||; coupling: ||H_sa||_2; inverse_curvature:
    ||H_aa^-1||_2; sensitivity: ||H_aa^-1 H_sa||_2; negative_definite: share of points with lambda_max(H_aa) < 0;
    zero_loss and zero_loss_convex: share where every sign vector passes, and where in spite of it lambda_max > 0.
    """
    return pd.DataFrame([_geometry(one, targets) | _losses(one) | gradient_parts(one) for one in fitted])


def _losses(one: FittedCritic) -> dict[str, float]:
    states, actions = (x[:HELD_OUT_POINTS].double() for x in draw_points(one.action_dim, TRAINING_POINTS, seed=1))
    mixed = mixed_hessian(one.critic, states, actions).square().sum((1, 2))
    hinge = expected_hinge(action_hessian(one.critic, states, actions), DELTA)
    return {"mpr_loss": mixed.mean().item(), "curv_loss": hinge.mean().item()}


def gradient_parts(one: FittedCritic) -> dict[str, float]:
    """Root mean squares of the two parts of grad_a Q over a grid of 256 states and 64 actions.

    action_part: of the mean over states at each action, all there is in an additive critic f(s) + g(a); state_part: of
    what is left.
    """
    states, _ = draw_points(one.action_dim, 256, seed=4)
    _, actions = draw_points(one.action_dim, 64, seed=5)
    every = states.repeat(len(actions), 1).double(), actions.repeat_interleave(len(states), 0).double()
    gradient = action_gradient(one.critic, *every).view(len(actions), len(states), -1)
    mean = gradient.mean(1, keepdim=True)
    parts = {"action_part": mean, "state_part": gradient - mean}
    return {name: part.square().sum(2).mean().sqrt().item() for name, part in parts.items()}


def halving(geometry: pd.DataFrame, loss: str, tried: Sequence[Weights]) -> Weights:
    """The first of `tried`, whose weights of `loss` ("mpr" or "curv") rise from 0, that halves that loss.

    Losses are compared by medians over seeds; errors as `halving_weight`.
    """
    middle = geometry.groupby(["mpr", "curv"])[f"{loss}_loss"].median()
    losses = [middle[each.mpr, each.curv] for each in tried]
    return tried[halving_weight([getattr(each, loss) for each in tried], losses)]


def _geometry(one: FittedCritic, targets: Targets) -> dict:
    states, actions = draw_points(one.action_dim, HELD_OUT_POINTS, seed=3)
    values = targets(states, actions).double()
    states, actions = states.double(), actions.double()
    curvature, coupling = action_hessian(one.critic, states, actions), mixed_hessian(one.critic, states, actions)
    eigenvalues = torch.linalg.eigvalsh(curvature)
    zero = expected_hinge(curvature, DELTA) == 0
    norm, solve = torch.linalg.matrix_norm, torch.linalg.solve
    with torch.no_grad():
        error = (one.critic(states, actions) - values).square().mean().sqrt()
    measured = {
        "error": error,
        "gradient": action_gradient(one.critic, states, actions).norm(dim=1).median(),
        "coupling": norm(coupling, ord=2).median(),
        "inverse_curvature": (1 / eigenvalues.abs().amin(1)).median(),
        "sensitivity": norm(solve(curvature, coupling), ord=2).median(),
        "negative_definite": (eigenvalues[:, -1] < 0).double().mean(),
        "zero_loss": zero.double().mean(),
        "zero_loss_convex": (zero & (eigenvalues[:, -1] > 0)).double().mean(),
    }
    settings = {"actions": one.action_dim, "mpr": one.weights.mpr, "curv": one.weights.curv, "seed": one.seed}
    return settings | {name: value.item() for name, value in measured.items()}


def compare(geometry: pd.DataFrame, quantity: str, one: Weights, other: Weights, how: str) -> dict[str, float]:
    """Median over seeds of `quantity` under weights `one`, less (`difference`) or over (`ratio`) that under `other`.

    Returns {number of actions: value}.
    """
    if how not in ("difference", "ratio"):
        raise ValueError(f"how is {how!r}; choose difference or ratio")
    middle = geometry.groupby(["actions", "mpr", "curv"])[quantity].median()
    compared = {}
    for actions in geometry["actions"].unique():
        first, second = middle[actions, one.mpr, one.curv], middle[actions, other.mpr, other.curv]
        compared[str(actions)] = float(first - second if how == "difference" else first / second)
    return compared


def over_fits(table: pd.DataFrame, groups: Sequence[str]) -> pd.DataFrame:
    """A row per group of fits that differ in `seed` alone: each other column as "mean [low, high]", 95 % over fits."""
    measured = table.columns.difference(["seed", *groups], sort=False)
    return table.groupby(list(groups), sort=False)[list(measured)].agg(_mean_with_interval).reset_index()


def _mean_with_interval(fits: pd.Series) -> str:
    found = mean_interval(fits.to_numpy(), seed=0)
    return f"{found['mean']:.3g} [{found['low']:.3g}, {found['high']:.3g}]"


def state_part_selectivity(geometry: pd.DataFrame, one: Weights, other: Weights) -> dict[str, float]:
    """How much more weights `one` lower the state-dependent part of grad_a Q than the other part, below 1: more.

    A critic that becomes flat loses both parts alike; one that becomes additive loses the first alone. Returns
    {number of actions: (state_part under one / other) / (action_part under one / other)}.
    """
    state, action = (compare(geometry, part, one, other, "ratio") for part in ("state_part", "action_part"))
    return {actions: state[actions] / action[actions] for actions in state}
