"""PAVE Proposition 2: each formula of its check has a test in which a wrong one changes the ledger's verdict."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperlib.notebooks.nb02_policy_lipschitz_bound import measures as lb
from paperlib.pave import example_critics
from paperlib.pave.critic_geometry import action_hessian, implicit_policy_jacobian, policy_lipschitz_bound
from paperlib.repro import claims, verdicts


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def verdict(claim_id, measured, corrected=None):
    return verdicts.decide(claims.load_claims()[claim_id], measured, corrected, "", "smoke").verdict


@pytest.fixture(scope="module")
def flat_critic():
    """Curvatures 0.2 and 0.8: below 1, so that a missing inverse makes a bound too small."""
    curvature = torch.tensor([[0.5, 0.3], [0.3, 0.5]], dtype=torch.float64)
    return example_critics.QuadraticCritic(curvature, 0.1 * normal(2, 3, seed=1))


@pytest.fixture(scope="module")
def concave_critic():
    return example_critics.ConcaveCritic(3, 2)


@pytest.fixture(scope="module")
def maxima(flat_critic, concave_critic):
    states = 0.5 * normal(12, 3, seed=2)
    return {
        "quadratic": lb.maxima(flat_critic, states, 2),
        "concave": lb.maxima(concave_critic, states, 2),
        "two peaks": lb.maxima(lb.TwoPeakCritic(), torch.linspace(-1, 1, 12, dtype=torch.float64)[:, None], 1),
    }


@pytest.fixture(scope="module")
def segments():
    """One critic that attains the bound along its segment, one whose maximiser jumps."""
    curvature = torch.tensor([[0.5, 0.3], [0.3, 0.5]], dtype=torch.float64)
    attained = example_critics.QuadraticCritic(curvature, torch.tensor([[0.4], [-0.4]], dtype=torch.float64))
    line = torch.tensor([[-1.0], [1.05]], dtype=torch.float64)
    return {
        "quadratic": lb.segments(attained, 0.4 * line[:1], 0.4 * line[1:], 2),
        "two peaks": lb.segments(lb.TwoPeakCritic(), line[:1], line[1:], 1),
    }


@pytest.fixture(scope="module")
def visited():
    networks = example_critics.trained_networks()["reacher", "pave"]
    return lb.visited(networks, "reacher", episodes=1)


class TestTheGreedyPolicy:
    @pytest.mark.parametrize("d_a", [1, 2, 3])
    def test_the_search_finds_the_known_maximiser(self, d_a):
        critic, states = example_critics.ConcaveCritic(4, d_a, seed=d_a), normal(10, 4)
        greedy = lb.greedy_actions(critic, states, d_a)
        assert greedy.strict.all()
        torch.testing.assert_close(greedy.actions, critic.maximiser(states), rtol=0, atol=1e-10)

    @settings(max_examples=10, deadline=None)
    @given(state=st.floats(0.01, 1.0), sign=st.sampled_from([-1.0, 1.0]))
    def test_of_two_peaks_the_higher_one_is_found(self, state, sign):
        states = torch.tensor([[sign * state]], dtype=torch.float64)
        greedy = lb.greedy_actions(lb.TwoPeakCritic(), states, 1)
        assert greedy.actions.item() * sign >= 0.5

    @pytest.mark.parametrize("d_a", [1, 2])
    def test_no_action_of_a_fine_grid_beats_the_maximiser_of_a_random_landscape(self, d_a):
        critic, states = lb.random_landscape(3, d_a, depth=0.0, seed=1), normal(4, 3)
        axis = torch.linspace(-1, 1, {1: 2001, 2: 81}[d_a], dtype=torch.float64)
        grid = torch.cartesian_prod(*[axis] * d_a).reshape(-1, d_a)
        best = lb.greedy_actions(critic, states, d_a).actions
        with torch.no_grad():
            for state, action in zip(states, best, strict=True):
                found = critic(state[None], action[None])
                assert (critic(state.expand(len(grid), -1), grid) <= found + 1e-9).all()

    def test_a_maximiser_on_the_boundary_is_found_and_is_not_strict(self):
        critic = example_critics.QuadraticCritic(torch.eye(2), torch.tensor([[1.0], [0.2]]))
        greedy = lb.greedy_actions(critic, torch.full((1, 1), 3.0, dtype=torch.float64), 2)
        torch.testing.assert_close(greedy.actions, torch.tensor([[1.0, 0.6]], dtype=torch.float64))
        assert not greedy.strict.any()

    def test_the_measured_jacobian_is_the_known_one(self, concave_critic):
        states = normal(10, 3)
        measured = lb.measured_jacobian(concave_critic, states, concave_critic.maximiser(states))
        torch.testing.assert_close(measured, concave_critic.policy_jacobian(states).detach(), rtol=1e-8, atol=1e-10)

    def test_the_measured_jacobian_of_a_random_landscape_is_lemma_1s(self):
        at = lb.maxima(lb.random_landscape(3, 2, depth=3.0, seed=0), normal(4, 3), 2)
        torch.testing.assert_close(at.jacobian, implicit_policy_jacobian(at.mixed, at.action), rtol=1e-7, atol=1e-9)


class TestSubmultiplicativity:
    CLAIM = "pave.prop2.submultiplicativity"

    def judge(self, maxima, **formula):
        return verdict(self.CLAIM, {n: lb.submultiplicativity_ratio(m, **formula).max() for n, m in maxima.items()})

    def test_holds(self, maxima):
        assert self.judge(maxima) == verdicts.HOLDS

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda mixed, action: lb.spectral_norm(action) * lb.spectral_norm(mixed),
            lambda mixed, action: lb.norm_product(mixed, action) / 2,
            lambda mixed, action: torch.linalg.matrix_norm(torch.linalg.inv(action), ord=-2) * lb.spectral_norm(mixed),
            lambda mixed, action: lb.spectral_norm(torch.linalg.inv(action)),
            lambda mixed, action: lb.spectral_norm(mixed),
            lambda mixed, action: (
                lb.spectral_norm(torch.linalg.inv(action)) / lb.spectral_norm(mixed).reciprocal() ** 2
            ),
        ],
        ids=["no inverse", "half", "smallest singular value", "no mixed partial", "no curvature", "square of the norm"],
    )
    def test_a_wrong_right_side_is_caught(self, maxima, wrong):
        assert self.judge(maxima, product=wrong) == verdicts.DOES_NOT_HOLD

    def test_a_wrong_sign_is_an_error(self, maxima):
        with pytest.raises(ValueError, match="must be positive"):
            self.judge(maxima, product=lambda mixed, action: -lb.norm_product(mixed, action))

    def test_it_is_an_equality_for_one_action(self, maxima):
        ratio = lb.submultiplicativity_ratio(maxima["two peaks"])
        torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=1e-9, atol=0)


class TestInverseHessian:
    CLAIM = "pave.prop2.inverse_hessian"

    @staticmethod
    def hessians():
        factor = normal(20, 3, 3)
        return -factor @ factor.mT - 0.1 * torch.eye(3, dtype=torch.float64)

    def judge(self, **formula):
        return verdict(self.CLAIM, lb.inverse_hessian_ratio(self.hessians(), **formula).max())

    def test_holds(self):
        assert self.judge() == verdicts.HOLDS

    def test_it_is_an_equality_with_the_points_own_mu(self):
        ratio = lb.inverse_hessian_ratio(self.hessians())
        torch.testing.assert_close(ratio, torch.ones_like(ratio))

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda action: -1 / torch.linalg.eigvalsh(action)[..., 0],
            lambda action: -action.shape[-1] / action.diagonal(dim1=-2, dim2=-1).sum(-1),
            lambda action: lb.curvature(action),
            lambda action: 0.5 / lb.curvature(action),
        ],
        ids=["smallest eigenvalue", "trace", "no inverse", "factor 2"],
    )
    def test_a_wrong_bound_is_caught(self, wrong):
        assert self.judge(bound=wrong) == verdicts.DOES_NOT_HOLD

    def test_a_wrong_sign_is_an_error(self):
        with pytest.raises(ValueError, match="must be positive"):
            self.judge(bound=lambda action: 1 / torch.linalg.eigvalsh(action)[..., -1])


WRONG_BOUNDS = {
    "inverted": lambda mixed, action: 1 / lb.lipschitz_bound(mixed, action),
    "half": lambda mixed, action: lb.lipschitz_bound(mixed, action) / 2,
    "M times mu": lambda mixed, action: lb.spectral_norm(mixed).amax(-1) * lb.curvature(action).amin(-1),
    "M alone": lambda mixed, action: lb.spectral_norm(mixed).amax(-1),
    "steepest curvature": lambda mixed, action: lb.spectral_norm(mixed).amax(-1) / lb.spectral_norm(action).amax(-1),
}


class TestSupremum:
    CLAIM = "pave.prop2.bound"

    def judge(self, maxima, **formula):
        return verdict(self.CLAIM, {name: lb.supremum_ratio(at, **formula) for name, at in maxima.items()})

    def test_holds(self, maxima):
        assert self.judge(maxima) == verdicts.HOLDS

    @pytest.mark.parametrize("wrong", WRONG_BOUNDS.values(), ids=WRONG_BOUNDS)
    def test_a_wrong_bound_is_caught(self, maxima, wrong):
        assert self.judge(maxima, bound=wrong) == verdicts.DOES_NOT_HOLD

    def test_the_pointwise_bound_lies_between(self, maxima):
        for at in maxima.values():
            bound = policy_lipschitz_bound(at.mixed, at.action)
            assert lb.spectral_norm(at.jacobian).max() <= bound.pointwise_bound * (1 + 1e-9)
            assert bound.pointwise_bound <= bound.bound * (1 + 1e-12)


class TestPairsOfStates:
    CLAIM = "pave.prop2.lipschitz"

    def judge(self, segments, *, names=("quadratic", "two peaks"), **formula):
        measured, corrected = (
            {name: lb.pair_ratio(segments[name], same_branch=same, **formula) for name in names}
            for same in (False, True)
        )
        return verdict(self.CLAIM, measured, corrected)

    def test_holds_with_a_correction_because_of_the_jump(self, segments):
        assert self.judge(segments) == verdicts.CORRECTED
        assert self.judge(segments, names=("quadratic",)) == verdicts.HOLDS

    @pytest.mark.parametrize("wrong", WRONG_BOUNDS.values(), ids=WRONG_BOUNDS)
    def test_a_wrong_bound_is_caught(self, segments, wrong):
        assert self.judge(segments, bound=wrong) == verdicts.DOES_NOT_HOLD

    def test_the_branch_changes_once_and_at_the_jump(self, segments):
        along = segments["two peaks"]
        assert along.branch.max() == 1
        assert torch.equal(along.branch[0] == 1, along.states[0, :, 0] > 0)

    def test_the_ratio_at_a_jump_grows_without_limit_as_the_pair_closes(self):
        ends = torch.tensor([[-1.0], [1.05]], dtype=torch.float64)
        ratios = [
            lb.pair_ratio(lb.segments(lb.TwoPeakCritic(), scale * ends[:1], scale * ends[1:], 1), same_branch=False)
            for scale in (0.1, 0.01)
        ]
        assert ratios[1] > 9 * ratios[0]

    def test_the_mean_value_identity_holds_on_a_branch_and_misses_by_the_jump_between_two(self, concave_critic):
        ends = 0.3 * normal(3, 3, seed=5), 0.3 * normal(3, 3, seed=6)
        assert lb.mean_value_defect(concave_critic, *ends, 2).max() < 1e-10
        across = torch.tensor([[-0.3]], dtype=torch.float64), torch.tensor([[0.3]], dtype=torch.float64)
        assert lb.mean_value_defect(lb.TwoPeakCritic(), *across, 1).item() == pytest.approx(1.0, abs=1e-3)

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda mixed, action: -implicit_policy_jacobian(mixed, action),
            lambda mixed, action: 2 * implicit_policy_jacobian(mixed, action),
            lambda mixed, action: -action @ mixed,
            lambda mixed, action: mixed,
        ],
        ids=["sign", "factor 2", "no inverse", "no curvature"],
    )
    def test_the_mean_value_identity_catches_a_wrong_jacobian(self, concave_critic, wrong):
        ends = 0.3 * normal(3, 3, seed=5), 0.3 * normal(3, 3, seed=6)
        assert lb.mean_value_defect(concave_critic, *ends, 2, jacobian=wrong).max() > 1e-3


class TestSmallCoupling:
    CLAIM = "pave.prop2.small_coupling_is_not_enough"

    @pytest.mark.parametrize(
        ("exponent", "expected"), [(2, verdicts.HOLDS), (1, verdicts.DOES_NOT_HOLD), (0, verdicts.DOES_NOT_HOLD)]
    )
    def test_only_a_curvature_that_falls_faster_makes_the_policy_rougher(self, exponent, expected):
        before, after = (
            lb.measured_sensitivity(lb.quadratic_family(scale, curvature_exponent=exponent), 6, 3)
            for scale in (1.0, 0.01)
        )
        assert after / before == pytest.approx(0.01 ** (1 - exponent), rel=1e-6)
        assert verdict(self.CLAIM, after / before) == expected


class TestCurvatureWherePoliciesGo:
    CLAIM = "pave.prop2.curvature_bounded_away"

    def test_an_episode_gives_states_actions_and_the_first_critic(self, visited):
        assert visited.states.shape == (50, 10) and visited.actions.shape == (50, 2)
        assert visited.actions.abs().max() <= 1
        assert len(visited.spread(7)) == 7 and len(visited.spread(1000)) == 50

    def test_the_curvature_is_the_least_eigenvalue_of_minus_the_hessian(self, visited):
        hessians = action_hessian(visited.critic, visited.states, visited.actions)
        torch.testing.assert_close(lb.visited_curvature(visited), torch.linalg.eigvalsh(-hessians)[:, 0])

    @pytest.mark.parametrize(
        ("mu", "expected"),
        [(lb.curvature, verdicts.HOLDS), (lambda action: -lb.curvature(action), verdicts.DOES_NOT_HOLD)],
        ids=["as printed", "sign"],
    )
    def test_a_wrong_sign_is_caught(self, visited, mu, expected):
        assert verdict(self.CLAIM, lb.visited_curvature(visited, mu=mu).min(), corrected=-1.0) == expected

    def test_the_other_end_of_the_spectrum_is_caught_on_a_saddle(self):
        class Saddle(torch.nn.Module):
            def forward(self, states, actions):
                return actions.square() @ torch.tensor([0.5, -1.5], dtype=torch.float64)

        at = lb.Visited(normal(3, 2), normal(3, 2), Saddle())
        smallest = [
            lb.visited_curvature(at, mu=mu).min().item()
            for mu in (lb.curvature, lambda action: -torch.linalg.eigvalsh(action)[..., 0])
        ]
        assert [verdict(self.CLAIM, value, corrected=-1.0) for value in smallest] == [
            verdicts.DOES_NOT_HOLD,
            verdicts.HOLDS,
        ]

    def test_the_rate_counts_points_above_zero(self):
        assert lb.negative_definite_rate(torch.tensor([-1.0, 0.0, 1.0, 2.0])) == 0.5

    @pytest.mark.parametrize(
        ("rate", "base", "expected"),
        [
            (1.0, 1.0, verdicts.CORRECTED),  # nothing left to gain
            (0.9, 0.5, verdicts.CORRECTED),
            (0.5, 0.5, verdicts.DOES_NOT_HOLD),  # room, and no gain
            (0.98, 1.0, verdicts.DOES_NOT_HOLD),  # a loss
            (0.3, 0.5, verdicts.DOES_NOT_HOLD),
        ],
    )
    def test_the_correction_asks_for_a_gain_where_there_is_room_and_for_no_loss_elsewhere(self, rate, base, expected):
        assert verdict(self.CLAIM, -1.0, corrected=lb.rate_beyond_what_is_asked(rate, base)) == expected


class TestPointwiseBound:
    CLAIM = "pave.prop2.bound_lowered"

    def at(self, curvature, coupling):
        critic = example_critics.QuadraticCritic(curvature * torch.eye(2, dtype=torch.float64), coupling * normal(2, 3))
        return lb.Visited(normal(4, 3), normal(4, 2), critic)

    def test_it_is_the_coupling_over_the_curvature(self):
        at = self.at(2.0, 1.0)
        expected = torch.linalg.matrix_norm(at.critic.coupling, ord=2) / 2
        torch.testing.assert_close(lb.pointwise_bounds(at), expected.detach().expand(4))

    def test_there_is_none_without_curvature(self):
        class Bowl(torch.nn.Module):
            def forward(self, states, actions):
                return actions.square().sum(1) + (actions * states[:, :2]).sum(1)

        assert lb.pointwise_bounds(lb.Visited(normal(4, 3), normal(4, 2), Bowl())).isinf().all()

    @pytest.mark.parametrize(
        ("bound", "expected"),
        [
            (None, verdicts.HOLDS),
            (lambda mixed, mu: mu / lb.spectral_norm(mixed), verdicts.DOES_NOT_HOLD),  # upside down
            (lambda mixed, mu: 1 / mu, verdicts.DOES_NOT_HOLD),  # without the coupling
        ],
        ids=["as printed", "upside down", "no coupling"],
    )
    def test_a_wrong_bound_does_not_see_that_the_coupling_fell(self, bound, expected):
        with_loss, without = (lb.pointwise_bounds(self.at(1.0, c), bound=bound) for c in (0.5, 1.0))
        assert verdict(self.CLAIM, lb.share_below(with_loss, without)) == expected

    def test_ties_count_half_also_between_infinite_bounds(self):
        one, other = torch.tensor([1.0, torch.inf]), torch.tensor([1.0, torch.inf])
        assert lb.share_below(one, other) == (0.5 + 1 + 0 + 0.5) / 4


class TestBadInput:
    def test_more_actions_than_the_grid_is_made_for(self):
        with pytest.raises(ValueError, match="1 to 3 action dimensions, got 4"):
            lb.greedy_actions(example_critics.ConcaveCritic(2, 4), normal(1, 2), 4)

    def test_no_strict_maximum_anywhere(self):
        critic = example_critics.QuadraticCritic(torch.eye(1), torch.ones(1, 1))
        states = torch.full((3, 1), 5.0, dtype=torch.float64)
        with pytest.raises(lb.NoStrictMaximum, match="none of 3 states"):
            lb.maxima(critic, states, 1)
        with pytest.raises(lb.NoStrictMaximum, match="none of 3 segments"):
            lb.segments(critic, states, states + 1, 1)

    def test_a_jacobian_where_the_critic_has_no_maximum_nearby(self):
        def nearly_linear(states, actions):
            return torch.exp(actions[:, 0]) + states[:, 0]

        with pytest.raises(ValueError, match="lost the maximum next to row 0"):
            lb.measured_jacobian(nearly_linear, normal(1, 1), normal(1, 1))

    def test_states_without_their_maximisers(self, concave_critic):
        with pytest.raises(ValueError, match="got 3 states and 2 actions"):
            lb.measured_jacobian(concave_critic, normal(3, 3), normal(2, 2))

    def test_segments_with_unequal_ends_or_too_few_points(self, concave_critic):
        with pytest.raises(ValueError, match="ends alike"):
            lb.segments(concave_critic, normal(2, 3), normal(3, 3), 2)
        with pytest.raises(ValueError, match="3 points"):
            lb.segments(concave_critic, normal(2, 3), normal(2, 3), 2, points=2)

    def test_impossible_critics(self, concave_critic):
        with pytest.raises(ValueError, match="peak"):
            lb.TwoPeakCritic(peak=1.5)
        with pytest.raises(ValueError, match="depth"):
            lb.BowlCritic(concave_critic, -1.0)

    def test_no_episodes_and_no_states(self):
        networks = example_critics.trained_networks()["reacher", "pave"]
        with pytest.raises(ValueError, match="at least one episode"):
            lb.visited(networks, "reacher", episodes=0)
        with pytest.raises(ValueError, match="at least one state"):
            lb.Visited(normal(3, 2), normal(3, 1), None).spread(0)
