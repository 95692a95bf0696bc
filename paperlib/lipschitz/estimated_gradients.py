"""Steps that improve with high probability where the gradient is estimated, and how many episodes they need.

The guarantees of Pirotta, Restelli, Bascetta (2015) are for the exact gradient g; their constants L do not depend on
it. Let C be a convex set that contains g with probability 1 - delta, and h the point of C nearest the origin. Then
g'h >= |h|^2 for every g in C, as h is the projection of the origin, so for each step x = alpha h with alpha >= 0

    J(theta + x) - J(theta) >= g'x - |x|_2 L'|x| / 2 >= h'x - |x|_2 L'|x| / 2

by Lemma 8: what SSS-SLC and SSS-MLC guarantee for the gradient h, they guarantee for g with that probability. It is no
matter that the estimate chose the step, as the inequality holds for all of C at once. If the origin is in C, no step is
guaranteed to improve and h = 0 leaves theta where it is.

If C is a box, |g_i - e_i| <= eps_i about the estimate e, then h_i = sign(e_i) max(|e_i| - eps_i, 0), and g_i h_i >=
h_i^2 for each i, so the same is true of steps x_i = alpha_i h_i: of MSS-MLC. Its step at h has the largest guarantee of
all: the least g'x over C is sum_i (e_i x_i - eps_i |x_i|), which is h'x where x has the signs of h, and a component of
x where h_i is zero or has the other sign only lowers the bound.

If C is a ball, |g - e|_2 <= eps, then h = e max(1 - eps / |e|_2, 0). SSS-SLC gives alpha = (1 - eps / |e|_2) / |L|_2
along e, which is the adaptive step of Papini, Pirotta, Restelli, "Smoothing policies and safe policy gradients",
Machine Learning 2022 (arXiv 1905.03231), and of `safe_step_strict` in https://github.com/T3p/potion, with |L|_2 for
their constant. MSS-MLC is refused with a ball: its step is not along h, so what it guarantees for h need not hold, and
the best step has no closed form (of length t it guarantees t (|max(|e| - t L / 2, 0)|_2 - eps), whose maximum solves an
equation of degree four on each set of components). A ball lies in the box of its radius.

The joint choice of step and number of episodes is that of Papini, Pirotta, Restelli, "Adaptive batch size for safe
policy gradients", NeurIPS 2017, who start from the bound behind AGSS where this module starts from Lemma 8.

Samples of the gradient must be independent and their mean the gradient: one episode each without baseline, or batches
of episodes each with a leave-one-out baseline of its own. Episodes that share a baseline are not independent. A bound
holds for one estimate, of a number of samples that was fixed before. Whoever looks again after each further batch, or
wants all iterations to be right together, shares delta out among the looks: delta / (k (k + 1)) for the k-th.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from paperlib.lipschitz.constants import MDPConstants, PolicyConstants
from paperlib.lipschitz.step_sizes import StepSize, mss_mlc, sss_mlc, sss_slc

_Rule = Callable[[ArrayLike, ArrayLike], StepSize]


def step_in_box(rule: _Rule, estimate: ArrayLike, lipschitz: ArrayLike, errors: ArrayLike) -> StepSize:
    """The step of `sss_slc`, `sss_mlc` or `mss_mlc` for a gradient within `errors` of its estimate in every component.

    estimate, lipschitz, errors: shapes (..., d). The improvement is guaranteed with the probability that the errors
    hold with; update and guarantee are zero where no component is surely positive or negative. Step sizes are update
    over estimate. ValueError on another rule, or errors that are negative, not finite, or of another length.
    """
    _require(rule, sss_slc, sss_mlc, mss_mlc)
    estimate, errors = _vector(estimate), np.asarray(errors, dtype=float)
    if errors.ndim == 0 or errors.shape[-1] != estimate.shape[-1]:
        raise ValueError(f"errors must be one for each component of the estimate, have shape {errors.shape}")
    _require_bound(errors)
    nearest = np.sign(estimate) * np.maximum(np.abs(estimate) - errors, 0.0)
    return _along(estimate, rule(nearest, lipschitz))


def step_in_ball(rule: _Rule, estimate: ArrayLike, lipschitz: ArrayLike, radius: ArrayLike) -> StepSize:
    """The step of `sss_slc` or `sss_mlc` for a gradient within a Euclidean distance of its estimate.

    estimate, lipschitz: shapes (..., d). radius: shape (...). The rest as for `step_in_box`; MSS-MLC needs a box.
    """
    _require(rule, sss_slc, sss_mlc)
    estimate, radius = _vector(estimate), np.asarray(radius, dtype=float)
    _require_bound(radius)
    size = np.linalg.norm(estimate, axis=-1)
    share = np.divide(radius, size, out=np.ones(np.broadcast(radius, size).shape), where=size > 0)
    return _along(estimate, rule(estimate * np.maximum(1 - share, 0.0)[..., None], lipschitz))


def _vector(estimate: ArrayLike) -> np.ndarray:
    estimate = np.asarray(estimate, dtype=float)
    if estimate.ndim == 0:
        raise ValueError("estimate must be a vector")
    return estimate


def _along(estimate: np.ndarray, step: StepSize) -> StepSize:
    """With the step sizes of the estimate's components."""
    sizes = np.divide(step.update, estimate, out=np.zeros_like(step.update), where=estimate != 0)
    return StepSize(step.update, sizes, step.guaranteed_improvement)


# How far the mean of n samples lies from the gradient


def chebyshev_radius(variance: ArrayLike, samples: int, failure: float) -> np.ndarray:
    """sqrt(V / (n delta)), Chebyshev's inequality for vectors: a ball's radius, shape (...).

    variance: of each component of one sample, shape (..., d); V is their sum. samples: n. failure: delta, with what
    probability the gradient may lie outside.

    With the components' squared bounds (`largest_episode_gradient`) for the variances it holds as it stands. With the
    samples' own variance, which is far smaller, it holds as n grows, and at small n without a proof.
    """
    return np.sqrt(_variances(variance, failure, samples).sum(axis=-1) / (samples * failure))


def chebyshev_errors(variance: ArrayLike, samples: int, failure: float) -> np.ndarray:
    """sqrt(d V_i / (n delta)), Chebyshev's inequality for each component at delta / d: a box's errors, shape (..., d).

    Arguments as for `chebyshev_radius`.
    """
    variance = _variances(variance, failure, samples)
    return np.sqrt(variance.shape[-1] * variance / (samples * failure))


def bernstein_errors(samples: ArrayLike, largest: ArrayLike, failure: float) -> np.ndarray:
    """Empirical Bernstein errors of the mean of n samples: a box's errors, shape (..., d), at every n from 2.

    sqrt(2 V_i l / n) + 14 b_i l / (3 (n - 1)) with l = log(4 d / delta) and V_i the unbiased sample variance: Maurer,
    Pontil, "Empirical Bernstein bounds and sample variance penalization", COLT 2009 (arXiv 0907.3740), Theorem 4, for
    samples in [-b_i, b_i], on either side and for each component at delta / (2 d).

    samples: shape (..., n, d). largest: b, shape (..., d). failure: delta. ValueError on fewer than two samples, or one
    that exceeds b.
    """
    samples, largest = np.asarray(samples, dtype=float), np.asarray(largest, dtype=float)
    if samples.ndim < 2 or samples.shape[-2] < 2:
        raise ValueError(f"samples must be (..., n, d) with at least two of them, have shape {samples.shape}")
    if not (np.abs(samples) <= largest[..., None, :] * (1 + 1e-9)).all():
        raise ValueError("a sample exceeds the bound that was given for all of them")
    number, d = samples.shape[-2:]
    variance = _variances(samples.var(axis=-2, ddof=1), failure, number)
    logarithm = np.log(4 * d / failure)
    return np.sqrt(2 * variance * logarithm / number) + 14 * largest * logarithm / (3 * (number - 1))


def largest_episode_gradient(mdp: MDPConstants, policy: PolicyConstants, steps: int) -> np.ndarray:
    """R M^i sum_{t < T} gamma^t (t + 1): what no component of an episode's GPOMDP estimate exceeds, shape (..., d).

    Without baseline; twice that with one in [-R, R], as the leave-one-out baseline is. steps: T.
    """
    return mdp.reward_bound * policy.score_bound * (1 - _beyond(mdp, steps)) / (1 - mdp.discount) ** 2


def horizon_error(mdp: MDPConstants, policy: PolicyConstants, steps: int) -> np.ndarray:
    """R M^i sum_{t >= T} gamma^t (t + 1): by how much the gradient may differ from that of T steps, shape (..., d).

    To be added to the errors of an estimate from episodes of T steps (its 2-norm to a radius).
    """
    return mdp.reward_bound * policy.score_bound * _beyond(mdp, steps) / (1 - mdp.discount) ** 2


def _beyond(mdp: MDPConstants, steps: int) -> float:
    """The share of sum_t gamma^t (t + 1) = 1 / (1 - gamma)^2 that lies beyond T steps."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, is {steps}")
    return mdp.discount**steps * (1 + steps * (1 - mdp.discount))


# How many samples an iteration needs


def chebyshev_samples(estimate: ArrayLike, variance: ArrayLike, failure: float) -> np.ndarray:
    """The least n with `chebyshev_radius` below |e|_2, so that a step is guaranteed to improve: shape (...).

    Four times as many guarantee the most per sample: (|e| - c / sqrt(n))^2 / n is largest at n = 4 c^2 / |e|^2 (as in
    Papini et al., 2022). A plan made from a first estimate and its variance; the guarantee is that of the samples then
    drawn. Infinite for a zero estimate.
    """
    squared = (np.asarray(estimate, dtype=float) ** 2).sum(axis=-1)
    needed = _variances(variance, failure).sum(axis=-1) / failure
    ratio = np.divide(needed, squared, out=np.full(np.broadcast(needed, squared).shape, np.inf), where=squared > 0)
    return np.floor(ratio) + 1


def bernstein_samples(estimate: ArrayLike, variance: ArrayLike, largest: ArrayLike, failure: float) -> np.ndarray:
    """An n with `bernstein_errors` below |e_i| in some component, so that a step is guaranteed to improve: shape (...).

    The root of |e_i| = sqrt(2 V_i l) u + 14 b_i l u^2 / 3 with n = 1 + 1 / u^2: at most one more than the least n.
    estimate, variance, largest: shapes (..., d). A plan, as for `chebyshev_samples`.
    """
    size, largest = np.abs(np.asarray(estimate, dtype=float)), np.asarray(largest, dtype=float)
    variance = _variances(variance, failure)
    logarithm = np.log(4 * size.shape[-1] / failure)
    once, twice = np.sqrt(2 * variance * logarithm), 14 * largest * logarithm / 3
    # u = 2 e / (once + sqrt(once^2 + 4 twice e)), without a difference of nearly equal numbers
    over_u = np.full(np.broadcast_shapes(size.shape, once.shape, twice.shape), np.inf)
    np.divide(once + np.sqrt(once**2 + 4 * twice * size), 2 * size, out=over_u, where=size > 0)
    return np.floor(1 + over_u.min(axis=-1) ** 2) + 1


def _variances(variance: ArrayLike, failure: float, samples: int = 1) -> np.ndarray:
    variance = np.asarray(variance, dtype=float)
    if not 0 < failure < 1:
        raise ValueError(f"failure is {failure}, must lie in (0, 1)")
    if samples < 1:
        raise ValueError(f"samples must be at least 1, is {samples}")
    if variance.ndim == 0:
        raise ValueError("variance must be one for each component")
    _require_bound(variance)
    return variance


def _require(rule: _Rule, *allowed: _Rule) -> None:
    if rule not in allowed:
        names = ", ".join(one.__name__ for one in allowed)
        raise ValueError(f"the rule must be one of {names}, is {getattr(rule, '__name__', rule)}")


def _require_bound(values: np.ndarray) -> None:
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise ValueError("errors, radii and variances must be finite and not negative")
