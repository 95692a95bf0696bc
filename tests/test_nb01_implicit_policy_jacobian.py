"""The routes behind notebook 01 agree with closed forms, and refuse bad input."""

import pytest
import torch

from paperlib.notebooks.nb01_implicit_policy_jacobian import measures as lemma
from paperlib.notebooks.shared.interior_maxima import InteriorMaxima, finite_difference_jacobian, interior_maxima
from paperlib.notebooks.shared.numerics import relative_difference
from paperlib.notebooks.shared.trained_critics import TrainedCritic, trained_critics
from paperlib.pave.critic_geometry import action_gradient, implicit_policy_jacobian
from paperlib.pave.example_critics import ConcaveCritic, QuadraticCritic, random_network
from paperlib.pave.greedy_policy import NoMaximumError, greedy_actions


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def quadratic():
    root = normal(3, 3, seed=1)
    critic = QuadraticCritic(root @ root.mT + torch.eye(3), normal(3, 4, seed=2), normal(3, seed=3))
    states = normal(5, 4, seed=4)
    return InteriorMaxima("quadratic", critic, states, critic.maximiser(states).detach(), 8.0)


@pytest.fixture(scope="module")
def concave():
    critic, states = ConcaveCritic(3, 3, seed=1), normal(5, 3, seed=5)
    return InteriorMaxima("concave", critic, states, critic.maximiser(states).detach(), 1.0)


@pytest.fixture(scope="module")
def network():
    critic = random_network(3, 1, hidden=(32, 32), seed=4)
    return interior_maxima("network", critic, normal(12, 3, seed=6), 1, bound=30.0)


@pytest.fixture(params=["quadratic", "concave", "network"])
def maxima(request):
    return request.getfixturevalue(request.param)


def lemma_1(maxima):
    return implicit_policy_jacobian(maxima.mixed, maxima.action)


class TestRoutes:
    def test_differences_and_an_unrolled_solver_agree_with_the_lemma(self, maxima):
        some = maxima.thinned(3)
        assert relative_difference(some.jacobian, lemma_1(some)) < 1e-7
        assert relative_difference(lemma.unrolled_jacobians(some, 80)[-1], lemma_1(some)) < 1e-7

    def test_an_extrapolated_difference_is_of_fourth_order(self, concave):
        exact = concave.critic.policy_jacobian(concave.states).detach()
        errors = [relative_difference(lemma.extrapolated_jacobian(concave, h), exact) for h in (4e-2, 2e-2)]
        assert errors[0] / errors[1] == pytest.approx(16, rel=0.1)

    def test_maximisers_found_by_values_are_the_known_ones(self, concave):
        found = lemma.maximisers_by_values(concave.critic, concave.states, 3, bound=1.0)
        torch.testing.assert_close(found.actions, concave.actions, rtol=0, atol=1e-8)

    def test_projected_gradient_steps_find_the_best_action_of_a_box(self, quadratic):
        starts = torch.zeros_like(quadratic.actions)
        best = lemma.box_maximiser(quadratic.critic, quadratic.states, starts, bound=0.5, rate=0.1)
        expected = greedy_actions(quadratic.critic, quadratic.states, 3, bound=0.5)
        assert not expected.interior.all()
        torch.testing.assert_close(best, expected.actions, rtol=0, atol=1e-6)

    def test_the_explicit_parameter_jacobian_of_a_linear_policy_is_known(self):
        policy, states = torch.nn.Linear(3, 2).double(), normal(4, 3)
        found = lemma.parameter_jacobian(policy, states)
        weights, offsets = torch.einsum("ij,bk->bijk", torch.eye(2).double(), states).flatten(2), torch.eye(2).double()
        torch.testing.assert_close(found, torch.cat([weights, offsets.expand(4, -1, -1)], dim=2))

    def test_policy_jacobian_of_a_linear_policy_is_its_weight(self):
        policy = torch.nn.Linear(3, 2).double()
        expected = policy.weight.detach().expand(4, -1, -1)
        torch.testing.assert_close(lemma.policy_jacobian(policy, normal(4, 3)), expected)


class TestCritics:
    def test_a_rescaled_critic_has_the_same_maximiser_and_scaled_hessians(self, maxima):
        some = maxima.thinned(2)
        scaled = lemma.rescaled(some, 2.0, 0.5)
        assert action_gradient(scaled.critic, some.states, some.actions).abs().max() < 1e-9
        torch.testing.assert_close(scaled.mixed, 2.0 * some.mixed)
        torch.testing.assert_close(scaled.action, 0.5 * some.action)

    @pytest.mark.parametrize("case", [lemma.flat_quadratic, lemma.flat_quartic, lemma.undriven_quadratic])
    def test_a_flat_critic_is_as_flat_as_it_says_at_a_maximiser(self, case):
        maxima = case(1e-3)
        assert action_gradient(maxima.critic, maxima.states, maxima.actions).abs().max() < 1e-12
        assert torch.linalg.eigvalsh(maxima.action)[0, -1].item() == pytest.approx(-1e-3)
        assert torch.equal(maxima.mixed, case(1e-1).mixed)  # the coupling stays

    def test_a_push_moves_the_maximiser_of_a_quadratic_by_the_inverse_hessian(self, quadratic):
        push = 0.1 * normal(5, 3, seed=7)
        expected = torch.linalg.solve(quadratic.critic.curvature.detach(), push.mT).mT.norm(dim=1)
        torch.testing.assert_close(lemma.displacement(quadratic, push), expected)

    @pytest.mark.parametrize("signs, beaten", [((-1, -1), False), ((-1, 0), False), ((1, -3), True), ((1, 1), True)])
    def test_only_maxima_are_beaten_by_no_nearby_action(self, signs, beaten):
        for point in lemma.stationary_points(10, signs=signs, cubic=0.0, seed=0):
            assert action_gradient(point.critic, point.states, point.actions).abs().max() < 1e-12
            assert lemma.beaten_nearby(point).item() is beaten

    def test_a_point_that_is_no_maximum_is_refused_as_a_case(self):
        with pytest.raises(ValueError, match="stationary 0 holds a point that is no strict maximum"):
            lemma.curvature_of_strict_maxima(lemma.stationary_points(1, signs=(1, -3), cubic=0.0, seed=0))


class TestStatesOfAPath:
    def test_they_are_spread_over_the_way_and_not_over_time(self):
        standing, going = torch.zeros(900, 1).double(), torch.linspace(0, 1, 100).double()[:, None]
        case = TrainedCritic("line", "Base", None, None, torch.cat([standing, going]), torch.zeros(1000, 1))
        path = case.along_path(11)
        torch.testing.assert_close(path[:, 0], torch.linspace(0, 1, 11).double(), rtol=0, atol=0.011)
        assert (case.spread(11) == 0).sum() >= 9

    def test_an_episode_gives_states_actions_and_names(self):
        case = next(case for case in trained_critics(episodes=1) if case.label == "reacher PAVE")
        assert case.states.shape == (50, 10) and case.actions.shape == (50, 2)
        assert case.actions.abs().max() <= 1 and case.actions.dtype == torch.float64
        torch.testing.assert_close(case.policy(case.states).detach(), case.actions, rtol=0, atol=1e-5)
        assert len(case.spread(7)) == 7 and len(case.spread(1000)) == 50

    def test_no_episodes_and_no_states(self):
        with pytest.raises(ValueError, match="at least one episode"):
            trained_critics(episodes=0)
        case = TrainedCritic("line", "Base", None, None, normal(3, 2), normal(3, 1))
        with pytest.raises(ValueError, match="at least one state"):
            case.spread(0)
        with pytest.raises(ValueError, match="two ends"):
            case.along_path(1)


class TestBadInput:
    def test_a_critic_without_interior_maximum_is_named(self):
        with pytest.raises(NoMaximumError, match="slope: none of 3 states"):
            interior_maxima("slope", lambda s, a: a.exp().sum(1) + 0 * s.sum(1), normal(3, 2), 1)

    def test_derivative_free_search_reports_a_maximum_on_the_boundary(self):
        with pytest.raises(NoMaximumError, match="none of 3 states"):
            lemma.maximisers_by_values(lambda s, a: a.sum(1) + 0 * s.sum(1), normal(3, 2), 1, bound=1.0)

    def test_a_push_that_leaves_no_maximum_is_an_error(self):
        def critic(states, actions):  # concave to the right of 0 only, its maximum at artanh of the root of 1/2
            return (actions.tanh() - actions / 2).sum(1) + 0 * states.sum(1)

        best = torch.tensor([[0.5**0.5]], dtype=torch.float64).atanh()
        at = InteriorMaxima("peak", critic, torch.zeros(1, 1).double(), best, 3.0)
        with pytest.raises(NoMaximumError, match="peak: row 0 has no maximum left"):
            lemma.displacement(at, torch.full((1, 1), 5.0).double())

    def test_an_unrolled_solver_needs_an_iteration(self, quadratic):
        with pytest.raises(ValueError, match="iterations must be at least 1"):
            lemma.unrolled_jacobians(quadratic, 0)

    def test_projected_gradient_reports_that_it_has_not_settled(self, quadratic):
        starts = torch.zeros_like(quadratic.actions)
        with pytest.raises(NoMaximumError, match="not settled"):
            lemma.box_maximiser(quadratic.critic, quadratic.states, starts, bound=1.0, rate=10.0)

    def test_a_difference_step_must_be_positive(self, quadratic):
        with pytest.raises(ValueError, match="step must be above 0"):
            finite_difference_jacobian(quadratic, 0.0)
