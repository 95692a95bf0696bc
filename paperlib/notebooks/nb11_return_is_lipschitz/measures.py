"""What of notebook 11 is longer than a cell: extremal test functions, and policies and maps made for one claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import ot
from scipy.stats import wasserstein_distance

from paperlib.lipschitz.constants import PolicyConstants
from paperlib.lipschitz.finite_mdp import GridMDP, lipschitz_over_states, state_transitions
from paperlib.lipschitz.kantorovich import kantorovich_on_line
from paperlib.notebooks.shared.grid_family import (
    CUBE_DIMENSION,
    Family,
    pair_from,
    round_at_random,
    small_pair_from,
)
from paperlib.notebooks.shared.policy_pair import PolicyFamily, PolicyPair, taxicab


def example_pair() -> PolicyPair:
    """A pair for pictures, with a start in one place and a policy that moves away from it; margin positive."""
    return pair_from(np.full(CUBE_DIMENSION, 0.6))


def distant_pairs(pairs: Sequence[PolicyPair]) -> list[PolicyPair]:
    """The pairs with a second policy drawn independently, so that the returns differ by more than rounding."""
    generator = np.random.default_rng(1)
    return [replace(pair, other=generator.normal(size=pair.theta.shape)) for pair in pairs]


# 1-Lipschitz test functions


def random_test_functions(distances: np.ndarray, count: int) -> np.ndarray:
    """Random 1-Lipschitz functions on points with these distances (n, n): shape (count, n).

    Lower envelopes of cones whose tips have random heights (McShane's extension).
    """
    heights = distances.max() * np.random.default_rng(0).normal(size=(count, len(distances)))
    heights *= np.random.default_rng([0, 1]).choice([0.05, 0.3, 1.0], size=(count, 1))
    return (distances[None] + heights[:, None, :]).min(axis=-1)


def extremal_test_function(distances: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """A 1-Lipschitz function (n,) whose integrals under p and q (n,) differ by K(p, q): the dual of the transport."""
    log = ot.emd2(p, q, np.ascontiguousarray(distances), log=True)[1]
    return (distances - log["v"]).min(axis=-1)


def extremal_on_line(points: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The same on the line, for distributions (..., n): slope +1 or -1 by the sign of the difference in mass left."""
    slopes = -np.sign(np.cumsum(p - q, axis=-1)[..., :-1])
    values = np.cumsum(slopes * np.diff(points), axis=-1)
    return np.concatenate([np.zeros((*values.shape[:-1], 1)), values], axis=-1)


def line_functions(points: np.ndarray, p: np.ndarray, q: np.ndarray, count: int) -> np.ndarray:
    """Random and extremal 1-Lipschitz functions on the line: shape (functions, n); p and q as in `extremal_on_line`."""
    extremal = extremal_on_line(points, p, q).reshape(-1, len(points))
    return np.concatenate([random_test_functions(np.abs(points[:, None] - points), count), extremal])


def test_functions(p: PolicyPair, count: int) -> np.ndarray:
    """Random 1-Lipschitz functions of state and action, and the one that attains K(zeta, zeta'): (count + 1, S, A)."""
    distances = taxicab(p.mdp)
    attaining = extremal_test_function(distances, *(zeta.ravel() for zeta in p.zeta))
    return np.vstack([random_test_functions(distances, count), attaining]).reshape(-1, *p.zeta[0].shape)


# Steepest slopes over random and extremal 1-Lipschitz functions f


def averaged_slope(p: PolicyPair, count: int) -> float:
    """Of b_f(s) = E_{a ~ pi(.|s)} f(s, a), over states.

    The extremal ones are f(s, a) = phi(a) - s, where phi attains the distance of the policies of two neighbours.
    """
    states, actions, pi = p.mdp.states, p.mdp.actions, p.pi[0]
    extremal = extremal_on_line(actions, pi[:-1], pi[1:])[:, None, :] - states[:, None]
    functions = random_test_functions(taxicab(p.mdp), count).reshape(count, *pi.shape)
    return lipschitz_over_states(states, np.einsum("sa,fsa->sf", pi, np.concatenate([functions, extremal])))


def slope_over_actions(p: PolicyPair, count: int) -> float:
    """Of g_f(s, a) = E f(s'), over actions."""
    transitions = p.mdp.transitions
    functions = line_functions(p.mdp.states, transitions[:, 1:], transitions[:, :-1], count)
    return lipschitz_over_states(p.mdp.actions, np.einsum("sat,ft->asf", transitions, functions))


def slope_over_states(p: PolicyPair, count: int) -> float:
    """Of h_f(s) = E f(s') under the policy, over states."""
    kernel = p.P_pi[0]
    functions = line_functions(p.mdp.states, kernel[1:], kernel[:-1], count)
    return lipschitz_over_states(p.mdp.states, kernel @ functions.T)


def single_variable(mdp: GridMDP, distances: np.ndarray) -> float:
    """Largest semi-norm in the state or the action alone of functions with joint semi-norm one under `distances`.

    Random functions are scaled to semi-norm one over all pairs of points (S A, S A); the extremal ones are s and a.
    """
    functions = np.concatenate([random_test_functions(distances, 20), mdp.pairs().T])
    differences = np.abs(functions[:, :, None] - functions[:, None, :])
    joint = (differences / np.where(distances > 0, distances, np.inf)).max(axis=(1, 2))
    grids = (functions / joint[:, None]).reshape(-1, len(mdp.states), len(mdp.actions))
    in_state = lipschitz_over_states(mdp.states, np.moveaxis(grids, 0, -1))
    in_action = lipschitz_over_states(mdp.actions, grids.transpose(2, 0, 1))
    return max(in_state, in_action)


def kernel_ratio(p: PolicyPair, count: int) -> float:
    """Largest K(p P, q P) / K(p, q) under the policy's kernel P, for random distributions and neighbouring points."""
    points = np.eye(len(p.mdp.states))
    drawn = np.random.default_rng(0).dirichlet(np.full(len(points), 0.3), size=(2, count))
    one, other = np.concatenate([drawn[0], points[1:]]), np.concatenate([drawn[1], points[:-1]])
    after = kantorovich_on_line(p.mdp.states, one @ p.P_pi[0], other @ p.P_pi[0])
    return float((after / kantorovich_on_line(p.mdp.states, one, other)).max())


# Other routes, policies and maps


def future_states_by_sampling(mdp: GridMDP, policy: np.ndarray, count: int) -> np.ndarray:
    """Shares of the states in which `count` episodes stop, each step being the last with probability 1 - gamma: (S,).

    The length is geometric, so the last state is a draw from delta.
    """
    generator = np.random.default_rng(0)
    cumulative = np.cumsum(state_transitions(mdp, policy), axis=1)
    state = generator.choice(len(mdp.states), size=count, p=mdp.start)
    running = np.flatnonzero(generator.random(count) < mdp.discount)
    while len(running):
        draws = generator.random(len(running))[:, None]
        state[running] = np.minimum((cumulative[state[running]] < draws).sum(axis=1), len(mdp.states) - 1)
        running = running[generator.random(len(running)) < mdp.discount]
    return np.bincount(state, minlength=len(mdp.states)) / count


@dataclass(frozen=True, eq=False)
class IgnoringTheState:
    """The policies of a family at the middle state, used in every state."""

    policy: PolicyFamily

    def probabilities(self, theta: np.ndarray) -> np.ndarray:
        """pi^theta(a|s), shape (S, A)."""
        probabilities = self.policy.probabilities(theta)
        return np.broadcast_to(probabilities[len(probabilities) // 2], probabilities.shape)


def state_independent_pairs(pairs: Sequence[PolicyPair]) -> list[PolicyPair]:
    """The pairs with policies that ignore the state."""
    return [replace(pair, policy=IgnoringTheState(pair.policy)) for pair in pairs]


class RoundedPolicy(NamedTuple):
    """The action theta'phi(s), clipped, and rounded at random to its two neighbours on the grid so that means are kept.

    Kantorovich distances of its actions are those of the means (Assumption 2). Its score has no bound: the probability
    of a neighbour changes with the mean at a constant rate, however small it is (no Assumption 3).
    """

    mdp: GridMDP
    features: np.ndarray

    def probabilities(self, theta: np.ndarray) -> np.ndarray:
        """pi^theta(a|s), shape (S, A)."""
        return round_at_random(self.mdp.actions, self._mean(theta))

    def constants(self, theta: np.ndarray) -> PolicyConstants:
        """Those of Assumption 2; the others, which do not exist, are zero."""
        slopes = np.abs(np.diff(self._mean(theta))) / np.diff(self.mdp.states)
        none = np.zeros((3, len(theta)))
        return PolicyConstants(slopes.max(), np.linalg.norm(self.features, axis=1).max(), *none)

    def with_large_score(self, theta: np.ndarray, gap: float = 1e-7) -> tuple[np.ndarray, float]:
        """theta with its constant feature shifted until the mean in the middle state is `gap` above the middle action,
        and the largest score component of that feature there.
        """
        s, a = len(self.mdp.states) // 2, len(self.mdp.actions) // 2
        moved = theta + np.eye(len(theta))[0] * (self.mdp.actions[a] + gap - self.features[s] @ theta)
        probability = self.probabilities(moved)[s]
        slope = 1 / np.diff(self.mdp.actions)[a]  # of the neighbours' probabilities in the mean
        return moved, float((slope / probability[probability > 0]).max())

    def _mean(self, theta: np.ndarray) -> np.ndarray:
        return np.clip(self.features @ theta, self.mdp.actions[0], self.mdp.actions[-1])


def pairs_with_large_scores(count: int) -> list[tuple[PolicyPair, float]]:
    """Of as many random pairs those with a positive margin under rounded policies, each with its largest score."""
    found = []
    for pair in Family(count, seed=3, make=small_pair_from).pairs:
        policy = RoundedPolicy(pair.mdp, pair.policy.features)
        theta, largest_score = policy.with_large_score(pair.theta)
        rounded = replace(pair, policy=policy, theta=theta)
        if rounded.constants.margin > 0:
            found.append((rounded, largest_score))
    return found


def slope_of_eta(pair: PolicyPair, gap: float) -> float:
    """Slope of eta's first component between the two actions that a rounded policy takes in the middle state, where the
    mean is `gap` above the lower one.
    """
    s, a = len(pair.mdp.states) // 2, len(pair.mdp.actions) // 2
    moved = replace(pair, theta=pair.policy.with_large_score(pair.theta, gap)[0])
    step = np.diff(pair.mdp.actions)[a]
    scores = np.array([-1, 1]) / step / moved.pi[0][s, a : a + 2]
    return float(abs(np.diff(scores * moved.Q[0][s, a : a + 2])[0]) / step)


def expanding_ratios(steps: Sequence[float], slope: float) -> np.ndarray:
    """K(delta, delta') / |theta - theta'| on s' = clip(slope (s + a), -1, 1) from s = 0: theta = 0 against each step.

    The policy always takes the action theta, so L_{pi^theta} = 0 and L_P = slope; gamma is 0.9. Shape (steps,).
    """
    discount = 0.9
    horizon = int(np.ceil(np.log(1e-17) / np.log(discount)))
    weights = (1 - discount) * discount ** np.arange(horizon)
    rest = _orbit(0.0, slope, horizon)
    moved = [wasserstein_distance(_orbit(step, slope, horizon), rest, weights, weights) for step in steps]
    return np.array(moved) / np.asarray(steps)


def _orbit(action: float, slope: float, horizon: int) -> np.ndarray:
    states = np.zeros(horizon)
    for t in range(1, horizon):
        states[t] = np.clip(slope * (states[t - 1] + action), -1, 1)
    return states
