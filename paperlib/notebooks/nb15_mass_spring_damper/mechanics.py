"""What notebook 15 needs beyond a cell of the mass-spring-damper itself (Section 6.2): searches and a simulation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from paperlib.lipschitz.simulation.domains import MassSpringDamper
from paperlib.notebooks.shared.mean_policy import noiseless


def settings(spec: Mapping, other: Mapping) -> dict[str, float]:
    """Of the experiment that was run on c1 (`spec`) and c2, as claim lip.msd.settings names them."""
    one, two = (MassSpringDamper(**s["parameters"]) for s in (spec, other))
    return {
        "control_interval_s": one.interval,
        "goal_position": one.goal,
        "force_gain": one.force_gain,
        "distance_weight": one.distance_weight,
        "action_weight": one.action_weight,
        "discount": one.discount,
        "standard_deviation": one.standard_deviation,
        "features": one.features.dimension,
        "episodes": spec["episodes"],
        "steps": spec["steps"],
        "runs": spec["runs"],
        "position_limit": one.position_limit,
        "velocity_limit": one.velocity_limit,
        "action_limit": one.action_limit,
        **{f"c1_{name}": getattr(one, name) for name in ("mass", "stiffness", "damping")},
        **{f"c2_{name}": getattr(two, name) for name in ("mass", "stiffness", "damping")},
    }


def largest_slope(
    reward: Callable[[tuple[np.ndarray, np.ndarray], np.ndarray], np.ndarray], domain: MassSpringDamper, pairs: int
) -> float:
    """Largest ratio of the variation of a reward (state, action) to taxicab distance within the domain's limits.

    Over random pairs and pairs that differ in one place.
    """
    generator = np.random.default_rng(0)
    low, high = [*domain.state_low, domain.action_low], [*domain.state_high, domain.action_high]
    one = generator.uniform(low, high, (pairs, 3))
    other = generator.uniform(low, high, (pairs, 3))
    only = generator.integers(0, 3, pairs)
    keep = np.arange(3) != only[:, None]
    other = np.where(keep & (generator.random(pairs) < 0.7)[:, None], one, other)
    change = np.abs(reward((one[:, 0], one[:, 1]), one[:, 2]) - reward((other[:, 0], other[:, 1]), other[:, 2]))
    distance = np.hypot(one[:, 0] - other[:, 0], one[:, 1] - other[:, 1]) + np.abs(one[:, 2] - other[:, 2])
    return float((change / distance).max())


def largest_growth(domain: MassSpringDamper, metric: np.ndarray, pairs: int) -> float:
    """Largest |W (s' - s~')| / (|W (s - s~)| + |a - a~|) found over random pairs, limits of the states included.

    Pairs differ in some of position, velocity and action; nine tenths by little, so that both keep within the limits
    or exceed the same one.
    """
    generator = np.random.default_rng(0)
    low, high = [*domain.state_low, domain.action_low], [*domain.state_high, domain.action_high]
    one = generator.uniform(low, high, (pairs, 3))
    distance = np.where(generator.random((pairs, 1)) < 0.1, 1.0, 1e-3)
    change = distance * generator.normal(size=(pairs, 3)) * generator.integers(0, 2, (pairs, 3))
    change = np.where((change == 0).all(axis=1, keepdims=True), distance, change)
    other = np.clip(one + change, low, high)
    ends = [np.array(domain.step((p[:, 0], p[:, 1]), p[:, 2])) for p in (one, other)]
    before = np.linalg.norm(metric @ (one - other)[:, :2].T, axis=0) + np.abs(one - other)[:, 2]
    return float((np.linalg.norm(metric @ (ends[0] - ends[1]), axis=0) / before).max())


def position_after(domain: MassSpringDamper, theta: np.ndarray, steps: int) -> tuple[float, float]:
    """Lowest and highest position after so many steps without noise, of the two starts."""
    places = noiseless(domain, theta, (np.array([-1.0, 1.0]), np.zeros(2)), steps)[-1, 0]
    return float(places.min()), float(places.max())


def frequency_error(formula: Callable[[float, float, float], float], number: int) -> float:
    """Largest relative difference between a formula (k, m, c) and the frequency of simulated free motion.

    Over c1 and `number` random under-damped systems.
    """
    generator, worst = np.random.default_rng(0), 0.0
    systems = [(15.0, 0.5, 0.001)]
    for _ in range(number):
        stiffness, mass = generator.uniform(1, 30), generator.uniform(0.1, 2)
        systems.append((stiffness, mass, generator.uniform(0.01, 0.8) * 2 * np.sqrt(stiffness * mass)))
    for stiffness, mass, damping in systems:
        worst = max(worst, abs(formula(stiffness, mass, damping) / simulated_frequency(stiffness, mass, damping) - 1))
    return worst


def simulated_frequency(stiffness: float, mass: float, damping: float) -> float:
    """omega_d of free motion, from the first two upward crossings of zero by x(t), x(0) = 1 at rest."""

    def motion(t, state):
        return [state[1], -(stiffness * state[0] + damping * state[1]) / mass]

    def upward(t, state):
        return state[0]

    upward.direction = 1
    end = 20 * 2 * np.pi / np.sqrt(stiffness / mass)
    solved = solve_ivp(motion, (0, end), [1.0, 0.0], events=upward, rtol=1e-11, atol=1e-14, dense_output=True)
    first, second = (brentq(lambda t: solved.sol(t)[0], t - 1e-3, t + 1e-3, xtol=1e-14) for t in solved.t_events[0][:2])
    return 2 * np.pi / (second - first)
