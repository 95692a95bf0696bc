"""The greedy policy over a box: known maximisers, exhaustive search, and what it says when there is no maximum."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperlib.pave import example_critics
from paperlib.pave.critic_geometry import NoCurvatureError, action_hessian, implicit_policy_jacobian, mixed_hessian
from paperlib.pave.greedy_policy import NoMaximumError, greedy_actions, greedy_jacobian, refine_maximisers


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bent_network(d_s, d_a, *, seed=0):
    """Five times the initial weights: a landscape with several peaks inside the box and on its faces."""
    critic = example_critics.random_network(d_s, d_a, hidden=(64, 64), seed=seed)
    with torch.no_grad():
        for layer in critic.layers[::2]:
            layer.weight.mul_(5.0)
    return critic


def two_peaks(states, actions):
    return (-2 * (actions.square() - 0.25).square() + actions * states).sum(1)


def exponential(states, actions):
    """Rises with every action: no maximum inside any box, no root of the gradient."""
    return actions.exp().sum(1) + 0 * states.sum(1)


class TestGreedyActions:
    @pytest.mark.parametrize("d_a", [1, 2, 3, 5])
    def test_the_search_finds_the_known_maximiser(self, d_a):
        critic, states = example_critics.ConcaveCritic(4, d_a, seed=d_a), normal(10, 4)
        greedy = greedy_actions(critic, states, d_a)
        assert greedy.interior.all()
        torch.testing.assert_close(greedy.actions, critic.maximiser(states).detach(), rtol=0, atol=1e-12)

    @settings(max_examples=10, deadline=None)
    @given(state=st.floats(0.001, 1.0), sign=st.sampled_from([-1.0, 1.0]))
    def test_of_two_peaks_the_higher_one_is_found(self, state, sign):
        greedy = greedy_actions(two_peaks, torch.tensor([[sign * state]], dtype=torch.float64), 1)
        assert greedy.actions.item() * sign >= 0.5

    @pytest.mark.parametrize("d_a, points", [(1, 2001), (2, 101), (3, 25)])
    def test_no_action_of_a_fine_grid_beats_the_maximiser(self, d_a, points):
        critic, states = bent_network(3, d_a), normal(8, 3)
        axis = torch.linspace(-1, 1, points, dtype=torch.float64)
        grid = torch.cartesian_prod(*[axis] * d_a).reshape(-1, d_a)
        best = greedy_actions(critic, states, d_a).actions
        with torch.no_grad():
            for state, action in zip(states, best, strict=True):
                found = critic(state[None], action[None])
                assert (critic(state.expand(len(grid), -1), grid) <= found + 1e-9).all()

    def test_a_narrow_peak_in_a_corner_is_found(self):
        def critic(states, actions):  # a spike of width 0.05, and elsewhere a bowl about -0.5
            spike = 2 * torch.exp(-200 * (1 - actions).square().sum(1))
            return spike - 0.1 * (actions + 0.5).square().sum(1) + 0 * states.sum(1)

        greedy = greedy_actions(critic, torch.zeros(1, 1, dtype=torch.float64), 3)
        assert (greedy.actions > 0.9).all()

    def test_a_maximiser_on_a_face_is_found_and_is_not_interior(self):
        critic = example_critics.QuadraticCritic(torch.eye(2), torch.tensor([[1.0], [0.2]]))
        greedy = greedy_actions(critic, torch.full((1, 1), 3.0, dtype=torch.float64), 2)
        torch.testing.assert_close(greedy.actions, torch.tensor([[1.0, 0.6]], dtype=torch.float64))
        assert not greedy.interior.any()

    def test_from_any_start_the_ascent_ends_where_no_way_up_is_left(self):
        """Strongly coupled actions, and a single start: Newton's step from a face points out of the box at times."""
        for seed in range(40):
            root = normal(4, 4, seed=seed)
            curvature = root @ root.mT + 0.02 * torch.eye(4)
            critic = example_critics.QuadraticCritic(curvature, 2 * normal(4, 2, seed=seed + 1))
            states = normal(20, 2, seed=seed + 2)
            actions = greedy_actions(critic, states, 4, samples=1).actions
            gradient = states @ critic.coupling.mT - actions @ critic.curvature
            projected = (actions + gradient).clamp(-1, 1) - actions
            assert projected.abs().max() < 1e-5

    def test_the_box_may_be_of_any_size(self):
        critic, states = example_critics.ConcaveCritic(3, 2), normal(5, 3)
        wide = greedy_actions(lambda s, a: critic(s, a / 7), states, 2, bound=7.0)
        torch.testing.assert_close(wide.actions, 7 * critic.maximiser(states).detach(), rtol=0, atol=1e-10)

    def test_single_precision_critics_and_columns_of_values_will_do(self):
        critic, states = example_critics.ConcaveCritic(3, 2), normal(5, 3)
        single = example_critics.ConcaveCritic(3, 2).float()
        greedy = greedy_actions(lambda s, a: single(s, a)[:, None], states.float(), 2)
        assert greedy.actions.dtype == torch.float32 and greedy.interior.all()
        torch.testing.assert_close(greedy.actions.double(), critic.maximiser(states).detach(), rtol=0, atol=1e-5)

    def test_two_calls_agree_and_leave_the_random_numbers_alone(self):
        critic, states = bent_network(3, 2), normal(4, 3)
        before = torch.get_rng_state()
        first, second = (greedy_actions(critic, states, 2).actions for _ in range(2))
        assert torch.equal(first, second) and torch.equal(torch.get_rng_state(), before)


class TestRefinement:
    def test_newton_follows_the_lower_of_two_peaks_too(self):
        states = torch.tensor([[0.3]], dtype=torch.float64)
        reached, arrived = refine_maximisers(two_peaks, states, torch.tensor([[-0.5]], dtype=torch.float64))
        assert arrived.all() and reached.item() < -0.3

    def test_a_saddle_or_a_minimum_is_no_arrival(self):
        _, arrived = refine_maximisers(two_peaks, torch.zeros(1, 1).double(), torch.full((1, 1), 0.05).double())
        assert not arrived.any()

    def test_rows_are_independent_of_their_neighbours(self):
        critic = example_critics.ConcaveCritic(3, 2)
        states, starts = normal(4, 3), torch.zeros(4, 2, dtype=torch.float64)
        together, _ = refine_maximisers(critic, states, starts)
        alone = torch.cat([refine_maximisers(critic, states[i : i + 1], starts[i : i + 1])[0] for i in range(4)])
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-15)

    def test_a_row_that_comes_to_where_the_critic_saturates_does_not_arrive(self):
        def critic(states, actions):  # its curvature is exactly zero from about 20 on
            return (actions.tanh() + 4.5 * actions).sum(1) + 0 * states.sum(1)

        states = torch.zeros(1, 1, dtype=torch.float64)
        reached, arrived = refine_maximisers(critic, states, torch.full((1, 1), 0.3).double())
        assert not arrived.any() and reached.isfinite().all()
        assert greedy_actions(critic, states, 1, bound=10.0).actions.item() == 10.0

    def test_a_runaway_does_not_arrive(self):
        reached, arrived = refine_maximisers(exponential, normal(2, 1), torch.zeros(2, 1, dtype=torch.float64))
        assert not arrived.any() and reached.isfinite().all()


class TestJacobian:
    def test_it_is_the_known_one(self):
        critic, states = example_critics.ConcaveCritic(3, 2), normal(10, 3)
        found = greedy_jacobian(critic, states, critic.maximiser(states).detach())
        torch.testing.assert_close(found, critic.policy_jacobian(states).detach(), rtol=1e-8, atol=1e-9)

    def test_it_is_lemma_1s_at_the_maximisers_of_a_random_network(self):
        network, states = bent_network(3, 2), normal(20, 3)

        def critic(states, actions):  # on a bowl, so that there are maxima inside the box
            return network(states, actions) - 2 * actions.square().sum(1)

        greedy = greedy_actions(critic, states, 2)
        assert greedy.interior.sum() >= 5
        at = states[greedy.interior], greedy.actions[greedy.interior]
        expected = implicit_policy_jacobian(mixed_hessian(critic, *at), action_hessian(critic, *at))
        torch.testing.assert_close(greedy_jacobian(critic, *at), expected, rtol=1e-6, atol=1e-7)

    def test_the_error_falls_with_the_square_of_the_step(self):
        critic, states = example_critics.ConcaveCritic(3, 2), normal(5, 3)
        exact, actions = critic.policy_jacobian(states).detach(), critic.maximiser(states).detach()
        errors = [(greedy_jacobian(critic, states, actions, step=h) - exact).norm().item() for h in (2e-2, 1e-2)]
        assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)

    def test_a_lost_maximum_is_named_by_its_row(self):
        def critic(states, actions):  # a maximum for s < 0 only
            return (states * actions.square() + 0.1 * actions.pow(4)).sum(1)

        states = torch.tensor([[-2.0], [1.0]], dtype=torch.float64)
        with pytest.raises(NoMaximumError, match="row 1 is lost"):
            greedy_jacobian(critic, states, torch.zeros(2, 1, dtype=torch.float64))


class TestBadInput:
    @pytest.mark.parametrize("argument", [{"bound": 0.0}, {"bound": math.nan}, {"bound": math.inf}, {"samples": 0}])
    def test_a_box_and_samples_must_be_there(self, argument):
        with pytest.raises(ValueError, match="must be above 0"):
            greedy_actions(two_peaks, normal(2, 1), 1, **argument)

    def test_several_critics_have_no_greedy_policy_in_common(self):
        with pytest.raises(ValueError, match="that of one critic, got 2"):
            greedy_actions(lambda s, a: (two_peaks(s, a), two_peaks(s, a)), normal(2, 1), 1)

    def test_a_critic_without_curvature_is_refused(self):
        with pytest.raises(NoCurvatureError):
            greedy_actions(lambda s, a: (a - s).relu().sum(1), normal(2, 1), 1)

    @pytest.mark.parametrize("step", [0.0, -1e-3, math.nan])
    def test_a_difference_step_must_be_positive(self, step):
        with pytest.raises(ValueError, match="step must be above 0"):
            greedy_jacobian(two_peaks, normal(1, 1), torch.full((1, 1), 0.5).double(), step=step)

    def test_differences_in_single_precision_are_refused(self):
        with pytest.raises(TypeError, match="use float64"):
            greedy_jacobian(two_peaks, torch.ones(1, 1), torch.ones(1, 1))

    def test_states_without_their_maximisers(self):
        with pytest.raises(ValueError, match="actions has 2 rows but states has 3"):
            greedy_jacobian(two_peaks, normal(3, 1), normal(2, 1))
