"""The closed-loop constant K: the Lipschitz constant of the state transitions under a policy, known instead of bounded.

K = sup W1(P^pi(.|s), P^pi(.|s')) / d(s, s') <= L_P (1 + L_pi) (equation 15). The paper's Lemmas 1 and 3 need the left
side only: where gamma K < 1 they hold with it, also where gamma L_P (1 + L_pi) >= 1. L_P (1 + L_pi) grows with the
policy's feedback whatever its sign; K is what feedback that pulls the state back makes small. Ours, not the paper's;
notebook 11 proves it. With m = 1 - gamma K and G = 1 + gamma L_P (1 + L_pi) / m, which is 1 / m for the paper's K,

    L_V = L_R (1 + L_pi) / m,  L_Q = L_R + gamma L_P L_V = G L_R,  L_delta(theta) = gamma L_P L_pi(theta) / m,
    L_zeta(theta) = L_pi(theta) + (1 + L_pi) L_delta(theta) = G L_pi(theta),

and the rest of the chain as printed from these: Theorem 1 L_J = L_R L_zeta(theta) / (1 - gamma), Theorem 2
L_V(theta) = L_pi(theta) L_Q / (1 - gamma), Theorem 3. All functions of `constants` take `ClosedLoopConstants`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from paperlib.lipschitz.constants import MDPConstants, PolicyConstants
from paperlib.lipschitz.policies import GaussianPolicy
from paperlib.lipschitz.restricted_normal import mean_offset

_STATES = 201  # at which the local slope is taken, in each of the rounds that close in on the largest
_ROUNDS = 4
_HALVINGS = 60


@dataclass(frozen=True, eq=False)
class ClosedLoopConstants(PolicyConstants):
    """Constants of a policy of which the closed-loop constant is known, in the one MDP that they are used with.

    kernel: K, or an upper bound of it, shape (...), as L_{pi^theta}.
    """

    kernel: np.ndarray

    @classmethod
    def of(cls, policy: PolicyConstants, kernel: ArrayLike) -> ClosedLoopConstants:
        """The policy's constants, and K. ValueError on a K that is negative or not finite."""
        return cls(*(getattr(policy, name) for name in PolicyConstants.__dataclass_fields__), kernel)

    def closed_loop(self, mdp: MDPConstants) -> np.ndarray:
        return self.kernel

    def _remedy(self, mdp: MDPConstants, worst: tuple[int, ...]) -> str:
        kernel = float(self.kernel[worst])
        return f"lower gamma below {1 / kernel:.6g} (now K = {kernel:.6g}, gamma = {mdp.discount:.6g})"


def closed_loop_on_line(
    policy: GaussianPolicy, theta: ArrayLike, state_gain: float, action_gain: float, *, truncated: bool = True
) -> np.ndarray:
    """K, exact, of s' = state_gain s + action_gain a on the line, kept within the policy's limits of the state.

    For LQG (Section 6.1): `closed_loop_on_line(domain.policy(), theta, domain.a, domain.a)`.

    policy: of one state coordinate and a scalar action. theta: (..., d). truncated: actions are drawn from the normal
        distribution restricted to the policy's limits; else drawn from the unlimited one and clipped to them.

    Returns shape (...), to about 1e-9 of its value. ValueError on a policy of several coordinates, and on an
    action_gain of zero, where K is |state_gain|.

    On the line W1 is the area between distribution functions, so W1(P^pi(s), P^pi(s + h)) / |h| tends to the *local
    slope*, the integral of |dF_s(x) / ds| over x. Along a segment distances add up, so K is its supremum. With
    u = (x - p s) / q the action that leads from s to x (p, q the gains, m(s) = theta'phi(s) the mean, G and g the
    action's distribution function and density), it is the integral of |q m'(s) dG/dm - p g| over the actions that lead
    inside the limits, and |p| times the atoms of a clipped action there.
    """
    theta = np.asarray(theta, dtype=float)
    if policy.features.state_dimension != 1:
        raise ValueError(f"the state must have one coordinate, has {policy.features.state_dimension}")
    if action_gain == 0:
        raise ValueError("action_gain is 0: the action moves nothing, and K is |state_gain|")
    local_slope = _truncated_slope if truncated else _clipped_slope
    low, high = float(policy.state_low[0]), float(policy.state_high[0])
    ends = np.asarray(policy.action_low).item(), np.asarray(policy.action_high).item()

    def slope(states: np.ndarray, one: np.ndarray) -> np.ndarray:
        mean = policy.features.value(states[:, None]) @ one
        mean_slope = policy.features.jacobian(states[:, None])[..., 0].T
        feedback = action_gain * (one @ mean_slope)
        reach = np.sort((np.array([[low], [high]]) - state_gain * states) / action_gain, axis=0)
        return local_slope(mean, feedback, state_gain, policy.standard_deviation, ends, reach)

    # The slope may jump where an end of the actions begins to lead inside the limits: look at both sides of it.
    jumps = [(limit - action_gain * end) / state_gain for limit in (low, high) for end in ends] if state_gain else []
    jumps = np.array([s for s in jumps if low < s < high])
    sides = np.concatenate([jumps - 1e-12 * (high - low), jumps + 1e-12 * (high - low)])
    flat = theta.reshape(-1, theta.shape[-1])
    largest = [_supremum(lambda states, one=one: slope(states, one), low, high, sides) for one in flat]
    return np.array(largest).reshape(theta.shape[:-1])


def _supremum(function: Callable[[np.ndarray], np.ndarray], low: float, high: float, extra: np.ndarray) -> float:
    """Largest value on [low, high], and at the points `extra`: grids that close in on the best point so far."""
    largest, ends = function(extra).max(initial=0.0), (low, high)
    for _ in range(_ROUNDS):
        points = np.linspace(*ends, _STATES)
        values = function(points)
        largest, best = max(largest, float(values.max())), points[values.argmax()]
        step = points[1] - points[0]
        ends = max(low, best - step), min(high, best + step)
    return largest


# Local slopes at states (N,): mean and feedback q m'(s) (N,), ends of the actions, and reach (2, N), the actions that
# lead to the limits of the state


def _clipped_slope(mean, feedback, state_gain, sigma, ends, reach) -> np.ndarray:
    lower, upper = np.clip(reach, *ends)
    inner = _normal_mass((lower - mean) / sigma, (upper - mean) / sigma)
    atoms = np.stack([ndtr((ends[0] - mean) / sigma), ndtr((mean - ends[1]) / sigma)])
    inside = np.array([(reach[0] < end) & (end < reach[1]) for end in ends])
    return np.abs(state_gain + feedback) * inner + abs(state_gain) * (atoms * inside).sum(axis=0)


def _truncated_slope(mean, feedback, state_gain, sigma, ends, reach) -> np.ndarray:
    """The integrand h(u) = feedback dG/dm - p g has the slope (feedback (u - E a) + p (u - mean)) g / sigma^2 in u.

    That changes sign once at most, so h vanishes twice at most, and between its zeros the integral of |h| is a
    difference of H, the integral of h.
    """
    below, density_below = ends[0], _density((ends[0] - mean) / sigma)
    mass = _normal_mass((ends[0] - mean) / sigma, (ends[1] - mean) / sigma)
    average = mean + mean_offset(mean, sigma, *ends)

    def moments(u):
        """E[1], E[a] and E[a^2] over actions up to u, of the restricted distribution."""
        density = _density((u - mean) / sigma)
        first = _normal_mass((below - mean) / sigma, (u - mean) / sigma) / mass
        second = mean * first - sigma * (density - density_below) / mass
        return first, second, mean * second + sigma**2 * first - sigma * (u * density - below * density_below) / mass

    def integrand(u):
        first, second, _ = moments(u)
        by_mean = (second - average * first) / sigma**2  # dG/dm, the score averaged over actions up to u
        return feedback * by_mean - state_gain * _density((u - mean) / sigma) / (sigma * mass)

    def integral(u):
        first, second, third = moments(u)
        by_mean = (u * (second - average * first) - (third - average * second)) / sigma**2  # by parts
        return feedback * by_mean - state_gain * first

    lower, upper = np.clip(reach, *ends)
    with np.errstate(divide="ignore", invalid="ignore"):
        turning = (feedback * average + state_gain * mean) / (feedback + state_gain)
    turning = np.clip(np.nan_to_num(turning, nan=below), lower, upper)
    cuts = [lower, _zero(integrand, lower, turning), turning, _zero(integrand, turning, upper), upper]
    return sum(np.abs(integral(b) - integral(a)) for a, b in zip(cuts[:-1], cuts[1:], strict=True))


def _zero(function: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Where a monotone function changes its sign in [low, high], elementwise; some point there if it does not."""
    negative_at_low = function(low) < 0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        on_the_low_side = (function(middle) < 0) == negative_at_low
        low, high = np.where(on_the_low_side, middle, low), np.where(on_the_low_side, high, middle)
    return (low + high) / 2


def _density(z: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)


def _normal_mass(lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Phi(upper) - Phi(lower), without cancellation in the upper tail."""
    in_upper_tail = lower > 0
    return np.where(in_upper_tail, ndtr(-lower) - ndtr(-upper), ndtr(upper) - ndtr(lower))
