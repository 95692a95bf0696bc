"""What notebook 03 needs beyond a cell: its critics and their points, noise draws, expectations over noise, intervals.

States are (B, d_s), actions (B, d_a), mixed Hessians (B, d_a, d_s); float64 unless told.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import sympy as sp
import torch
from torch import Tensor, nn

from paperlib.notebooks.shared.transitions import replay_transitions
from paperlib.pave.critic_geometry import Critic, action_gradient, mixed_hessian
from paperlib.pave.example_critics import ConcaveCritic, NetworkCritic, random_network, trained_networks
from paperlib.repro.statistics import bootstrap_interval

_ROWS_AT_ONCE = 8192


class Case(NamedTuple):
    """A critic, as Q(states, actions), and the points (s, a) at which it is examined."""

    critic: nn.Module
    states: Tensor
    actions: Tensor


# The critics and their points


def replay_cases(count: int, *, episodes: int = 8) -> dict[str, Case]:
    """Both critics of every recorded network at `count` replay points, as "environment Method i"."""
    display = {"base": "Base", "pave": "PAVE"}
    cases = {}
    for (environment, method), networks in sorted(trained_networks().items()):
        replay = replay_transitions(networks, environment, count, episodes=episodes)
        for number, critic in enumerate(networks.critics, start=1):
            name = f"{environment} {display[method]} {number}"
            cases[name] = Case(NetworkCritic(critic), replay.states, replay.actions)
    return cases


def untrained_cases(count: int) -> dict[str, Case]:
    """The concave critic and random networks of the published sizes, at normal states and uniform actions."""
    sizes = {"pendulum": (3, 1), "hopper": (11, 3), "walker": (17, 6)}
    critics = {"concave": (ConcaveCritic(11, 3), (11, 3))}
    critics |= {f"random {name}": (random_network(*size, seed=1), size) for name, size in sizes.items()}
    return {name: Case(critic, *normal_points(*size, count)) for name, (critic, size) in critics.items()}


def square_case() -> Case:
    """A concave critic with as many actions as states, at 40 points."""
    return Case(ConcaveCritic(3, 3), *normal_points(3, 3, 40))


def normal_points(d_s: int, d_a: int, count: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Standard normal states (count, d_s) and actions (count, d_a) uniform in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(count, d_s, generator=generator, dtype=torch.float64)
    return states, 2 * torch.rand(count, d_a, generator=generator, dtype=torch.float64) - 1


def normal_draws(pairs: int, points: int, dimension: int, *, seed: int = 0) -> Tensor:
    """Standard normal vectors (2 pairs, points, dimension), each followed `pairs` later by its negative.

    Every point has the same scrambled Sobol set, shifted at random modulo one, through the quantile function: odd
    moments vanish exactly, even ones converge faster than with independent draws, and points err independently.
    """
    if min(pairs, points, dimension) < 1:
        raise ValueError(f"pairs, points and dimension must be at least 1, are {pairs}, {points}, {dimension}")
    sobol = torch.quasirandom.SobolEngine(dimension, scramble=True, seed=seed).draw(pairs, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    shifts = torch.rand(points, dimension, generator=generator, dtype=torch.float64)
    uniform = (sobol[:, None] + shifts).frac()
    normal = torch.special.ndtri(uniform.clamp(1e-12, 1 - 1e-12))
    return torch.cat([normal, -normal])


# The Taylor proxy


def unit_directions(case: Case) -> Tensor:
    """One random direction in the state per point, (B, d_s)."""
    return nn.functional.normalize(normal_points(case.states.shape[1], 1, len(case.states), seed=3)[0])


def gradient_difference(critic: Critic, states: Tensor, actions: Tensor, noise: Tensor) -> Tensor:
    """grad_a Q(s + eps, a) - grad_a Q(s, a), (B, d_a); noise (B, d_s)."""
    return action_gradient(critic, states + noise, actions) - action_gradient(critic, states, actions)


def proxy_error(case: Case, mixed: Tensor, sigma: float, *, dtype: torch.dtype = torch.float64) -> float:
    """Median relative error of the difference's norm against ||H eps||, eps ~ N(0, sigma^2 I); mixed: H, (B, d_a, d_s).

    The difference is computed in `dtype`. Where H eps = 0 the error is infinite.
    """
    _require_sigma(sigma)
    noise = sigma * normal_points(case.states.shape[1], 1, len(case.states), seed=4)[0]
    exact = torch.einsum("bij,bj->bi", mixed, noise).norm(dim=1)
    critic = copy.deepcopy(case.critic).to(dtype)
    rounded = (case.states.to(dtype), case.actions.to(dtype), noise.to(dtype))
    difference = gradient_difference(critic, *rounded).double().norm(dim=1)
    return ((difference - exact).abs() / exact).nan_to_num(nan=math.inf, posinf=math.inf).median().item()


# Gaussian moments


def gaussian_expectation(expression: sp.Expr, noise: Sequence[sp.Symbol], sigma: sp.Symbol) -> sp.Expr:
    """E[expression] over independent noise symbols ~ N(0, sigma^2), the expression being a polynomial in them."""
    total = sp.Integer(0)
    for powers, coefficient in sp.Poly(sp.expand(expression), *noise).terms():
        if all(power % 2 == 0 for power in powers):
            total += coefficient * sp.prod(sigma**power * sp.factorial2(power - 1) for power in powers)
    return sp.expand(total)


def cubature_moment(mixed: Tensor, sigma: float, *, scales: Tensor | None = None) -> Tensor:
    """E ||H eps||^2 by 2 d_s points +-sqrt(d_s) sigma e_j of equal weight, exact for polynomials of degree three.

    mixed (..., d_a, d_s). `scales` (d_s,): standard deviations relative to sigma, all one unless given.
    """
    d_s = mixed.shape[-1]
    scales = torch.ones(d_s, dtype=mixed.dtype) if scales is None else scales
    if scales.shape != (d_s,):
        raise ValueError(f"scales must have shape ({d_s},), has {tuple(scales.shape)}")
    points = math.sqrt(d_s) * sigma * torch.diag(scales)
    both_signs = torch.cat([points, -points])
    return torch.einsum("...ij,kj->...ki", mixed, both_signs).square().sum(-1).mean(-1)


def squared_differences(case: Case, noise: Tensor) -> Tensor:
    """||grad_a Q(s + eps, a) - grad_a Q(s, a)||^2 for every draw and point, (D, B); noise (D, B, d_s)."""
    here = action_gradient(*case)
    rows = max(1, _ROWS_AT_ONCE // len(case.states))
    results = []
    for part in noise.split(rows):
        draws = len(part)
        moved = (case.states + part).flatten(0, 1)
        gradient = action_gradient(case.critic, moved, case.actions.repeat(draws, 1))
        results.append((gradient.view(draws, *here.shape) - here).square().sum(-1))
    return torch.cat(results)


def losses_at_points(case: Case, sigma: float, pairs: int) -> Tensor:
    """E_eps ||grad_a Q(s + eps, a) - grad_a Q(s, a)||^2 at every point over 2 `pairs` draws of N(0, sigma^2 I), (B,).

    ||H eps||^2 with the same draws is a control variate, its expectation taken from the cubature rule: what is sampled
    is only the difference from the quadratic form.
    """
    _require_sigma(sigma)
    noise = sigma * normal_draws(pairs, *case.states.shape)
    mixed = mixed_hessian(*case)
    linear = torch.einsum("bij,dbj->dbi", mixed, noise).square().sum(-1)
    return (squared_differences(case, noise) - linear).mean(0) + cubature_moment(mixed, sigma)


def loss_over_moment(losses: Tensor, moments: Tensor) -> dict[str, float]:
    """mean(losses) / mean(moments) over the points (B,), against 1: as the check mean_agrees takes it.

    The 95 % interval is a bootstrap over points.
    """
    return _ratio_over_points(losses[None], moments[None], torch.ones(1))


def extrapolated_loss_over_moment(sigmas: Sequence[float], losses: Tensor, moments: Tensor) -> dict[str, float]:
    """The same ratio at sigma = 0, by the least-squares line in sigma^2 through its values; losses, moments (K, B).

    The ratio is 1 + c sigma^2 + O(sigma^4), so the line's intercept is free of the leading bias. ValueError for fewer
    than two different sigmas.
    """
    if len(set(sigmas)) < 2:
        raise ValueError(f"a line needs two different sigmas, got {list(sigmas)}")
    squares = torch.tensor(sigmas, dtype=torch.float64).square()
    intercept = torch.linalg.pinv(torch.stack([torch.ones_like(squares), squares / squares.max()], dim=1))[0]
    return _ratio_over_points(losses, moments, intercept)


def _ratio_over_points(losses: Tensor, moments: Tensor, weights: Tensor) -> dict[str, float]:
    """sum_k weights_k mean(losses_k) / mean(moments_k), rows (K, B), with its interval over points, against 1."""
    above, below, weights = losses.numpy(), moments.numpy(), weights.numpy()

    def ratio(points: np.ndarray) -> float:
        rows = points[:, 0].astype(int)
        return float(weights @ (above[:, rows].mean(1) / below[:, rows].mean(1)))

    interval = bootstrap_interval(np.arange(above.shape[1]), ratio, seed=0)
    mean = interval.pop("estimate")
    return {"mean": mean, **interval, "printed": 1.0, "printed_error": 0.0}


def gradient_variances(case: Case, sigma: float, pairs: int) -> Tensor:
    """Trace of the covariance of grad_a Q(s + eps, a) over eps ~ N(0, sigma^2 I) at every point, (B,)."""
    noise = sigma * normal_draws(pairs, *case.states.shape)
    mean_change = torch.stack([gradient_difference(*case, draw) for draw in noise]).mean(0)
    return losses_at_points(case, sigma, pairs) - mean_change.square().sum(1)


def ratio_to_linear(case: Case, sigmas: Sequence[float], pairs: int) -> list[float]:
    """L_MPR over the mean of ||H eps||^2 with the same 2 `pairs` draws, so that sampling noise cancels, per sigma."""
    draws = normal_draws(pairs, *case.states.shape)
    linear = torch.einsum("bij,dbj->dbi", mixed_hessian(*case), draws).square().sum(-1).mean()
    return [(squared_differences(case, sigma * draws).mean() / (sigma**2 * linear)).item() for sigma in sigmas]


def _require_sigma(sigma: float) -> None:
    if not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"sigma must be a finite number above 0, is {sigma!r}")
