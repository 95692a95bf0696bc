"""The domains as Gymnasium environments: the API's promises, and the same dynamics as the batched simulation."""

import math
import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from paperlib.lipschitz.simulation.domain_environments import DomainEnvironment
from paperlib.lipschitz.simulation.domains import C1, LQG, MassSpringDamper, ShipSteering

DOMAINS = {"lqg": LQG(0.7), "mass": MassSpringDamper(**C1), "ship": ShipSteering(0.01, math.pi / 2)}


@pytest.mark.parametrize("name", DOMAINS)
def test_gymnasium_accepts_the_environment(name):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(symmetric|normalized|render|spec).*")
        check_env(DomainEnvironment(DOMAINS[name]), skip_render_check=True)


@pytest.mark.parametrize("name", DOMAINS)
def test_an_episode_is_the_batched_simulation_of_one(name):
    domain, environment = DOMAINS[name], DomainEnvironment(DOMAINS[name], steps=20)
    observation, _ = environment.reset(seed=5)
    state = tuple(np.array([coordinate]) for coordinate in observation)
    actions = np.random.default_rng(0).normal(size=20) * domain.action_high
    for taken, action in enumerate(actions, start=1):
        applied = domain.applied(np.array([action]))
        expected, state = domain.reward(state, applied), domain.step(state, applied)
        observation, reward, terminated, truncated, _ = environment.step(np.array([action]))
        assert reward == pytest.approx(expected.item())
        assert np.allclose(observation, np.concatenate(state))
        assert not terminated and truncated == (taken == 20)


def test_a_seed_selects_the_start():
    environment = DomainEnvironment(DOMAINS["lqg"])
    first, again, other = (environment.reset(seed=seed)[0] for seed in (1, 1, 2))
    assert first == again and first != other


def test_a_step_before_the_first_reset_is_an_error():
    with pytest.raises(RuntimeError, match="reset"):
        DomainEnvironment(DOMAINS["lqg"]).step(np.zeros(1))


def test_an_episode_has_at_least_one_step():
    with pytest.raises(ValueError, match="steps"):
        DomainEnvironment(DOMAINS["lqg"], steps=0)
