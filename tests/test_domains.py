"""The domains of Section 6: dynamics against an independent route, limits, constants never exceeded, bad input."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from paperlib.lipschitz.simulation.domains import C1, C2, LQG, MassSpringDamper, ShipSteering

DOMAINS = {
    "lqg": LQG(0.7),
    "c1": MassSpringDamper(**C1),
    "c2": MassSpringDamper(**C2),
    "ship east": ShipSteering(0.01, 0.0),
    "ship north": ShipSteering(0.005, math.pi / 2),
    "ship as printed": ShipSteering(0.01, 0.0, stray_factor=True),
}
NAMES = sorted(DOMAINS)


def draw(domain, count, seed):
    """States (n,) per coordinate and actions (n,) inside the limits."""
    generator = np.random.default_rng(seed)
    limits = zip(domain.state_low, domain.state_high, strict=True)
    states = tuple(generator.uniform(low, high, count) for low, high in limits)
    return states, generator.uniform(domain.action_low, domain.action_high, count)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), near=st.booleans())
def test_constants_are_never_exceeded(name, seed, near):
    domain = DOMAINS[name]
    (s, a), (t, b) = draw(domain, 50, [seed, 0]), draw(domain, 50, [seed, 1])
    if near:
        s_to_t = [x + 1e-3 * (y - x) for x, y in zip(s, t, strict=True)]
        t, b = tuple(s_to_t), a + 1e-3 * (b - a)
    distance = np.linalg.norm(np.subtract(s, t), axis=0) + np.abs(a - b)
    constants = domain.constants()
    moved = np.linalg.norm(np.subtract(domain.step(s, a), domain.step(t, b)), axis=0)
    assert (moved <= constants.transition * distance * (1 + 1e-9)).all()
    rewards = domain.reward(s, a), domain.reward(t, b)
    assert (np.abs(rewards[0] - rewards[1]) <= constants.reward * distance * (1 + 1e-9)).all()
    assert (np.abs(rewards[0]) <= constants.reward_bound * (1 + 1e-12)).all()


@pytest.mark.parametrize("name", NAMES)
def test_states_and_actions_stay_within_their_limits(name):
    domain, generator = DOMAINS[name], np.random.default_rng(0)
    state = domain.start(generator, (3, 20))
    for _ in range(30):
        state = domain.step(state, domain.applied(10 * generator.standard_normal((3, 20))))
        for coordinate, low, high in zip(state, domain.state_low, domain.state_high, strict=True):
            assert coordinate.shape == (3, 20) and (low <= coordinate).all() and (coordinate <= high).all()


@pytest.mark.parametrize("name", NAMES)
def test_feature_arrays_are_the_features_of_the_policy(name):
    domain = DOMAINS[name]
    states, _ = draw(domain, 30, 0)
    assert np.allclose(np.stack(domain.feature_values(states), -1), domain.features.value(np.stack(states, -1)))


@pytest.mark.parametrize("name", ["c1", "c2"])
def test_the_flow_of_the_mass_is_the_solution_of_its_equation(name):
    domain = DOMAINS[name]
    states, actions = draw(domain, 5, 1)
    for x, v, a, *moved in zip(*states, actions, *domain.flow(states, actions), strict=True):

        def motion(_, y, a=a):
            return [y[1], (domain.force_gain * a - domain.damping * y[1] - domain.stiffness * y[0]) / domain.mass]

        end = solve_ivp(motion, (0, domain.interval), [x, v], rtol=1e-11, atol=1e-12).y[:, -1]
        assert np.allclose(moved, end, atol=1e-8)


def test_spectral_radii_of_the_two_configurations():
    assert DOMAINS["c1"].spectral_radius() == pytest.approx(0.9999, abs=1e-4)
    assert DOMAINS["c2"].spectral_radius() == pytest.approx(0.73, abs=0.01)


@pytest.mark.parametrize("rate", [0.8, 0.91])
def test_a_lyapunov_metric_makes_the_flow_contract_at_its_rate(rate):
    domain = DOMAINS["c2"]
    metric = domain.lyapunov_metric(rate)
    matrix = domain.transition_matrix[:, :2]
    assert np.linalg.norm(metric @ matrix @ np.linalg.inv(metric), 2) < rate
    assert domain.constants_in(metric).transition == pytest.approx(rate)
    with pytest.raises(ValueError, match="spectral radius"):
        domain.lyapunov_metric(0.7)


def test_the_ship_moves_at_constant_speed_through_the_water_without_the_stray_factor():
    heading = np.linspace(-3, 3, 50)
    for reference in (0.0, math.pi / 2):
        state = (np.zeros(50), np.full(50, 0.7))
        x, y = ShipSteering(0.01, reference).velocity(state, heading)
        assert np.allclose(np.hypot(x + 0.01 * 0.7, y), 0.01)
        x, y = ShipSteering(0.01, reference, stray_factor=True).velocity(state, heading)
        assert not np.allclose(np.hypot(x + 0.01 * 0.7, y), 0.01)


def test_the_ship_has_the_printed_constants():
    assert ShipSteering(0.01, 0.0).constants().transition == pytest.approx(1.1328, abs=1e-4)
    assert ShipSteering(0.005, 0.0).constants().transition == pytest.approx(1.0645, abs=1e-4)


def test_the_mass_starts_at_one_of_two_places_at_rest():
    x, v = DOMAINS["c1"].start(np.random.default_rng(0), (1000,))
    assert set(x) == {-1.0, 1.0} and abs(x.mean()) < 0.15 and not v.any()


BAD = [
    (LQG, {"a": math.nan}, "a must be finite"),
    (LQG, {"a": 0.5, "limit": -1.0}, "limit"),
    (LQG, {"a": 0.5, "discount": 1.0}, "discount"),
    (LQG, {"a": 0.5, "standard_deviation": 0.0}, "standard_deviation"),
    (MassSpringDamper, C1 | {"mass": 0.0}, "mass"),
    (MassSpringDamper, C1 | {"stiffness": -1.0}, "stiffness"),
    (MassSpringDamper, C1 | {"damping": -0.1}, "damping"),
    (MassSpringDamper, C1 | {"position_limit": -1.0}, "limit"),
    (ShipSteering, {"speed": 0.0, "reference_heading": 0.0}, "speed"),
]


@pytest.mark.parametrize("domain, parameters, message", BAD)
def test_impossible_parameters_are_errors(domain, parameters, message):
    with pytest.raises(ValueError, match=message):
        domain(**parameters)
