"""What notebook 15 measures of the mass-spring-damper itself (Section 6.2): its motion and its constants.

Measures take what is under test as an argument whose default is the right one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from paperlib.lipschitz.simulation.domains import C1, C2, PRINTED_TRANSITION_CONSTANTS, MassSpringDamper

CONFIGURATIONS = {"c1": MassSpringDamper(**C1), "c2": MassSpringDamper(**C2)}


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


def deviation_of_first_actions(domain: MassSpringDamper, episodes: int, seed: int = 0) -> float:
    """Standard deviation around the mean of the actions of the first iteration (theta = 0), before the limits.

    Recovered from what the simulator applies and is paid for: rewards of actions within the limits, both signs pooled,
    so that a wrong reading of the policy shows.
    """
    generator = np.random.default_rng(seed)
    start = domain.start(generator, (episodes,))
    drawn = domain.standard_deviation * generator.standard_normal(episodes)
    cost = -(domain.reward(start, domain.applied(drawn)) + domain.distance_weight * np.abs(start[0] - domain.goal))
    return float(np.sqrt(np.mean((cost / (domain.action_weight * domain.force_gain)) ** 2)))


def reward_constant(domain: MassSpringDamper, pairs: int = 200_000, seed: int = 0) -> float:
    """Largest ratio of reward variation to taxicab distance, over random pairs and pairs that differ in one place."""
    generator = np.random.default_rng(seed)
    low, high = [*domain.state_low, domain.action_low], [*domain.state_high, domain.action_high]
    one = generator.uniform(low, high, (pairs, 3))
    other = generator.uniform(low, high, (pairs, 3))
    only = generator.integers(0, 3, pairs)
    keep = np.arange(3) != only[:, None]
    other = np.where(keep & (generator.random(pairs) < 0.7)[:, None], one, other)
    change = np.abs(
        domain.reward((one[:, 0], one[:, 1]), one[:, 2]) - domain.reward((other[:, 0], other[:, 1]), other[:, 2])
    )
    distance = np.hypot(one[:, 0] - other[:, 0], one[:, 1] - other[:, 1]) + np.abs(one[:, 2] - other[:, 2])
    return float((change / distance).max())


def damped_frequency(stiffness: float, mass: float, damping: float) -> float:
    """omega_d as printed."""
    ratio = damping / (2 * np.sqrt(stiffness * mass))
    return np.sqrt(stiffness / mass) * np.sqrt(1 - ratio**2)


def frequency_error(number: int, formula: Callable[..., float] = damped_frequency, seed: int = 0) -> float:
    """Largest relative difference between the formula and the frequency of simulated free motion."""
    generator, worst = np.random.default_rng(seed), 0.0
    systems = [(15.0, 0.5, 0.001)]
    for _ in range(number):
        stiffness, mass = generator.uniform(1, 30), generator.uniform(0.1, 2)
        systems.append((stiffness, mass, generator.uniform(0.01, 0.8) * 2 * np.sqrt(stiffness * mass)))
    for stiffness, mass, damping in systems:
        worst = max(worst, abs(formula(stiffness, mass, damping) / _simulated_frequency(stiffness, mass, damping) - 1))
    return worst


def _simulated_frequency(stiffness: float, mass: float, damping: float) -> float:
    """From the first two upward crossings of zero by x(t), x(0) = 1 at rest."""

    def motion(t, state):
        return [state[1], -(stiffness * state[0] + damping * state[1]) / mass]

    def upward(t, state):
        return state[0]

    upward.direction = 1
    end = 20 * 2 * np.pi / np.sqrt(stiffness / mass)
    solved = solve_ivp(motion, (0, end), [1.0, 0.0], events=upward, rtol=1e-11, atol=1e-14, dense_output=True)
    first, second = (brentq(lambda t: solved.sol(t)[0], t - 1e-3, t + 1e-3, xtol=1e-14) for t in solved.t_events[0][:2])
    return 2 * np.pi / (second - first)


def euclidean_constant(domain: MassSpringDamper) -> float:
    """Of the flow in state and action, in printed units."""
    return domain.constants().transition


def constant_in_state(domain: MassSpringDamper) -> float:
    """Euclidean, of the flow in the state alone."""
    return float(np.linalg.norm(domain.transition_matrix[:, :2], 2))


def by_configuration(measure: Callable[[MassSpringDamper], float]) -> dict[str, float]:
    """A measure of c1 and c2."""
    return {name: measure(domain) for name, domain in CONFIGURATIONS.items()}


def difference_c2_c1(values: Mapping[str, float] = PRINTED_TRANSITION_CONSTANTS) -> float:
    """Value of c2 minus that of c1."""
    return values["c2"] - values["c1"]


def constants_table() -> list[dict]:
    """What can be said about L_P, by configuration."""
    rows = []
    for name, domain in CONFIGURATIONS.items():
        rows.append(
            {
                "configuration": name,
                "damping ratio": domain.damping_ratio,
                "L_P as printed": PRINTED_TRANSITION_CONSTANTS[name],
                "Euclidean, state and action": euclidean_constant(domain),
                "Euclidean, state": constant_in_state(domain),
                "spectral radius": domain.spectral_radius(),
            }
        )
    return rows
