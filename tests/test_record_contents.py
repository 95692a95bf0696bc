"""What a finished run keeps: exact summaries, thinned states, whole episodes of actions, networks small enough."""

import dataclasses
import zlib

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from paperlib.pave.engine.checkpoints import TrainedNetworks, networks_from_bytes, networks_to_bytes
from paperlib.pave.engine.evaluation import ACTION_UNITS, UNDEFINED, Episode, geometry_summary, visited_geometry
from paperlib.pave.engine.record_contents import (
    ACTION_NUMBERS_KEPT,
    STATES_KEPT,
    final_tables,
    kept_networks,
    with_gaps,
)
from paperlib.pave.smoothness import smoothness


def networks_of(environment, d_s, d_a, hidden=(16, 16)):
    torch.manual_seed(0)

    def mlp(inputs, outputs):
        return nn.Sequential(
            nn.Linear(inputs, hidden[0]), nn.SiLU(), nn.Linear(*hidden), nn.SiLU(), nn.Linear(hidden[1], outputs)
        )

    critics = mlp(d_s + d_a, 1), mlp(d_s + d_a, 1)
    return TrainedNetworks(mlp(d_s, d_a), critics, d_a, {"environment": environment})


def episode_of(networks, d_s, steps, factor=1.0, seed=0):
    observations = np.random.default_rng(seed).normal(size=(steps, d_s)).astype(np.float32)
    scaled = networks.act(torch.as_tensor(observations)).numpy()
    return Episode(observations, scaled, factor * scaled, np.ones(steps))


PENDULUM = networks_of("pendulum", 3, 1)
ON_PENDULUM = [episode_of(PENDULUM, 3, 200, factor=2.0, seed=seed) for seed in range(10)]
WALKER = networks_of("walker", 17, 6)
ON_WALKER = [episode_of(WALKER, 17, steps, seed=steps) for steps in (1000, 300, 700, 40)]


@pytest.fixture(scope="module")
def on_walker():
    return final_tables(WALKER, ON_WALKER)


@pytest.fixture(scope="module")
def on_pendulum():
    return final_tables(PENDULUM, ON_PENDULUM)


def test_states_are_thinned_evenly_and_summaries_are_of_all(on_walker):
    tables, visited = on_walker, on_walker["visited"]
    assert len(visited) <= STATES_KEPT and set(visited["step"] % 3) == {0} and set(visited["episode"]) == {0, 1, 2, 3}
    everywhere = visited_geometry(WALKER.critics[0], ON_WALKER, action_units="scaled")
    assert len(everywhere) == 2040
    exact, stored = geometry_summary(everywhere), tables["geometry"].set_index("action_units").loc["scaled"]
    assert set(stored.index) == set(exact)
    np.testing.assert_allclose(stored[list(exact)].to_numpy(float), list(exact.values()), rtol=1e-6)
    kept = everywhere[everywhere["step"] % 3 == 0].reset_index(drop=True)
    np.testing.assert_allclose(visited["mixed_hessian"], kept["mixed_hessian"], rtol=1e-4)


def test_states_are_kept_in_both_action_units_only_where_these_differ(on_walker, on_pendulum):
    assert set(on_pendulum["visited"]["action_units"]) == set(ACTION_UNITS)
    assert set(on_walker["visited"]["action_units"]) == {"scaled"}


def test_actions_are_kept_in_whole_episodes_and_give_their_smoothness(on_walker, on_pendulum):
    for number, part in on_pendulum["actions"].groupby("episode"):
        assert 2 * smoothness(part["action_0"].to_numpy()) == pytest.approx(
            on_pendulum["episodes"]["smoothness"][number], rel=1e-3
        )
    assert on_pendulum["actions"]["episode"].nunique() == 10
    walker = on_walker["actions"]
    assert list(walker.groupby("episode").size()) == [1000, 300] and 1300 * 6 <= ACTION_NUMBERS_KEPT < 2000 * 6


def test_what_is_not_defined_is_stored_as_such_and_read_as_a_gap(on_pendulum):
    visited = on_pendulum["visited"]
    assert (visited.loc[visited["step"] == 0, "cosine"] == UNDEFINED).all()
    assert ((visited["implicit_jacobian"] == UNDEFINED) == (visited["curvature"] <= 0)).all()
    read = with_gaps(visited)
    concave = read["curvature"] > 0
    assert 0 < concave.sum() < len(read)  # both kinds are met
    assert (read["pointwise_bound"].isna() == ~concave).all() and (read["cosine"].isna() == (read["step"] == 0)).all()
    ratio = read["mixed_hessian"] / read["curvature"]
    np.testing.assert_allclose(read.loc[concave, "pointwise_bound"], ratio[concave])
    # Lemma 1: the greedy policy's slope is below M / mu at the same state.
    assert (read["implicit_jacobian"] <= read["pointwise_bound"] * (1 + 1e-4))[concave].all()


def test_a_constant_policy_is_seen_in_the_spread_of_its_actions(on_walker):
    policy = on_walker["policy"].iloc[0]
    actions = np.concatenate([e.scaled_actions for e in ON_WALKER])
    assert policy["action_sd_largest"] == pytest.approx(actions.std(axis=0).max(), rel=1e-5) and policy["action_sd"] > 0
    constant = [dataclasses.replace(e, scaled_actions=np.full_like(e.scaled_actions, 0.3)) for e in ON_WALKER]
    still = final_tables(WALKER, constant)["policy"].iloc[0]
    assert still["action_sd_largest"] == pytest.approx(0, abs=1e-6) and still["action_sd"] == pytest.approx(0, abs=1e-6)


def test_the_slope_of_the_actor_is_that_of_small_steps(on_walker):
    slopes = on_walker["visited"]["actor_jacobian"]
    state = torch.as_tensor(ON_WALKER[0].observations[0])
    steps = 1e-3 * torch.eye(17)
    jacobian = (WALKER.act(state + steps) - WALKER.act(state - steps)).T / 2e-3
    assert slopes[0] == pytest.approx(torch.linalg.matrix_norm(jacobian, ord=2).item(), rel=1e-2)


def test_five_runs_of_the_largest_environment_stay_below_a_megabyte_in_git():
    networks = networks_of("ant", 105, 8, hidden=(400, 300))
    noise = np.random.default_rng(0)
    episodes = [episode_of(networks, 105, 1000, seed=seed) for seed in range(10)]
    episodes = [
        dataclasses.replace(e, scaled_actions=noise.uniform(-1, 1, (1000, 8)).astype(np.float32)) for e in episodes
    ]
    tables = final_tables(networks, episodes)
    numbers = noise.normal(size=(200, 33)).astype(np.float32)
    tables["evaluations"] = pd.DataFrame(numbers).map(lambda value: float(f"{value:.6e}"))
    in_git = sum(len(zlib.compress(table.to_csv(index=False).encode())) for table in tables.values())
    kept = len(zlib.compress(kept_networks(networks_to_bytes(networks), "ant", "base")))
    assert 5 * in_git + kept < 850_000  # leaves 30 kB a run for the episodes of the training


def test_kept_networks_are_the_first_critic_and_the_actor_where_it_is_played():
    content = networks_to_bytes(WALKER)
    with_actor = networks_from_bytes(kept_networks(content, "walker", "base"))
    without = networks_from_bytes(kept_networks(content, "walker", "caps"))
    assert without.actor is None and len(without.critics) == len(with_actor.critics) == 1
    states = torch.as_tensor(ON_WALKER[0].observations)
    torch.testing.assert_close(with_actor.act(states), WALKER.act(states), rtol=0, atol=2e-3)
    points = torch.cat([states, torch.as_tensor(ON_WALKER[0].scaled_actions)], dim=1)
    torch.testing.assert_close(without.critics[0](points), WALKER.critics[0](points), rtol=0, atol=2e-3)


def test_the_point_kept_is_a_visited_one(on_walker):
    point = on_walker["point"].set_index("of")["value"]
    np.testing.assert_allclose(point.loc["state"], ON_WALKER[0].observations[500], rtol=1e-6)
    np.testing.assert_allclose(point.loc["action"], ON_WALKER[0].scaled_actions[500], rtol=1e-6)
