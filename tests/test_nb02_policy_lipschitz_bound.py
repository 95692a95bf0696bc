"""The critics and segments behind notebook 02: what is known of them, and bad input."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperlib.notebooks.nb02_policy_lipschitz_bound import measures as lb
from paperlib.notebooks.shared.interior_maxima import interior_maxima
from paperlib.pave import example_critics
from paperlib.pave.critic_geometry import action_hessian, implicit_policy_jacobian, mixed_hessian
from paperlib.pave.greedy_policy import NoMaximumError, greedy_actions


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def concave_critic():
    return example_critics.ConcaveCritic(3, 2)


class TestCritics:
    @settings(max_examples=10, deadline=None)
    @given(state=st.floats(0.01, 1.0), sign=st.sampled_from([-1.0, 1.0]))
    def test_two_peaks_meet_both_hypotheses_at_the_higher_one(self, state, sign):
        critic, states = lb.TwoPeakCritic(), torch.tensor([[sign * state]], dtype=torch.float64)
        greedy = greedy_actions(critic, states, 1)
        assert greedy.interior.all() and greedy.actions.item() * sign >= 0.5
        M = mixed_hessian(critic, states, greedy.actions).item()
        mu = -action_hessian(critic, states, greedy.actions).item()
        assert 0 < M / mu <= critic.bound

    @pytest.mark.parametrize("d_a", [1, 2])
    def test_no_action_of_a_fine_grid_beats_the_maximiser_of_a_random_landscape(self, d_a):
        critic, states = lb.random_landscape(3, d_a, depth=0.0, seed=1), normal(4, 3)
        axis = torch.linspace(-1, 1, {1: 2001, 2: 81}[d_a], dtype=torch.float64)
        grid = torch.cartesian_prod(*[axis] * d_a).reshape(-1, d_a)
        best = greedy_actions(critic, states, d_a).actions
        with torch.no_grad():
            for state, action in zip(states, best, strict=True):
                found = critic(state[None], action[None])
                assert (critic(state.expand(len(grid), -1), grid) <= found + 1e-9).all()

    def test_the_measured_jacobian_of_a_random_landscape_is_lemma_1s(self):
        at = interior_maxima("landscape", lb.random_landscape(3, 2, depth=3.0, seed=0), normal(4, 3), 2)
        torch.testing.assert_close(at.jacobian, implicit_policy_jacobian(at.mixed, at.action), rtol=1e-6, atol=1e-8)

    @pytest.mark.parametrize("exponent", [0, 1, 2])
    def test_a_family_scales_its_coupling_and_its_curvature_by_powers(self, exponent):
        whole, tenth = (lb.quadratic_family(scale, curvature_exponent=exponent) for scale in (1.0, 0.1))
        torch.testing.assert_close(tenth.coupling, 0.1 * whole.coupling)
        torch.testing.assert_close(tenth.curvature, 0.1**exponent * whole.curvature)

    def test_impossible_critics(self, concave_critic):
        with pytest.raises(ValueError, match="peak"):
            lb.TwoPeakCritic(peak=1.5)
        with pytest.raises(ValueError, match="depth"):
            lb.BowlCritic(concave_critic, -1.0)


class TestSegments:
    ENDS = torch.tensor([[-1.0]], dtype=torch.float64), torch.tensor([[1.05]], dtype=torch.float64)

    def test_the_branch_changes_once_and_at_the_jump(self):
        along = lb.segments(lb.TwoPeakCritic(), *self.ENDS, 1)
        assert along.branch.max() == 1
        assert torch.equal(along.branch[0] == 1, along.states[0, :, 0] > 0)

    def test_a_concave_critic_has_one_branch_and_its_known_maximisers(self, concave_critic):
        along = lb.segments(concave_critic, normal(3, 3, seed=1), normal(3, 3, seed=2), 2, points=5)
        assert along.branch.max() == 0
        expected = concave_critic.maximiser(along.states.flatten(0, 1)).detach()
        torch.testing.assert_close(along.actions.flatten(0, 1), expected, rtol=0, atol=1e-10)

    def test_segments_that_leave_the_hypotheses_are_left_out(self):
        critic = example_critics.QuadraticCritic(torch.eye(1), torch.ones(1, 1))  # a* = s: inside the box for |s| < 1
        begin, end = torch.zeros(2, 1).double(), torch.tensor([[0.5], [2.0]]).double()
        assert torch.equal(lb.segments(critic, begin, end, 1).states[:, -1], end[:1])
        with pytest.raises(NoMaximumError, match="none of 1 segments"):
            lb.segments(critic, begin[1:], end[1:], 1)

    def test_the_quadrature_integrates_the_derivative_of_the_greedy_policy(self, concave_critic):
        begin, end = 0.3 * normal(3, 3, seed=5), 0.3 * normal(3, 3, seed=6)
        mixed, action, weight = lb.at_quadrature_nodes(concave_critic, begin, end, 2)
        slopes = implicit_policy_jacobian(mixed, action)
        integral = torch.einsum("n,knas,ks->ka", weight, slopes, end - begin)
        expected = (concave_critic.maximiser(end) - concave_critic.maximiser(begin)).detach()
        torch.testing.assert_close(integral, expected, rtol=0, atol=1e-10)

    def test_unequal_ends_or_too_few_points(self, concave_critic):
        with pytest.raises(ValueError, match="ends alike"):
            lb.segments(concave_critic, normal(2, 3), normal(3, 3), 2)
        with pytest.raises(ValueError, match="3 points"):
            lb.segments(concave_critic, normal(2, 3), normal(2, 3), 2, points=2)
