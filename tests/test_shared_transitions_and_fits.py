"""Transitions of recorded policies, and critics fitted to fixed targets."""

import pytest
import torch

from paperlib.notebooks.shared.fits import Weights, fit, halving_weight, td_targets, train_on
from paperlib.notebooks.shared.transitions import (
    RANDOM_SHARE,
    Transitions,
    explored_transitions,
    replay_transitions,
    visited_transitions,
)
from paperlib.notebooks.shared.work import Bench
from paperlib.pave.critic_geometry import action_gradient, action_hessian, mixed_hessian
from paperlib.pave.engine.networks import StackedMLP
from paperlib.pave.example_critics import trained_networks


@pytest.fixture(scope="module")
def networks():
    return trained_networks()["pendulum", "base"]


@pytest.fixture(scope="module")
def explored(networks):
    return explored_transitions(networks, "pendulum", episodes=1, seed=0)


class TestTransitions:
    def test_successors_follow_each_other_within_an_episode(self, explored):
        assert len(explored) == 199
        assert torch.equal(explored.states[1:], explored.next_states[:-1])
        assert torch.equal(explored.steps, explored.next_states - explored.states)
        assert explored.actions.abs().max() <= 1

    def test_the_same_seed_gives_the_same_transitions(self, networks, explored):
        again = explored_transitions(networks, "pendulum", episodes=1, seed=0)
        assert torch.equal(explored.next_states, again.next_states)

    def test_exploration_adds_the_published_noise_and_stays_in_the_box(self, networks, explored):
        with torch.no_grad():
            actions = networks.act(explored.states.float()).double()
        inside = actions.abs() < 0.7
        assert (explored.actions - actions)[inside].std().item() == pytest.approx(0.1, rel=0.2)
        assert explored.actions.abs().max() == 1

    def test_the_policy_alone_is_what_is_visited_without_noise(self, networks):
        visited = visited_transitions(networks, "pendulum", most=20)
        assert len(visited) == 20
        with torch.no_grad():
            torch.testing.assert_close(
                visited.actions, networks.act(visited.states.float()).double(), rtol=0, atol=1e-5
            )

    def test_a_replay_sample_has_the_warm_ups_share_of_random_actions(self, networks):
        replay = replay_transitions(networks, "pendulum", 120, episodes=1)
        assert replay.states.shape == replay.next_states.shape == (120, 3)
        assert replay.states.dtype == torch.float64 and replay.actions.abs().max() <= 1
        with torch.no_grad():
            off_policy = (replay.actions - networks.act(replay.states.float())).abs().amax(1) > 0.5
        assert 0 < off_policy.sum() <= round(RANDOM_SHARE * 120)

    def test_too_many_rows_or_too_few_episodes_are_refused(self, networks, explored):
        with pytest.raises(ValueError, match="cannot sample 917 of 199"):
            replay_transitions(networks, "pendulum", 1000, episodes=1)
        with pytest.raises(ValueError, match="cannot sample 200 of 199"):
            explored.sample(200, seed=0)
        with pytest.raises(ValueError, match="at least one episode"):
            explored_transitions(networks, "pendulum", episodes=0, seed=0)

    def test_columns_of_different_lengths_are_refused(self, explored):
        with pytest.raises(ValueError, match="same number of rows"):
            Transitions(explored.states[:2], explored.actions, explored.next_states, explored.rewards)


class TestFits:
    def test_equal_weights_give_equal_critics(self, networks, explored):
        weights = [Weights(mpr=1.0), Weights(mpr=1.0)]
        one, two = train_on(networks, "pendulum", explored, weights, updates=5)
        torch.testing.assert_close(one(explored.states, explored.actions), two(explored.states, explored.actions))

    def test_each_critic_has_its_own_weights(self, networks, explored):
        weights = [Weights(), Weights(mpr=200.0), Weights(vfc=200.0)]
        mixed = [
            mixed_hessian(critic, explored.states, explored.actions)
            for critic in train_on(networks, "pendulum", explored, weights, updates=60)
        ]
        plain, under_mpr, under_vfc = (h.square().sum((1, 2)).mean().item() for h in mixed)
        assert under_mpr < 0.5 * plain and under_vfc < 0.5 * plain and under_mpr != under_vfc

    def test_curvature_is_preserved_with_random_signs(self, networks, explored):
        plain, curved = train_on(networks, "pendulum", explored, [Weights(), Weights(curv=20.0)], updates=60)
        before, after = (action_hessian(critic, explored.states, explored.actions) for critic in (plain, curved))
        assert (after > -1).sum() < (before > -1).sum()

    def test_the_recorded_networks_are_left_as_they_are(self, networks, explored):
        before = [p.clone() for p in networks.critics[0].parameters()]
        train_on(networks, "pendulum", explored, [Weights()], updates=2)
        assert all(torch.equal(a, b) for a, b in zip(before, networks.critics[0].parameters(), strict=True))

    @pytest.mark.parametrize(("environment", "discount"), [("pendulum", 0.98), ("reacher", 0.99)])
    def test_targets_discount_the_smaller_value_by_the_environments_published_factor(
        self, networks, explored, environment, discount
    ):
        with torch.no_grad():
            states = explored.next_states.float()
            inputs = torch.cat([states, networks.act(states)], dim=1)
            smaller = torch.stack([critic(inputs)[:, 0] for critic in networks.critics]).amin(0)
        expected = explored.rewards.float() + discount * smaller
        torch.testing.assert_close(td_targets(networks, environment, explored), expected)

    def test_a_fit_without_penalty_meets_its_targets(self):
        generator = torch.Generator().manual_seed(0)
        states, actions = (2 * torch.rand(512, d, generator=generator) - 1 for d in (2, 1))
        targets = (states * actions).sum(1)
        stack = StackedMLP((3, 32, 32, 1), [torch.Generator().manual_seed(1)])
        data = states, actions, states
        (critic,) = fit(stack, [Weights()], data, targets, updates=400, learning_rate=5e-3, seed=0)
        with torch.no_grad():
            error = (critic(states.double(), actions.double()) - targets).square().mean() / targets.square().mean()
        assert error < 0.05

    def test_the_halving_weight_is_the_smallest_that_halves(self):
        assert halving_weight([0.0, 1.0, 10.0, 100.0], [1.0, 0.8, 0.5, 0.2]) == 2
        with pytest.raises(ValueError, match="no weight up to 1 halves"):
            halving_weight([0.0, 1.0], [1.0, 0.8])
        with pytest.raises(ValueError, match="rising weights from 0"):
            halving_weight([1.0, 0.0], [1.0, 0.8])


class TestWork:
    def test_a_mixed_hessian_costs_one_more_backward_pass_per_action(self):
        assert Bench(6, 1, batch=2).work(action_gradient) == 1
        few, many = (Bench(6, d_a, batch=2).work(mixed_hessian) for d_a in (2, 4))
        assert few == pytest.approx(3, rel=0.02) and many == pytest.approx(5, rel=0.02)
        with pytest.raises(ValueError, match="at least 1"):
            Bench(0, 1)
