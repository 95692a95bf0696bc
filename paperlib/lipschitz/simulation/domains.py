"""The three domains of Section 6, vectorised over runs and episodes: LQG, mass-spring-damper, ship steering.

A state is a tuple of arrays, one per coordinate, all of one shape (...); actions are arrays of that shape. The limits
of the state are the environment's: a next state beyond them stays at the limit. Those of the action are the policy's
where it is `truncated`: a normal distribution restricted to the admissible actions, with the score of that one, which
the constants of `GaussianPolicy` bound. Where it is not, the policy is an unlimited normal distribution, and an action
beyond the limits is applied, and paid for, as the nearest admissible one; no constant bounds that policy's score.
Likelihood ratio gradients are unbiased in either reading.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import expm, solve_discrete_lyapunov

from paperlib.lipschitz import restricted_normal
from paperlib.lipschitz.constants import MDPConstants
from paperlib.lipschitz.policies import GaussianPolicy, PolynomialFeatures, RadialFeatures, SeparableFeatures

State = tuple[np.ndarray, ...]


class Domain(ABC):
    """What simulation and step-size rules ask of a domain.

    discount: gamma. standard_deviation: sigma of the policy, before it is restricted. truncated: whether the policy
    is restricted to the admissible actions. state_low, state_high: per coordinate. action_low, action_high. features:
    of the policy's mean, before it is restricted.
    """

    discount: float
    standard_deviation: float
    truncated: bool
    state_low: tuple[float, ...]
    state_high: tuple[float, ...]
    action_low: float
    action_high: float
    features: SeparableFeatures

    @abstractmethod
    def start(self, generator: np.random.Generator, shape: tuple[int, ...]) -> State:
        """Initial states."""

    @abstractmethod
    def flow(self, state: State, action: np.ndarray) -> State:
        """The next state before its limits, for admissible actions."""

    @abstractmethod
    def reward(self, state: State, action: np.ndarray) -> np.ndarray:
        """The reward of a state and an admissible action."""

    @abstractmethod
    def feature_values(self, state: State) -> list[np.ndarray]:
        """phi_i(s), as `features` gives them, coordinate arrays in and out: d arrays."""

    @abstractmethod
    def constants(self) -> MDPConstants:
        """L_P and L_R in the Euclidean norm of states, R and gamma."""

    def applied(self, action: np.ndarray) -> np.ndarray:
        """The admissible action nearest to a drawn one."""
        return np.clip(action, self.action_low, self.action_high)

    def act(self, mean: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Applied actions from the means theta'phi(s) and standard normal numbers, and their score per feature.

        The score of component i is phi_i times (a - E a) / sigma^2, or (a - mean) / sigma^2 of the action drawn where
        the policy is not restricted.
        """
        sigma = self.standard_deviation
        if not self.truncated:
            return self.applied(mean + sigma * z), np.broadcast_to(z / sigma, np.broadcast(mean, z).shape)
        limits = sigma, self.action_low, self.action_high
        action = restricted_normal.draw(mean, z, *limits)
        return action, (action - mean - restricted_normal.mean_offset(mean, *limits)) / sigma**2

    def step(self, state: State, action: np.ndarray) -> State:
        """The next state for admissible actions."""
        moved = self.flow(state, action)
        limits = zip(moved, self.state_low, self.state_high, strict=True)
        return tuple(np.clip(coordinate, low, high) for coordinate, low, high in limits)

    def policy(self, state_metric: np.ndarray | None = None) -> GaussianPolicy:
        """The Gaussian policy over the domain's limits."""
        limits = self.state_low, self.state_high, self.action_low, self.action_high
        return GaussianPolicy(self.features, self.standard_deviation, *limits, state_metric=state_metric)

    def _check(self) -> None:
        """ValueError on limits the wrong way round, a deviation that is not positive, a discount outside [0, 1)."""
        if not 0 <= self.discount < 1:
            raise ValueError(f"discount is {self.discount}, must lie in [0, 1)")
        self.policy()


def _require_positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive and finite, is {value}")


@dataclass(frozen=True)
class LQG(Domain):
    """Linear-quadratic Gaussian regulator (Section 6.1): s' = A (s + a), r = -B (s^2 + a^2), mean action theta s.

    The bound of the actions is not printed; it is the states' own here.
    """

    a: float
    discount: float = 0.9
    standard_deviation: float = 0.5
    reward_weight: float = 0.5
    limit: float = 2.0
    truncated: bool = True

    features = PolynomialFeatures([(1,)])

    def __post_init__(self):
        _require_positive(reward_weight=self.reward_weight, limit=self.limit)
        if not math.isfinite(self.a):
            raise ValueError(f"a must be finite, is {self.a}")
        self._check()

    @property
    def state_low(self):
        return (-self.limit,)

    @property
    def state_high(self):
        return (self.limit,)

    @property
    def action_low(self):
        return -self.limit

    @property
    def action_high(self):
        return self.limit

    def start(self, generator, shape):
        return (generator.uniform(-self.limit, self.limit, shape),)

    def flow(self, state, action):
        return (self.a * (state[0] + action),)

    def reward(self, state, action):
        return -self.reward_weight * (state[0] ** 2 + action**2)

    def feature_values(self, state):
        return [state[0]]

    def constants(self):
        slope = 2 * self.reward_weight * self.limit
        return MDPConstants(abs(self.a), slope, slope * self.limit, self.discount)


@dataclass(frozen=True)
class MassSpringDamper(Domain):
    """A mass on a spring with a damper, pushed by F = 10 a for 0.1 s at a time (Section 6.2); the flow is exact."""

    mass: float
    stiffness: float
    damping: float
    discount: float = 0.9
    standard_deviation: float = 0.5
    interval: float = 0.1
    force_gain: float = 10.0
    goal: float = 0.5
    distance_weight: float = 1.0
    action_weight: float = 0.05
    position_limit: float = 1.0
    velocity_limit: float = 2.0
    action_limit: float = 3.0
    truncated: bool = True

    features = PolynomialFeatures([(0, 0), (1, 0), (0, 1)])

    def __post_init__(self):
        _require_positive(mass=self.mass, stiffness=self.stiffness, interval=self.interval)
        if not (math.isfinite(self.damping) and self.damping >= 0):
            raise ValueError(f"damping must be finite and not negative, is {self.damping}")
        self._check()

    @property
    def state_low(self):
        return (-self.position_limit, -self.velocity_limit)

    @property
    def state_high(self):
        return (self.position_limit, self.velocity_limit)

    @property
    def action_low(self):
        return -self.action_limit

    @property
    def action_high(self):
        return self.action_limit

    @cached_property
    def transition_matrix(self) -> np.ndarray:
        """The exact flow over one interval: next (x, v) from (x, v, a), shape (2, 3)."""
        rows = [
            [0, 1, 0],
            [-self.stiffness / self.mass, -self.damping / self.mass, self.force_gain / self.mass],
            [0, 0, 0],
        ]
        return expm(self.interval * np.array(rows))[:2]

    def start(self, generator, shape):
        return 2.0 * generator.integers(0, 2, shape) - 1.0, np.zeros(shape)

    def flow(self, state, action):
        (x, v), matrix = state, self.transition_matrix
        return tuple(row[0] * x + row[1] * v + row[2] * action for row in matrix)

    def reward(self, state, action):
        cost = self.action_weight * self.force_gain
        return -self.distance_weight * np.abs(state[0] - self.goal) - cost * np.abs(action)

    def feature_values(self, state):
        return [np.ones_like(state[0]), *state]

    def constants(self):
        return self.constants_in(np.eye(2))

    def constants_in(self, metric: np.ndarray) -> MDPConstants:
        """The constants where states are measured by |W (s - s')|_2, W the metric (2, 2).

        L_P: the largest |W D A W^-1|_2 and |W D B|_2 of next state A s + B a, where D = 1, and where D leaves out a
        coordinate that is at its limit, which can only matter in a metric that is not diagonal. L_R: the dual norm of
        the reward's slope.
        """
        matrix, inverse = self.transition_matrix, np.linalg.inv(metric)
        limited = [metric * free for free in ([1, 1], [1, 0], [0, 1])]  # W D
        over_states = max(np.linalg.norm(moved @ matrix[:, :2] @ inverse, 2) for moved in limited)
        over_actions = max(np.linalg.norm(moved @ matrix[:, 2]) for moved in limited)
        slope = self.distance_weight * np.linalg.norm(inverse.T @ [1.0, 0.0])
        farthest = self.position_limit + abs(self.goal)
        cost = self.action_weight * self.force_gain
        return MDPConstants(
            transition=float(max(over_states, over_actions)),
            reward=float(max(slope, cost)),
            reward_bound=self.distance_weight * farthest + cost * self.action_limit,
            discount=self.discount,
        )

    def spectral_radius(self) -> float:
        """Of the flow in the state: no norm gives a smaller L_P."""
        return float(np.abs(np.linalg.eigvals(self.transition_matrix[:, :2])).max())

    def lyapunov_metric(self, rate: float) -> np.ndarray:
        """W (2, 2), upper triangular, with |W A W^-1|_2 < rate and |W B|_2 = rate: the Lyapunov equation.

        The second condition fixes the unit: a larger one would raise L_P, a smaller one L_R and L_pi. ValueError if the
        rate is not above the spectral radius.
        """
        if rate <= self.spectral_radius():
            raise ValueError(f"rate {rate} is not above the spectral radius {self.spectral_radius():.6g}")
        scaled = self.transition_matrix[:, :2] / rate
        metric = np.linalg.cholesky(solve_discrete_lyapunov(scaled.T, np.eye(2))).T
        return metric * rate / np.linalg.norm(metric @ self.transition_matrix[:, 2])


C1 = {"mass": 0.5, "stiffness": 15.0, "damping": 0.001}
C2 = {"mass": 0.1, "stiffness": 15.0, "damping": 5.0}
PRINTED_TRANSITION_CONSTANTS = {"c1": 0.79, "c2": 0.91}
"""L_P as Section 6.2 prints them."""


@dataclass(frozen=True)
class ShipSteering(Domain):
    """A ship in a current, steered by its heading every 25 s, Euler step (Section 6.3); kilometres and seconds.

    stray_factor: keep the factor omega that the printed equation of y has.
    """

    speed: float
    reference_heading: float
    discount: float = 0.6
    standard_deviation: float = 0.6
    interval: float = 25.0
    goal_radius: float = 0.2
    stray_factor: bool = False
    truncated: bool = True

    start_at = (2.5, -1.0)
    state_low = (-2.0, -2.0)
    state_high = (6.0, 2.0)
    action_low = -math.pi
    action_high = math.pi
    features = RadialFeatures([(2.5, 0), (1.25, 1), (0, 0)], [(10, 5), (3, 1), (10, 5)])

    def __post_init__(self):
        _require_positive(speed=self.speed, interval=self.interval, goal_radius=self.goal_radius)
        self._check()

    def velocity(self, state: State, action: np.ndarray) -> State:
        """(dx/dt, dy/dt) in km/s."""
        heading = action + self.reference_heading
        north = np.sin(heading) * (action if self.stray_factor else 1.0)
        return self.speed * (np.cos(heading) - state[1]), self.speed * north

    def start(self, generator, shape):
        return tuple(np.full(shape, coordinate) for coordinate in self.start_at)

    def flow(self, state, action):
        return tuple(s + self.interval * v for s, v in zip(state, self.velocity(state, action), strict=True))

    def reward(self, state, action):
        return np.minimum(self.goal_radius - np.hypot(*state), 0.0)

    def feature_values(self, state):
        values = []
        for centre, variance in zip(self.features.centres, self.features.variances, strict=True):
            squared = sum((s - c) ** 2 / v for s, c, v in zip(state, centre, variance, strict=True))
            values.append(np.exp(-0.5 * squared) / (2 * math.pi * math.sqrt(variance.prod())))
        return values

    def constants(self):
        reach = self.interval * self.speed
        over_states = np.linalg.norm([[1, -reach], [0, 1]], 2)
        heading = np.linspace(self.action_low, self.action_high, 20_001)
        turned = heading + self.reference_heading
        if self.stray_factor:
            over_actions = reach * np.hypot(np.sin(turned), np.cos(turned) * heading + np.sin(turned)).max()
        else:
            over_actions = reach
        corners = np.array(np.meshgrid(*zip(self.state_low, self.state_high, strict=True))).reshape(2, -1)
        farthest = np.hypot(*corners).max() - self.goal_radius
        return MDPConstants(float(max(over_states, over_actions)), 1.0, float(farthest), self.discount)
