"""A family of grid MDPs with pairs of policies, one for each point of a unit cube, and the search for a worst case.

Random points of the cube give the random family; an adversary climbs from the worst of them. Every pair has a positive
contraction margin unless asked otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from paperlib.lipschitz.finite_mdp import GridGaussianPolicy, GridMDP
from paperlib.notebooks.shared.link import Link
from paperlib.notebooks.shared.policy_pair import PolicyPair

CUBE_DIMENSION = 20
RADIUS = 3.0
"""Parameters lie in the ball of this radius."""
_PARAMETERS = 3


def pair_from(
    point: np.ndarray, *, states: int = 21, actions: int = 13, contraction: tuple[float, float] = (0.05, 0.98)
) -> PolicyPair:
    """The pair at a point of the unit cube, shape (CUBE_DIMENSION,).

    The dynamics are s' = clip(slope (shape(s) + gain a) + noise) on [-1, 1], rounded to the grid at random so that
    means are kept (which keeps Kantorovich distances on the line). The slope is set so that gamma L_P (1 + L_pi) is at
    most a value drawn from `contraction`; above 1 the margin may be negative.
    """
    u = iter(np.clip(np.asarray(point, dtype=float), 0.0, 1.0))
    s, a = np.linspace(-1, 1, states), np.linspace(-1, 1, actions)
    policy = GridGaussianPolicy(s, a, _features(s, next(u), next(u)), 0.15 + 0.85 * next(u), RADIUS)
    theta = _direction([next(u) for _ in range(_PARAMETERS)]) * RADIUS * next(u)
    step = _direction([next(u) for _ in range(_PARAMETERS)]) * 10 ** (-3 + 3 * next(u))
    other = theta + step
    other *= min(1.0, RADIUS / max(np.linalg.norm(other), 1e-12))
    discount = 0.05 + 0.9 * next(u)
    product = contraction[0] + (contraction[1] - contraction[0]) * next(u)
    largest_slope = product / (discount * (1 + float(policy.constants(theta).state)))
    transitions = _transitions(s, a, largest_slope, bend=next(u), gain=2 * next(u) - 1, noise=next(u))
    rewards = _rewards(s, a, next(u), next(u), next(u))
    return PolicyPair(GridMDP(s, a, transitions, rewards, _start(s, next(u)), discount), policy, theta, other)


def _features(s: np.ndarray, centre: float, width: float) -> np.ndarray:
    """1, s and a bump: shape (S, 3)."""
    bump = np.exp(-(((s - (2 * centre - 1)) / (0.3 + width)) ** 2))
    return np.stack([np.ones_like(s), s, bump], axis=1)


def _direction(coordinates: list[float]) -> np.ndarray:
    vector = 2 * np.array(coordinates) - 1
    return vector / max(np.linalg.norm(vector), 1e-12)


def _transitions(s: np.ndarray, a: np.ndarray, slope: float, *, bend: float, gain: float, noise: float) -> np.ndarray:
    """Rounded dynamics with L_P at most `slope`: shape (S, A, S)."""
    shape = (1 - bend) * s + bend * np.sin(2 * s) / 2
    target = slope * (shape[:, None] + gain * a)
    offsets = 0.4 * noise * np.array([-1.0, 0.0, 1.0])
    return sum(round_at_random(s, np.clip(target + offset, -1, 1)) / len(offsets) for offset in offsets)


def round_at_random(grid: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Probabilities of the two grid points around each x that have x as their mean: shape x.shape + (S,)."""
    step = grid[1] - grid[0]
    return np.clip(1 - np.abs(x[..., None] - grid) / step, 0, None)


def _rewards(s: np.ndarray, a: np.ndarray, slant: float, kink: float, cost: float) -> np.ndarray:
    """A slanted plane, a kink in the state and a cost of the action: shape (S, A)."""
    angle = 2 * np.pi * slant
    plane = np.cos(angle) * s[:, None] + np.sin(angle) * a
    return plane - 2 * kink * np.abs(s)[:, None] - cost * np.abs(a)


def _start(s: np.ndarray, place: float) -> np.ndarray:
    """Most mass near one state, some everywhere: shape (S,)."""
    mass = np.exp(-(((s - (2 * place - 1)) / 0.1) ** 2)) + 0.01
    return mass / mass.sum()


def random_points(count: int, *, seed: int) -> np.ndarray:
    """Points of the unit cube, shape (count, CUBE_DIMENSION)."""
    return np.random.default_rng(seed).random((count, CUBE_DIMENSION))


small_pair_from = partial(pair_from, states=11, actions=7)
"""Pairs on a grid small enough for thousands of exact transport problems between joint distributions."""


class Search(NamedTuple):
    """A link's ratios over the random pairs, the largest ratio that the adversary found, and the pair where."""

    random_ratios: np.ndarray
    largest: float
    pair: PolicyPair


class Family:
    """Random pairs, and the adversary that climbs from the worst of them.

    What a pair has computed it keeps, so that all links may use the same pairs.
    """

    def __init__(self, count: int, *, seed: int = 0, make: Callable[[np.ndarray], PolicyPair] = pair_from):
        self._points, self._make = random_points(count, seed=seed), make
        self.pairs = [make(point) for point in self._points]

    def search(self, link: Link, *, climb: int) -> Search:
        """The largest ratio found in `climb` steps of a random climb from the worst of the random pairs.

        A step proposes a change of a few coordinates; its size shrinks as proposals fail and grows as they succeed.
        """
        ratios = np.array([link.ratio(pair) for pair in self.pairs])
        worst = int(ratios.argmax())
        best, largest, found = self._points[worst], float(ratios[worst]), self.pairs[worst]
        generator, size = np.random.default_rng([0, 1]), 0.3
        for _ in range(climb):
            changed = generator.random(CUBE_DIMENSION) < 0.25
            proposal = np.clip(best + changed * size * generator.standard_normal(CUBE_DIMENSION), 0, 1)
            pair = self._make(proposal)
            if (ratio := link.ratio(pair)) > largest:
                best, largest, found, size = proposal, ratio, pair, min(1.5 * size, 0.5)
            else:
                size = max(0.95 * size, 1e-3)
        return Search(ratios, largest, found)
