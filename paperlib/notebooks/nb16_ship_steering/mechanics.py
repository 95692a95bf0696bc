"""What notebook 16 needs beyond a cell of the ship itself (Section 6.3): searches and the optimal policy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache, cached_property

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.optimize import fsolve, minimize

from paperlib.lipschitz.policies import GaussianPolicy
from paperlib.lipschitz.simulation.domain_environments import DomainEnvironment
from paperlib.lipschitz.simulation.domains import ShipSteering
from paperlib.notebooks.shared.outcomes import count


def settings(specs: Mapping[str, Mapping]) -> dict[str, float]:
    """Of the experiment that was run, as claim lip.ship.settings names them; specs of cells by name."""
    fast, slow, east = (ShipSteering(**specs[name]["parameters"]) for name in ("north fast", "north slow", "east fast"))
    features = fast.features
    goal = 0.0 if fast.reward((np.zeros(1), np.zeros(1)), np.zeros(1))[0] == 0 else math.nan
    values = {
        "control_interval_s": fast.interval,
        "goal_x_km": goal,
        "goal_y_km": goal,
        "goal_radius_km": fast.goal_radius,
        "start_x_km": fast.start_at[0],
        "start_y_km": fast.start_at[1],
        "standard_deviation": fast.standard_deviation,
        "features": features.dimension,
        "discount": fast.discount,
        "episodes": specs["north fast"]["episodes"],
        "steps": specs["north fast"]["steps"],
        "x_lowest": fast.state_low[0],
        "x_highest": fast.state_high[0],
        "y_lowest": fast.state_low[1],
        "y_highest": fast.state_high[1],
        "action_limit": fast.action_high,
        "heading_1": fast.reference_heading,
        "heading_2": east.reference_heading,
        "speed_1_km_per_s": fast.speed,
        "speed_2_km_per_s": slow.speed,
    }
    for i in range(features.dimension):
        for name, table in (("centre", features.centres), ("variance", features.variances)):
            values |= {f"{name}_{i + 1}_{axis}": float(table[i, k]) for k, axis in enumerate("xy")}
    return values


def inertia_failures(domain: ShipSteering, number: int, lag: float = 0.0) -> dict[str, int]:
    """Pairs of histories of three headings that end in the same state and move on differently under the same heading.

    lag: share of the previous heading that is mixed into the applied one, for a ship that does have inertia.
    """
    generator, outcomes = np.random.default_rng(0), []
    while len(outcomes) < number:
        one = generator.uniform(-1, 1, 3)
        first = generator.uniform(-1, 1)
        target = _sail(domain, one, lag)
        rest, _, found, _ = fsolve(
            lambda h, f=first, t=target: _sail(domain, [f, *h], lag) - t, one[1:], full_output=True
        )
        if found == 1 and np.abs(rest).max() < math.pi:
            action = generator.uniform(-1, 1)
            ends = [_sail(domain, [*history, action], lag) for history in (one, [first, *rest])]
            outcomes.append(np.allclose(*ends, atol=1e-7))
    return count(outcomes)


def _sail(domain: ShipSteering, headings, lag: float) -> np.ndarray:
    environment, previous = DomainEnvironment(domain, steps=len(headings)), 0.0
    state, _ = environment.reset(seed=0)
    for heading in headings:
        state, *_ = environment.step(np.array([(1 - lag) * heading + lag * previous]))
        previous = heading
    return np.asarray(state, dtype=float)


def largest_slope(
    reward: Callable[[tuple[np.ndarray, np.ndarray], np.ndarray], np.ndarray], domain: ShipSteering, pairs: int
) -> float:
    """Largest ratio of the variation of a reward (state, action) to state distance within the domain's limits.

    Over random pairs of states, half of them on one ray from the goal.
    """
    generator = np.random.default_rng(0)
    one, other = (generator.uniform(domain.state_low, domain.state_high, (pairs, 2)) for _ in range(2))
    on_ray = one * generator.uniform(0.5, 1.0, (pairs, 1))
    other[: pairs // 2] = on_ray[: pairs // 2]
    change = np.abs(reward(tuple(one.T), np.zeros(pairs)) - reward(tuple(other.T), np.zeros(pairs)))
    return float((change / np.linalg.norm(one - other, axis=1)).max())


def allowed_policy_constant(domain: ShipSteering) -> float:
    """Below this L_pi the margin 1 - gamma L_P (1 + L_pi) is positive."""
    constants = domain.constants()
    return 1 / (constants.discount * constants.transition) - 1


def growth(domain: ShipSteering, theta: np.ndarray) -> float:
    """gamma L_P (1 + L_pi), below one where the Lipschitz rules apply."""
    constants = domain.constants()
    L_pi = float(_policy(domain).constants(theta).state)
    return constants.discount * constants.transition * (1 + L_pi)


@cache
def _policy(domain: ShipSteering) -> GaussianPolicy:
    """Kept, as its table of the state box is made once."""
    return domain.policy()


def farthest_turn(domain: ShipSteering) -> float:
    """The supremum of theta'phi(s_0), in radians, over the parameters with a positive margin.

    L_pi is a norm of theta, so it is the largest theta'phi(s_0) / L_pi over directions times the largest L_pi allowed.
    """
    policy, at_start = _policy(domain), domain.features.value(np.array([domain.start_at]))[0]

    def negative_ratio(theta: np.ndarray) -> float:
        return -float(theta @ at_start / policy.constants(theta).state)

    firsts = np.vstack([np.eye(3), np.ones((1, 3))])
    found = min(minimize(negative_ratio, theta, method="Nelder-Mead").fun for theta in firsts)
    return -found * allowed_policy_constant(domain)


class OptimalHeadings:
    """Dynamic programming on a grid: the optimal heading without noise, states interpolated linearly."""

    def __init__(self, domain: ShipSteering, spacing: float = 0.1, headings: int = 180):
        self.domain = domain
        (x_low, y_low), (x_high, y_high) = domain.state_low, domain.state_high
        self._spacing, self._low = spacing, np.array([x_low, y_low])
        self.x = np.arange(x_low, x_high + spacing / 2, spacing)
        self.y = np.arange(y_low, y_high + spacing / 2, spacing)
        self.actions = np.linspace(domain.action_low, domain.action_high, headings, endpoint=False)

    @cached_property
    def value(self) -> np.ndarray:
        """The optimal value on the grid, shape (len(x), len(y))."""
        state = np.meshgrid(self.x, self.y, indexing="ij")
        reward = self.domain.reward(tuple(state), 0.0)
        following = [self._indices(self.domain.step(tuple(state), np.full_like(state[0], a))) for a in self.actions]
        value = reward / (1 - self.domain.discount)
        for _ in range(60):  # 0.6^60 is below rounding
            ahead = np.max([map_coordinates(value, place, order=1) for place in following], axis=0)
            value = reward + self.domain.discount * ahead
        return value

    def _indices(self, state) -> np.ndarray:
        return (np.array(state) - self._low.reshape(2, *[1] * np.ndim(state[0]))) / self._spacing

    def __call__(self, state) -> np.ndarray:
        """The best heading omega at states: coordinates of any shape."""
        ahead = [
            map_coordinates(
                self.value,
                self._indices(self.domain.step(state, np.full(np.shape(state[0]), a))),
                order=1,
                mode="nearest",
            )
            for a in self.actions
        ]
        return self.actions[np.argmax(ahead, axis=0)]
