"""What notebook 16 measures of the ship itself (Section 6.3): its motion, its constants and its optimal policy.

Measures take what is under test as an argument whose default is the right one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.optimize import fsolve

from paperlib.lipschitz.simulation.domain_environments import DomainEnvironment
from paperlib.lipschitz.simulation.domains import ShipSteering
from paperlib.notebooks.shared.outcomes import count

SPEEDS = {"speed_1": 0.01, "speed_2": 0.005}
HEADINGS = {"heading_1": math.pi / 2, "heading_2": 0.0}


def settings(specs: Mapping[str, Mapping]) -> dict[str, float]:
    """Of the experiment that was run, as claim lip.ship.settings names them; specs of cells by name."""
    fast, slow, east = (ShipSteering(**specs[name]["parameters"]) for name in ("north fast", "north slow", "east fast"))
    features = fast.features
    values = {
        "control_interval_s": fast.interval,
        "goal_x_km": 0.0 if fast.reward((np.zeros(1), np.zeros(1)), np.zeros(1))[0] == 0 else math.nan,
        "goal_y_km": 0.0,
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


# Motion


def speed_through_water(domain: ShipSteering, headings: int = 721) -> np.ndarray:
    """Speed over C with the current taken off, for headings within the limits."""
    action = np.linspace(domain.action_low, domain.action_high, headings)
    x, y = np.full(headings, 1.0), np.full(headings, 0.7)
    east, north = domain.velocity((x, y), action)
    return np.hypot(east + domain.speed * y, north) / domain.speed


def deviation_of_speed(domain: ShipSteering) -> float:
    """Largest relative deviation from C."""
    return float(np.abs(speed_through_water(domain) - 1).max())


def current_failures(domain: ShipSteering, number: int = 200, expected: np.ndarray | None = None) -> dict[str, int]:
    """States and headings where the velocity's slope in the position is not [[0, -C], [0, 0]]."""
    expected = np.array([[0.0, -domain.speed], [0.0, 0.0]]) if expected is None else expected
    generator, h = np.random.default_rng(0), 0.5
    x, y, action = (generator.uniform(*limits, number) for limits in ((-1, 5), (-1, 1), (-3, 3)))
    over_x, over_y = (
        np.subtract(domain.velocity((x + dx, y + dy), action), domain.velocity((x - dx, y - dy), action)) / (2 * h)
        for dx, dy in ((h, 0), (0, h))
    )
    slopes = np.stack([over_x, over_y], axis=1)  # (2 velocities, 2 coordinates, number)
    return count(np.abs(slopes[..., k] - expected).max() < 1e-9 for k in range(number))


def northward(domain: ShipSteering, action: float = 0.0) -> float:
    """Northward speed over C at a heading."""
    return float(domain.velocity((np.zeros(1), np.zeros(1)), np.array([action]))[1][0] / domain.speed)


def first_headings(domain: ShipSteering, episodes: int, seed: int = 0) -> float:
    """Largest of |mean| and |deviation - 0.6| of the first headings at zero weights, recovered from the first moves."""
    generator = np.random.default_rng(seed)
    start = domain.start(generator, (episodes,))
    action = domain.applied(domain.standard_deviation * generator.standard_normal(episodes))
    x, y = domain.step(start, action)
    reach = domain.speed * domain.interval
    turned = np.arctan2((y - start[1]) / reach, (x - start[0]) / reach + start[1]) - domain.reference_heading
    heading = (turned + math.pi) % (2 * math.pi) - math.pi
    return float(max(abs(heading.mean()), abs(heading.std() - 0.6)))


def inertia_failures(domain: ShipSteering, number: int, lag: float = 0.0, seed: int = 0) -> dict[str, int]:
    """Pairs of histories of three headings that end in the same state and move on differently under the same heading.

    lag: share of the previous heading that is mixed into the applied one, for a ship that does have inertia.
    """
    generator, outcomes = np.random.default_rng(seed), []
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


# Constants


def reward_constant(domain: ShipSteering, pairs: int = 200_000, seed: int = 0) -> float:
    """Largest ratio of reward variation to state distance over pairs, half of them on one ray from the goal."""
    generator = np.random.default_rng(seed)
    one, other = (generator.uniform(domain.state_low, domain.state_high, (pairs, 2)) for _ in range(2))
    on_ray = one * generator.uniform(0.5, 1.0, (pairs, 1))
    other[: pairs // 2] = on_ray[: pairs // 2]
    change = np.abs(domain.reward(tuple(one.T), np.zeros(pairs)) - domain.reward(tuple(other.T), np.zeros(pairs)))
    return float((change / np.linalg.norm(one - other, axis=1)).max())


def euler_slopes(domain: ShipSteering, number: int = 721, h: float = 1e-4) -> tuple[float, float]:
    """Largest spectral norm of the Euler step's slope in the state and in the heading, by differences."""
    action = np.linspace(domain.action_low, domain.action_high, number)
    x, y = np.full(number, 1.0), np.full(number, 0.3)

    def difference(dx, dy, da):
        ahead = np.array(domain.flow((x + dx, y + dy), action + da))
        return (ahead - np.array(domain.flow((x - dx, y - dy), action - da))) / (2 * h)

    in_state = np.stack([difference(h, 0, 0), difference(0, h, 0)], axis=1)
    return (
        float(np.linalg.norm(in_state.transpose(2, 0, 1), 2, axis=(1, 2)).max()),
        float(np.linalg.norm(difference(0, 0, h), axis=0).max()),
    )


# The optimal policy


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


def heading_at_start(optimal: OptimalHeadings) -> float:
    """Mean heading omega, degrees."""
    return float(np.degrees(optimal(tuple(np.array([c]) for c in optimal.domain.start_at))[0]))


def share_left_by_affine(optimal: OptimalHeadings, headings: np.ndarray | None = None) -> float:
    """Share of the variance of the unwrapped heading over states outside the goal that an affine function leaves."""
    x, y = np.meshgrid(optimal.x, optimal.y, indexing="ij")
    headings = optimal((x, y)) if headings is None else headings
    unwrapped = np.unwrap(np.unwrap(headings, axis=1), axis=0)
    outside = np.hypot(x, y) > optimal.domain.goal_radius
    target = unwrapped[outside]
    features = np.stack([np.ones_like(target), x[outside], y[outside]], axis=1)
    fitted = features @ np.linalg.lstsq(features, target, rcond=None)[0]
    return float(np.var(target - fitted) / np.var(target))
