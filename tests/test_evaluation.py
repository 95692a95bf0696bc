"""Evaluation by the published protocol, and networks saved as ordinary modules."""

import numpy as np
import pytest
import torch
from torch import nn

from paperlib.pave.critic_geometry import action_gradient
from paperlib.pave.engine.checkpoints import TrainedNetworks, networks_from_bytes, networks_to_bytes
from paperlib.pave.engine.evaluation import (
    LOSS_BATCH,
    Episode,
    critic_geometry,
    episode_table,
    play_episodes,
    to_environment_units,
    unweighted_losses,
)
from paperlib.pave.engine.networks import StackedMLP
from paperlib.pave.engine.replay import ReplayBuffer
from paperlib.pave.engine.streams import RandomStreams, derive_seed
from paperlib.pave.losses import pave_losses
from paperlib.pave.smoothness import smoothness


class QuadraticCritic(nn.Module):
    """Q(s, a) = -0.5 c |a|^2 + a' B s: H_aa = -c I and H_sa = B everywhere."""

    def __init__(self, curvature: float, coupling: torch.Tensor):
        super().__init__()
        self.curvature = nn.Parameter(torch.tensor(curvature, dtype=torch.float64))
        self.coupling = nn.Parameter(coupling.double())

    def forward(self, inputs):
        states, actions = inputs.split([self.coupling.shape[1], self.coupling.shape[0]], dim=1)
        return -0.5 * self.curvature * actions.square().sum(1) + (actions * (states @ self.coupling.T)).sum(1)


def make_episode(observations, scaled, environment=None, rewards=None) -> Episode:
    rewards = np.ones(len(scaled)) if rewards is None else rewards
    return Episode(
        np.asarray(observations),
        np.asarray(scaled),
        np.asarray(scaled if environment is None else environment),
        rewards,
    )


def test_geometry_of_a_quadratic_critic_is_its_closed_form():
    coupling = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    generator = np.random.default_rng(0)
    episodes = [make_episode(generator.normal(size=(7, 2)), generator.normal(size=(7, 2))) for _ in range(2)]
    measured = critic_geometry(QuadraticCritic(0.5, coupling), episodes, action_units="scaled")
    assert measured["mixed_hessian_sup"] == pytest.approx(3.0)
    assert measured["curvature_median"] == pytest.approx(0.5)
    assert measured["negative_definite_rate"] == 1.0


def test_a_convex_critic_is_never_negative_definite():
    episode = make_episode(np.random.default_rng(0).normal(size=(7, 2)), np.zeros((7, 2)))
    measured = critic_geometry(QuadraticCritic(-0.5, torch.eye(2)), [episode], action_units="scaled")
    assert measured["negative_definite_rate"] == 0.0


def test_flips_are_counted_within_episodes_and_not_across_their_border():
    # With H_sa = I, curvature ~ 0 and a = 0, grad_a Q = s: signs of s are signs of the gradient.
    critic = QuadraticCritic(1e-12, torch.eye(1))
    first = make_episode([[1.0], [2.0], [-1.0], [-1.0], [3.0]], np.zeros((5, 1)))
    second = make_episode([[-1.0], [-1.0], [-2.0], [-1.0], [-1.0]], np.zeros((5, 1)))
    measured = critic_geometry(critic, [first, second], action_units="scaled")
    assert measured["flip_rate"] == pytest.approx(2 / 8)
    assert measured["cosine_mean"] == pytest.approx((6 - 2) / 8)


def test_action_units_decide_where_the_critic_is_evaluated():
    class Cubic(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

        def forward(self, inputs):
            return -self.scale * inputs[:, 1] ** 3 / 6 + inputs[:, 0] * inputs[:, 1]  # H_aa = -a

    scaled = np.full((5, 1), 0.25)
    episode = make_episode(np.ones((5, 1)), scaled, 2 * scaled)
    values = {
        u: critic_geometry(Cubic(), [episode], action_units=u)["curvature_median"] for u in ("scaled", "environment")
    }
    assert values == pytest.approx({"scaled": 0.25, "environment": 0.5})
    with pytest.raises(ValueError, match="action_units"):
        critic_geometry(Cubic(), [episode], action_units="degrees")


def test_episode_table_measures_environment_actions():
    environment = np.random.default_rng(0).normal(size=(9, 2))
    table = episode_table([make_episode(np.zeros((9, 1)), environment / 2, environment, np.arange(9.0))])
    assert table["return"].tolist() == [36.0] and table["length"].tolist() == [9]
    assert table["smoothness"][0] == smoothness(environment)


def test_episodes_played_together_equal_episodes_played_alone():
    def act(states):
        return torch.tanh(states[..., 1:2])

    seeds = [[1, 2], [3, 4]]
    together = play_episodes(act, "pendulum", seeds, backend="gymnasium")
    for row, seed_row in zip(together, seeds, strict=True):
        for episode, seed in zip(row, seed_row, strict=True):
            alone = play_episodes(act, "pendulum", [[seed]], backend="gymnasium")[0][0]
            np.testing.assert_array_equal(episode.observations, alone.observations)
            np.testing.assert_array_equal(episode.rewards, alone.rewards)
            assert len(episode.rewards) == 200


def test_an_episode_ends_where_the_environment_ends_it():
    episodes = play_episodes(lambda s: torch.zeros(*s.shape[:2], 3), "hopper", [[1, 2, 3]], backend="gymnasium")[0]
    lengths = [len(e.rewards) for e in episodes]
    assert len(set(lengths)) > 1 and max(lengths) < 1000
    for episode in episodes:
        assert len(episode.observations) == len(episode.scaled_actions) == len(episode.rewards)


def test_environment_units_cover_the_box():
    low, high = np.array([-2.0, 0.0]), np.array([2.0, 1.0])
    scaled = np.array([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(to_environment_units(scaled, low, high), [[-2, 0], [0, 0.5], [2, 1]])


def test_saved_networks_load_as_ordinary_modules_and_act_the_same():
    def mlp(*widths):
        return nn.Sequential(nn.Linear(widths[0], 8), nn.SiLU(), nn.Linear(8, widths[1]))

    networks = TrainedNetworks(mlp(3, 4), (mlp(5, 1), mlp(5, 1)), action_dim=2, description={"seed": 7})
    loaded = networks_from_bytes(networks_to_bytes(networks))
    states = torch.randn(6, 3)
    torch.testing.assert_close(loaded.act(states), networks.act(states), rtol=0, atol=0)
    assert loaded.act(states).shape == (6, 2) and loaded.description == {"seed": 7}
    inputs = torch.randn(6, 5)
    for one, other in zip(loaded.critics, networks.critics, strict=True):
        torch.testing.assert_close(one(inputs), other(inputs), rtol=0, atol=0)


def stack_and_replay(runs=2, d_s=4, d_a=3):
    streams = RandomStreams(range(runs), device=torch.device("cpu"), dtype=torch.float64)
    critic = StackedMLP(
        (d_s + d_a, 16, 1), streams.generators("critic weights"), networks_per_run=2, dtype=torch.float64
    )
    replay = ReplayBuffer(runs, 300, d_s, d_a, dtype=torch.float64)
    source = torch.Generator().manual_seed(0)
    for _ in range(300):
        states, actions, following = (torch.randn(runs, d, generator=source).double() for d in (d_s, d_a, d_s))
        replay.add(states, actions.tanh(), torch.zeros(runs), following, torch.zeros(runs), torch.zeros(runs))
    return critic, replay


def test_unweighted_losses_are_those_of_the_definition():
    critic, replay = stack_and_replay()
    found = unweighted_losses(critic, replay, (5, 6), 1000)
    for run, seed in enumerate((5, 6)):
        generator = torch.Generator().manual_seed(derive_seed(seed, "unweighted losses", 1000))
        uniforms = torch.rand(LOSS_BATCH, dtype=torch.float64, generator=generator)
        noise = 0.01 * torch.randn(LOSS_BATCH, 4, generator=generator).double()
        probes = torch.randint(0, 2, (LOSS_BATCH, 3), generator=generator).double() * 2 - 1
        batch = replay.sample(uniforms.repeat(2, 1))
        states, actions, following = batch.states[run], batch.actions[run], batch.next_states[run]
        networks = [critic.unstack(2 * run + i) for i in (0, 1)]

        def q(s, a, networks=networks):
            return tuple(network(torch.cat([s, a], dim=1)) for network in networks)

        losses = pave_losses(q, states, actions, following, state_noise=noise, probes=probes, delta=1.0)
        gradient = action_gradient(q, states, actions)
        expected = {name: value.sum().item() for name, value in losses._asdict().items()}
        expected["gp"] = gradient.square().sum(dim=2).mean(dim=1).sum().item()
        assert found[run] == pytest.approx(expected)


def test_unweighted_losses_of_a_run_do_not_depend_on_the_runs_beside_it():
    critic, replay = stack_and_replay()
    together = unweighted_losses(critic, replay, (5, 6), 1000)
    assert unweighted_losses(critic, replay, (7, 6), 1000)[1] == pytest.approx(together[1])
    assert unweighted_losses(critic, replay, (5, 6), 2000)[1] != pytest.approx(together[1])
