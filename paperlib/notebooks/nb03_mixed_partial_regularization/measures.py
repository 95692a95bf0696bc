"""What notebook 03 measures: the gradient difference of PAVE's MPR loss against the mixed Hessian it stands in for.

Each measure takes the formula under test as an argument whose default is the right one, so that a wrong one can be
shown to fail. States are (B, d_s), actions (B, d_a), mixed Hessians (B, d_a, d_s); float64 unless told.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import sympy as sp
import torch
from torch import Tensor, nn

from paperlib.pave.critic_geometry import Critic, action_gradient, mixed_hessian
from paperlib.pave.engine.checkpoints import TrainedNetworks
from paperlib.pave.engine.evaluation import play_episodes
from paperlib.pave.engine.settings import published_settings
from paperlib.pave.example_critics import ConcaveCritic, NetworkCritic, random_network, trained_networks
from paperlib.pave.losses import pave_losses
from paperlib.repro.statistics import bootstrap_interval

PUBLISHED_SIGMA = 0.01
RANDOM_SHARE = 1 / 12
"""Share of a replay sample with uniformly random actions: the warm-up's share of the recorded runs' steps."""
_ROWS_AT_ONCE = 8192


class Case(NamedTuple):
    """A critic, as Q(states, actions), and the points (s, a) at which it is examined."""

    critic: nn.Module
    states: Tensor
    actions: Tensor


class Transitions(NamedTuple):
    """States and next states (B, d_s), actions (B, d_a) in [-1, 1], rewards (B,)."""

    states: Tensor
    actions: Tensor
    rewards: Tensor
    next_states: Tensor


# The critics and their points


def replay_transitions(
    networks: TrainedNetworks, environment: str, count: int, *, episodes: int = 8, first_seed: int = 0
) -> Transitions:
    """`count` transitions as a replay buffer has them, drawn without replacement, in float64.

    They come from `episodes` episodes of the policy with TD3's exploration noise, and as many of uniformly random
    actions, which give a RANDOM_SHARE of the rows. Episodes' last steps are left out, so no transition is terminal.

    Raises ValueError if the episodes hold too few transitions.
    """
    generator = torch.Generator().manual_seed(first_seed)
    noise_std = published_settings("td3", environment).exploration_noise_std

    def explore(states: Tensor) -> Tensor:
        actions = networks.act(states)
        return (actions + noise_std * torch.randn(actions.shape, generator=generator)).clamp(-1, 1)

    def guess(states: Tensor) -> Tensor:
        return 2 * torch.rand(*states.shape[:-1], networks.action_dim, generator=generator) - 1

    seeds = [list(range(first_seed, first_seed + episodes))]
    random_rows = max(1, round(RANDOM_SHARE * count))
    parts = []
    for act, rows in ((explore, count - random_rows), (guess, random_rows)):
        with torch.no_grad():
            played = play_episodes(act, environment, seeds, backend="gymnasium")[0]
        columns = [(e.observations[:-1], e.scaled_actions[:-1], e.rewards[:-1], e.observations[1:]) for e in played]
        table = [torch.as_tensor(np.concatenate(column)).double() for column in zip(*columns, strict=True)]
        if rows > len(table[0]):
            raise ValueError(f"{environment}: {episodes} episodes hold {len(table[0])} transitions, {rows} are wanted")
        chosen = torch.randperm(len(table[0]), generator=generator)[:rows]
        parts.append([column[chosen] for column in table])
    return Transitions(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def trained_cases(count: int, *, episodes: int = 8) -> dict[str, Case]:
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
    return {name: Case(critic, *random_points(*size, count)) for name, (critic, size) in critics.items()}


def random_points(d_s: int, d_a: int, count: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
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


def hessian_vector_product(mixed: Tensor, noise: Tensor) -> Tensor:
    """H_sa eps at each row, (B, d_a)."""
    return torch.einsum("bij,bj->bi", mixed, noise)


def gradient_difference(critic: Critic, states: Tensor, actions: Tensor, noise: Tensor) -> Tensor:
    """grad_a Q(s + eps, a) - grad_a Q(s, a), (B, d_a); noise (B, d_s)."""
    return action_gradient(critic, states + noise, actions) - action_gradient(critic, states, actions)


LinearTerm = Callable[[Tensor, Tensor], Tensor]


def taylor_remainders(case: Case, lengths: Sequence[float], *, linear: LinearTerm = hessian_vector_product) -> Tensor:
    """Median over the points of the norm of what the linear term leaves, one entry per length ||eps||.

    Every point keeps its own random direction at all lengths.
    """
    directions, _ = random_points(case.states.shape[1], 1, len(case.states), seed=3)
    directions = directions / directions.norm(dim=1, keepdim=True)
    mixed = mixed_hessian(*case)
    remainders = []
    for length in lengths:
        noise = length * directions
        remainders.append((gradient_difference(*case, noise) - linear(mixed, noise)).norm(dim=1).median())
    return torch.stack(remainders)


def log_log_slope(x: Sequence[float] | Tensor, y: Sequence[float] | Tensor) -> float:
    """Least-squares slope of log y against log x; ValueError unless all are positive and there are two at least."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 2:
        raise ValueError(f"x and y must be two lists of equal length, at least 2; shapes are {x.shape} and {y.shape}")
    if not ((x > 0).all() and (y > 0).all()):
        raise ValueError("a log-log slope needs positive values")
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def proxy_error(
    case: Case, sigma: float, *, dtype: torch.dtype = torch.float64, linear: LinearTerm = hessian_vector_product
) -> float:
    """Median relative error of the difference's norm against ||H_sa eps||, eps ~ N(0, sigma^2 I).

    The difference is computed in `dtype`, the Hessian in float64. Where H_sa eps = 0 the error is infinite.
    """
    _require_sigma(sigma)
    noise = sigma * random_points(case.states.shape[1], 1, len(case.states), seed=4)[0]
    exact = linear(mixed_hessian(*case), noise).norm(dim=1)
    critic = copy.deepcopy(case.critic).to(dtype)
    rounded = (case.states.to(dtype), case.actions.to(dtype), noise.to(dtype))
    difference = gradient_difference(critic, *rounded).double().norm(dim=1)
    return ((difference - exact).abs() / exact).nan_to_num(nan=math.inf).median().item()


# Gaussian moments


def gaussian_expectation(expression: sp.Expr, noise: Sequence[sp.Symbol], sigma: sp.Symbol) -> sp.Expr:
    """E[expression] over independent noise symbols ~ N(0, sigma^2), the expression being a polynomial in them."""
    total = sp.Integer(0)
    for powers, coefficient in sp.Poly(sp.expand(expression), *noise).terms():
        if all(power % 2 == 0 for power in powers):
            total += coefficient * sp.prod(sigma**power * sp.factorial2(power - 1) for power in powers)
    return sp.expand(total)


def frobenius_moment(mixed: Tensor, sigma: float) -> Tensor:
    """sigma^2 ||H||_F^2, (...)."""
    return sigma**2 * torch.linalg.matrix_norm(mixed).square()


Moment = Callable[[Tensor, float], Tensor]


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


def moment_error(matrices: Sequence[Tensor], sigma: float, *, closed_form: Moment = frobenius_moment) -> float:
    """Largest relative difference between the cubature rule and the closed form."""
    errors = [(cubature_moment(h, sigma) - closed_form(h, sigma)).abs() / cubature_moment(h, sigma) for h in matrices]
    return torch.stack(errors).max().item()


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


def losses_at_points(case: Case, sigma: float, pairs: int, *, seed: int = 0) -> Tensor:
    """E_eps ||grad_a Q(s + eps, a) - grad_a Q(s, a)||^2 at every point over 2 `pairs` draws of N(0, sigma^2 I), (B,).

    ||H eps||^2 with the same draws is a control variate, its expectation taken from the cubature rule: what is sampled
    is only the difference from the quadratic form.
    """
    _require_sigma(sigma)
    noise = sigma * normal_draws(pairs, *case.states.shape, seed=seed)
    mixed = mixed_hessian(*case)
    linear = torch.einsum("bij,dbj->dbi", mixed, noise).square().sum(-1)
    return (squared_differences(case, noise) - linear).mean(0) + cubature_moment(mixed, sigma)


def loss_over_moment(
    case: Case, sigma: float, pairs: int, *, closed_form: Moment = frobenius_moment, seed: int = 0
) -> dict[str, float]:
    """L_MPR divided by the closed form, both averaged over the points, against 1: as the check mean_agrees takes it.

    The 95 % interval is a bootstrap over points.
    """
    losses = losses_at_points(case, sigma, pairs, seed=seed)[None]
    return _ratio_over_points(losses, closed_form(mixed_hessian(*case), sigma)[None], torch.ones(1))


def extrapolated_loss_over_moment(
    case: Case, sigmas: Sequence[float], pairs: int, *, closed_form: Moment = frobenius_moment, seed: int = 0
) -> dict[str, float]:
    """The same ratio at sigma = 0, by the least-squares line in sigma^2 through its values at `sigmas`.

    The ratio is 1 + c sigma^2 + O(sigma^4), so the line's intercept is free of the leading bias. ValueError for fewer
    than two different sigmas.
    """
    if len(set(sigmas)) < 2:
        raise ValueError(f"a line needs two different sigmas, got {list(sigmas)}")
    squares = torch.tensor(sigmas, dtype=torch.float64).square()
    intercept = torch.linalg.pinv(torch.stack([torch.ones_like(squares), squares / squares.max()], dim=1))[0]
    mixed = mixed_hessian(*case)
    losses = torch.stack([losses_at_points(case, sigma, pairs, seed=seed) for sigma in sigmas])
    return _ratio_over_points(losses, torch.stack([closed_form(mixed, sigma) for sigma in sigmas]), intercept)


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


def deviation_over_norm(
    case: Case, sigma: float, pairs: int, *, norm: Callable[[Tensor], Tensor] = torch.linalg.matrix_norm
) -> float:
    """Median over the points of the gradient's standard deviation under noise, over sigma times a norm of H_sa."""
    deviations = gradient_variances(case, sigma, pairs).sqrt()
    return (deviations / (sigma * norm(mixed_hessian(*case)))).median().item()


def spectral_norm(mixed: Tensor) -> Tensor:
    """||H||_2, (...)."""
    return torch.linalg.matrix_norm(mixed, ord=2)


def ratio_to_linear(case: Case, sigmas: Sequence[float], pairs: int) -> list[float]:
    """L_MPR over the mean of ||H eps||^2 with the same 2 `pairs` draws, so that sampling noise cancels, per sigma."""
    draws = normal_draws(pairs, *case.states.shape)
    linear = torch.einsum("bij,dbj->dbi", mixed_hessian(*case), draws).square().sum(-1).mean()
    return [(squared_differences(case, sigma * draws).mean() / (sigma**2 * linear)).item() for sigma in sigmas]


def single_draw_spread(mixed: Tensor) -> Tensor:
    """Relative standard deviation of ||H eps||^2 over eps, sqrt(2) ||H'H||_F / ||H||_F^2, (...)."""
    gram = mixed.mT @ mixed
    return math.sqrt(2) * torch.linalg.matrix_norm(gram) / torch.linalg.matrix_norm(mixed).square()


# Norms


def norm_ratios(
    mixed: Tensor,
    *,
    smaller: Callable[[Tensor], Tensor] = lambda h: torch.linalg.matrix_norm(h, ord=2),
    larger: Callable[[Tensor], Tensor] = torch.linalg.matrix_norm,
) -> Tensor:
    """||H||_2 / ||H||_F for each matrix, (B,)."""
    return smaller(mixed) / larger(mixed)


# The loss as printed and as used


def printed_loss(critic: Critic, states: Tensor, actions: Tensor, noise: Tensor) -> Tensor:
    """Mean over the batch of the squared Euclidean norm of the gradient difference, a 0-d tensor with a graph."""
    here = action_gradient(critic, states, actions, create_graph=True)
    return (action_gradient(critic, states + noise, actions, create_graph=True) - here).square().sum(dim=1).mean()


def used_loss(critic: Critic, states: Tensor, actions: Tensor, noise: Tensor) -> Tensor:
    """The mixed-partial loss behind the published numbers, from `pave_losses`."""
    inert = {"probes": torch.ones_like(actions), "delta": 1.0}
    return pave_losses(critic, states, actions, states, state_noise=noise, **inert).mpr


def definition_errors(
    cases: Mapping[str, Case],
    *,
    used: Callable[..., Tensor] = used_loss,
    factor: Callable[[Case], int] = lambda case: case.actions.shape[1],
) -> tuple[float, float]:
    """Largest relative difference from the printed loss of the used one, and of `factor` times the used one.

    Cases with one action are left out; ValueError if none remains.
    """
    several = {name: case for name, case in cases.items() if case.actions.shape[1] > 1}
    if not several:
        raise ValueError("no case has more than one action")
    plain, scaled = [], []
    for case in several.values():
        noise = PUBLISHED_SIGMA * random_points(case.states.shape[1], 1, len(case.states), seed=5)[0]
        expected, got = printed_loss(*case, noise), used(*case, noise)
        plain.append((got / expected - 1).abs().item())
        scaled.append((factor(case) * got / expected - 1).abs().item())
    return max(plain), max(scaled)


def _require_sigma(sigma: float) -> None:
    if not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"sigma must be a finite number above 0, is {sigma!r}")
