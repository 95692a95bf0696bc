"""Notebook 17's critics have the constants they say, and LQG's closed form is the system's."""

import numpy as np
import pytest

from paperlib.lipschitz import gradient_norm_lipschitz
from paperlib.lipschitz.simulation.domains import LQG
from paperlib.notebooks.nb17_smooth_critics_larger_steps import lqg
from paperlib.notebooks.nb17_smooth_critics_larger_steps.box_critics import (
    distances_on_line,
    projected,
    random_box_critic,
)
from paperlib.notebooks.shared.unlimited_lqg import UnlimitedLQG


@pytest.fixture
def critic():
    return random_box_critic(np.random.default_rng(3), 3, 2, ripple=0.4, quartic=0.7, push=2.5)


def test_maximisers_are_those_of_a_grid_of_actions(critic):
    rng = np.random.default_rng(0)
    states, axis = 2 * rng.standard_normal((6, 3)), np.linspace(-1, 1, 401)
    actions = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    for s, found in zip(states, critic.maximisers(states), strict=True):
        driven = critic.coupling @ s + critic.ripple * np.sin(critic.waves @ s)
        a = np.vstack([found, actions])
        quadratic = 0.5 * np.einsum("ki,ij,kj->k", a, critic.curvature, a)
        value = a @ driven - quadratic - 0.25 * critic.quartic * (a**4).sum(1)
        assert value[1:].max() - 1e-12 <= value[0] <= value[1:].max() + 1e-4
    assert (np.abs(critic.maximisers(states)) == 1).any()


def test_the_action_gradient_changes_no_faster_than_m_and_falls_no_slower_than_mu(critic):
    rng = np.random.default_rng(1)
    s, other = rng.standard_normal((2, 2000, 3))
    a, b = rng.uniform(-1, 1, (2, 2000, 2))
    moved = np.linalg.norm(critic.action_gradient(s, a) - critic.action_gradient(other, a), axis=1)
    assert (moved <= critic.mixed_bound * np.linalg.norm(s - other, axis=1) * (1 + 1e-12)).all()
    fall = -((critic.action_gradient(s, a) - critic.action_gradient(s, b)) * (a - b)).sum(1)
    assert (fall >= critic.mu * ((a - b) ** 2).sum(1) * (1 - 1e-12)).all()


def test_components_that_point_out_of_the_box_are_not_counted():
    gradient, actions = np.array([[2.0, 2.0], [-3.0, 1.0]]), np.array([[1.0, 0.5], [-1.0, -1.0]])
    assert projected(gradient, actions).tolist() == [[0.0, 2.0], [0.0, 1.0]]


def test_the_distance_of_two_uniform_policies_is_that_of_their_means():
    uniform = lambda mean, a: np.clip(a - mean + 0.5, 0, 1)  # noqa: E731
    assert distances_on_line(uniform, np.array([0.0, 0.3, -0.1])) == pytest.approx([0.3, 0.4], rel=1e-3)


@pytest.mark.parametrize(("a", "gamma", "theta"), [(0.5, 0.9, -0.3), (1.0, 0.8, -0.6)])
def test_the_value_of_the_closed_form_is_that_of_the_discounted_sum(a, gamma, theta):
    critic, s, total = UnlimitedLQG(a, theta, 0.0, gamma), 1.0, 0.0
    for t in range(400):
        total += gamma**t * -critic.b * (s**2 + (theta * s) ** 2)
        s = a * (s + theta * s)
    assert total == pytest.approx(-critic.p)


def test_policy_iteration_ends_at_the_gain_of_the_riccati_equation():
    assert lqg.policy_iteration(0.7, 0.9)[-1].theta == pytest.approx(lqg.riccati_gain(0.7, 0.9), rel=1e-12)


def test_the_step_is_the_rules_and_zero_without_a_margin():
    domain = LQG(0.5, discount=0.9, standard_deviation=0.5)
    exact = 1 / gradient_norm_lipschitz(domain.constants(), domain.policy().constants([-0.3]))
    assert lqg.step_size(0.5, 0.9, -0.3, 0.3) == pytest.approx(float(exact), rel=1e-12)
    assert lqg.step_size(0.5, 0.9, -0.3, 1 / 0.45 - 1 + 1e-9) == 0.0
