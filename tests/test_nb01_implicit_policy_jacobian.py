"""The measurements behind notebook 01 see a wrong formula, and refuse bad input."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperlib.notebooks.nb01_implicit_policy_jacobian import measures as lemma
from paperlib.pave.critic_geometry import implicit_policy_jacobian
from paperlib.pave.example_critics import ConcaveCritic, QuadraticCritic, random_network
from paperlib.repro import verdicts
from paperlib.repro.claims import load_claims

CLAIMS = load_claims()
STEP = 3e-6


def verdict(claim_id, measured, corrected=None):
    return verdicts.decide(CLAIMS[claim_id], measured, corrected, "", "any").verdict


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def quadratic():
    # d_s = d_a and a non-symmetric coupling: a transposed formula has the right shape and a wrong value.
    root = normal(3, 3, seed=1)
    critic = QuadraticCritic(root @ root.mT + torch.eye(3), normal(3, 3, seed=2), normal(3, seed=3))
    states = normal(5, 3, seed=4)
    return lemma.InteriorMaxima("quadratic", critic, states, critic.maximiser(states).detach(), math.inf)


@pytest.fixture(scope="module")
def concave():
    critic, states = ConcaveCritic(3, 3, seed=1), normal(5, 3, seed=5)
    return lemma.InteriorMaxima("concave", critic, states, critic.maximiser(states).detach(), 1.0)


@pytest.fixture(scope="module")
def network():
    critic = random_network(3, 1, hidden=(32, 32), seed=4)
    return lemma.interior_maxima("network", critic, normal(12, 3, seed=6), 1, bound=30.0, starts=8)


@pytest.fixture(params=["quadratic", "concave", "network"])
def maxima(request):
    return request.getfixturevalue(request.param)


def finite_difference_error(maxima, formula):
    return lemma.relative_difference(maxima.jacobian(formula), lemma.finite_difference_jacobian(maxima, STEP))


class TestLemma:
    def test_three_independent_routes_agree_with_the_formula(self, maxima):
        some = maxima.thinned(3)
        errors = {
            "differences": finite_difference_error(maxima, implicit_policy_jacobian),
            "unrolled": lemma.relative_difference(lemma.unrolled_jacobians(some, 80)[-1], some.jacobian()),
        }
        assert verdict("pave.lemma1.formula", errors) == verdicts.HOLDS

    @pytest.mark.parametrize(
        "mutation",
        [
            lambda mixed, action: torch.linalg.solve(action, mixed),  # sign
            lambda mixed, action: -2 * torch.linalg.solve(action, mixed),  # factor
            lambda mixed, action: -action @ mixed,  # no inverse
            lambda mixed, action: -torch.linalg.solve(action, mixed.mT),  # transposed coupling
            lambda mixed, action: -torch.linalg.solve(action, mixed).mT,  # transposed result
            lambda mixed, action: -mixed @ torch.linalg.inv(action),  # order of the product
            lambda mixed, action: -mixed / action.diagonal(dim1=1, dim2=2)[:, :, None],  # diagonal only
        ],
        ids=["sign", "factor", "no_inverse", "transposed_coupling", "transposed", "order", "diagonal"],
    )
    def test_a_wrong_formula_is_caught(self, quadratic, mutation):
        assert verdict("pave.lemma1.formula", finite_difference_error(quadratic, mutation)) == verdicts.DOES_NOT_HOLD

    @pytest.mark.parametrize(
        "mutation",
        [lambda h, g, j: h - g @ j, lambda h, g, j: h + g.mT @ j.mT, lambda h, g, j: 2 * h + g @ j],
        ids=["sign", "transposed", "factor"],
    )
    def test_a_wrong_total_derivative_is_caught(self, quadratic, mutation):
        right = lemma.total_derivative_residual(quadratic, STEP)
        assert verdict("pave.lemma1.total_derivative", right) == verdicts.HOLDS
        wrong = lemma.total_derivative_residual(quadratic, STEP, mutation)
        assert verdict("pave.lemma1.total_derivative", wrong) == verdicts.DOES_NOT_HOLD

    def test_maximisers_found_by_values_have_no_gradient_left(self, concave):
        found = lemma.maximisers_by_values(concave.critic, concave.states, 3)
        assert verdict("pave.lemma1.first_order_condition", lemma.first_order_residual(found)) == verdicts.HOLDS

    def test_the_first_order_condition_fails_on_a_face_of_the_box(self, quadratic):
        bound = 0.5 * quadratic.actions.abs().max().item()
        starts = torch.zeros_like(quadratic.actions)
        best = lemma.box_maximiser(quadratic.critic, quadratic.states, starts, bound=bound, rate=0.1)
        at_face = lemma.InteriorMaxima("box", quadratic.critic, quadratic.states, best, bound)
        residual = lemma.first_order_residual(at_face)
        assert verdict("pave.lemma1.first_order_condition", residual) == verdicts.DOES_NOT_HOLD

    def test_central_differences_of_a_smooth_maximiser_converge_with_order_two(self, concave):
        steps = [4e-3, 2e-3, 1e-3]
        reference = lemma.extrapolated_jacobian(concave, 1e-3)
        slope = lemma.log_log_slope(steps, lemma.difference_errors(concave, steps, reference))
        assert verdict("pave.lemma1.differentiable_maximiser", slope) == verdicts.HOLDS

    def test_a_wrong_reference_leaves_no_slope(self, concave):
        steps = [4e-3, 2e-3, 1e-3]
        slope = lemma.log_log_slope(steps, lemma.difference_errors(concave, steps, 2 * concave.jacobian()))
        assert verdict("pave.lemma1.differentiable_maximiser", slope) == verdicts.DOES_NOT_HOLD


class TestGeometricReading:
    def test_sensitivity_scales_with_coupling_over_curvature(self, maxima):
        error = lemma.scaling_error(maxima.thinned(2), [0.5, 2.0], STEP)
        assert verdict("pave.lemma1.coupling_times_inverse_curvature", error) == verdicts.HOLDS

    @pytest.mark.parametrize("law", [lambda a, b: b / a, lambda a, b: a * b, lambda a, b: a, lambda a, b: a / b**2])
    def test_a_wrong_scaling_law_is_caught(self, concave, law):
        error = lemma.scaling_error(concave.thinned(2), [0.5, 2.0], STEP, law)
        assert verdict("pave.lemma1.coupling_times_inverse_curvature", error) == verdicts.DOES_NOT_HOLD

    @pytest.mark.parametrize("case", [lemma.flat_quadratic, lemma.flat_quartic])
    def test_sensitivity_is_inverse_to_curvature_only_if_the_coupling_stays(self, case):
        curvatures = [1e-1, 1e-2, 1e-3]
        error = lemma.driven_limit_error(case(1e-3))
        slope, _ = lemma.sensitivity_slope(case, curvatures)
        assert verdict("pave.lemma1.flatness_amplifies", slope, error) == verdicts.HOLDS
        slope, _ = lemma.sensitivity_slope(case, curvatures, coupling=lambda curvature: curvature)
        assert verdict("pave.lemma1.flatness_amplifies", slope, 1.0) == verdicts.DOES_NOT_HOLD

    FAMILIES = (lemma.flat_quadratic, lemma.flat_quartic, lemma.undriven_quadratic)

    def flatness(self, **drive):
        slopes = {case.__name__: lemma.sensitivity_slope(case, [1e-2, 1e-3, 1e-4])[0] for case in self.FAMILIES}
        errors = {case.__name__: lemma.driven_limit_error(case(1e-4), **drive) for case in self.FAMILIES}
        return verdict("pave.lemma1.flatness_amplifies", slopes, errors)

    def test_a_flat_direction_that_no_coupling_drives_does_not_amplify(self):
        assert lemma.sensitivity_slope(lemma.undriven_quadratic, [1e-1, 1e-4])[1] == pytest.approx([1.0, 1.0])
        assert self.flatness() == verdicts.CORRECTED

    @pytest.mark.parametrize(
        "drive",
        [
            lambda mixed, u: torch.linalg.matrix_norm(mixed, ord=2),  # whatever the direction
            lambda mixed, u: lemma.coupling_along(mixed, u.flip(1)),  # the other direction
            lambda mixed, u: 2 * lemma.coupling_along(mixed, u),  # factor
        ],
        ids=["no_direction", "other_direction", "factor"],
    )
    def test_a_wrong_limit_of_the_sensitivity_is_caught(self, drive):
        assert self.flatness(drive=drive) == verdicts.DOES_NOT_HOLD

    @pytest.mark.parametrize(
        "amplification",
        [
            lambda h: -torch.linalg.eigvalsh(h)[:, -1],  # no inverse
            lambda h: 1 / -torch.linalg.eigvalsh(h)[:, 0],  # the steepest direction
            lambda h: 2 / -torch.linalg.eigvalsh(h)[:, -1],  # factor
        ],
        ids=["no_inverse", "steepest", "factor"],
    )
    def test_a_wrong_amplification_is_caught(self, amplification):
        maxima = lemma.flat_quadratic(1e-2)
        claim = "pave.lemma1.hypersensitive_to_gradient_change"
        assert verdict(claim, lemma.displacement_ratio(maxima).item()) == verdicts.HOLDS
        assert verdict(claim, lemma.displacement_ratio(maxima, amplification).item()) == verdicts.DOES_NOT_HOLD


class TestDefiniteness:
    CLAIM = "pave.lemma1.strict_maximum_negative_definite"

    def measured(self, test=lemma.second_derivative_test):
        signs = [(-1, -1), (1, -3), (1, 1)]
        points = [p for i, s in enumerate(signs) for p in lemma.stationary_points(30, signs=s, cubic=1.0, seed=i)]
        maxima = points[:30] + lemma.stationary_points(75, signs=(-1, 0), cubic=0.0, seed=9)
        largest = lemma.curvature_of_strict_maxima(maxima)
        beaten = lemma.failures_of_converse(points, test)["failures"]
        return largest, {"largest eigenvalue": largest, "beaten": beaten}

    def test_degenerate_maxima_refute_the_printed_claim_and_the_correction_holds(self):
        assert verdict(self.CLAIM, *self.measured()) == verdicts.CORRECTED

    @pytest.mark.parametrize(
        "test",
        [
            lambda h: torch.linalg.eigvalsh(h)[:, -1] > 1e-9,  # sign
            lambda h: h.diagonal(dim1=1, dim2=2).sum(1) < 0,  # trace in place of the largest eigenvalue
            lambda h: torch.linalg.eigvalsh(h)[:, 0] < -1e-9,  # the smallest eigenvalue
        ],
        ids=["sign", "trace", "smallest"],
    )
    def test_a_wrong_second_derivative_test_is_caught(self, test):
        assert verdict(self.CLAIM, *self.measured(test)) == verdicts.DOES_NOT_HOLD

    def test_a_point_that_is_no_maximum_is_refused_as_a_case(self):
        with pytest.raises(ValueError, match="stationary 0 holds a point that is no strict maximum"):
            lemma.curvature_of_strict_maxima(lemma.stationary_points(1, signs=(1, -3), cubic=0.0, seed=0))


class TestBoundary:
    @settings(max_examples=3, deadline=None)
    @given(seed=st.integers(0, 1000))
    def test_held_coordinates_stay_and_free_ones_follow_the_reduced_lemma(self, seed):
        root = normal(2, 2, seed=seed)
        critic = QuadraticCritic(root @ root.mT + torch.eye(2), 2 * normal(2, 3, seed=seed + 1))
        states = normal(4, 3, seed=seed + 2)
        rate = 1 / torch.linalg.matrix_norm(critic.curvature.detach(), ord=2).item()

        def solve(at):
            starts = torch.zeros(len(at), 2, dtype=torch.float64)
            return lemma.box_maximiser(critic, at, starts, bound=0.5, rate=rate)

        best = solve(states)
        active = best.abs() >= 0.5
        hessians = lemma.InteriorMaxima("box", critic, states, best, 0.5).hessians()
        shifts = 1e-6 * torch.cat([torch.eye(3), -torch.eye(3)]).double()
        ahead, behind = solve((states + shifts[:, None]).flatten(0, 1)).view(2, 3, 4, 2)
        expected = lemma.constrained_policy_jacobian(*hessians, active)
        torch.testing.assert_close(((ahead - behind) / 2e-6).permute(1, 2, 0), expected, atol=1e-6, rtol=1e-6)

    def test_a_mask_of_the_wrong_kind_is_refused(self):
        mixed, action = torch.ones(1, 2, 3), -torch.eye(2)[None]
        with pytest.raises(ValueError, match="active must be bool of shape"):
            lemma.constrained_policy_jacobian(mixed, action, torch.ones(1, 2))


class TestLearnedPolicy:
    @settings(max_examples=20, deadline=None)
    @given(seed=st.integers(0, 10_000), size=st.integers(1, 4))
    def test_no_policy_beats_the_action_gap_inequality(self, seed, size):
        excess = lemma.action_gap_excess(normal(12, size, seed=seed), 2 * normal(12, size, seed=seed + 1))
        assert verdict("pave.greedy.smoother_means_suboptimal", excess) == verdicts.HOLDS

    @pytest.mark.parametrize("bound", [lambda best, own: best + own, lambda best, own: 2 * best - own])
    def test_a_wrong_action_gap_bound_is_caught(self, bound):
        policy, best = normal(50, 2, seed=1), normal(50, 2, seed=2)
        claim = "pave.greedy.smoother_means_suboptimal"
        assert verdict(claim, lemma.action_gap_excess(policy, best)) == verdicts.HOLDS
        assert verdict(claim, lemma.action_gap_excess(policy, best, bound)) == verdicts.DOES_NOT_HOLD

    @pytest.mark.parametrize(
        "mutation",
        [
            lambda j, g: -lemma.policy_gradient_product(j, g),
            lambda j, g: len(g) * lemma.policy_gradient_product(j, g),
            lambda j, g: lemma.policy_gradient_product(j, g.flip(1)),
            lambda j, g: lemma.policy_gradient_product(j, g.sign()),
        ],
        ids=["sign", "sum_for_mean", "wrong_coordinate", "gradient_sign_only"],
    )
    def test_a_wrong_policy_gradient_is_caught(self, mutation):
        torch.manual_seed(0)
        policy = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.SiLU(), torch.nn.Linear(8, 2), torch.nn.Tanh())
        arguments = policy.double(), random_network(3, 2, hidden=(16,)), normal(6, 3)
        claim = "pave.greedy.actor_driven_by_action_gradient"
        assert verdict(claim, lemma.policy_gradient_difference(*arguments)) == verdicts.HOLDS
        assert verdict(claim, lemma.policy_gradient_difference(*arguments, mutation)) == verdicts.DOES_NOT_HOLD

    def test_policy_jacobian_of_a_linear_policy_is_its_weight(self):
        policy = torch.nn.Linear(3, 2).double()
        expected = policy.weight.detach().expand(4, -1, -1)
        torch.testing.assert_close(lemma.policy_jacobian(policy, normal(4, 3)), expected)


class TestBadInput:
    def test_newton_names_the_row_that_does_not_settle(self):
        def runaway(states, actions):  # its gradient has no root
            return actions.exp().sum(1) + 0 * states.sum(1)

        with pytest.raises(lemma.NoMaximumError, match="row 0"):
            lemma.newton_maximiser(runaway, normal(2, 1), torch.zeros(2, 1, dtype=torch.float64))

    def test_a_critic_without_interior_maximum_is_named(self):
        with pytest.raises(lemma.NoMaximumError, match="slope: none of 3 states"):
            lemma.interior_maxima("slope", lambda s, a: a.exp().sum(1) + 0 * s.sum(1), normal(3, 2), 1)

    def test_derivative_free_search_reports_a_maximum_on_the_boundary(self):
        with pytest.raises(lemma.NoMaximumError, match="none of 3 states"):
            lemma.maximisers_by_values(lambda s, a: a.sum(1) + 0 * s.sum(1), normal(3, 2), 1)

    @pytest.mark.parametrize("step", [0.0, -1e-3, math.nan])
    def test_a_difference_step_must_be_positive(self, quadratic, step):
        with pytest.raises(ValueError, match="step must be above 0"):
            lemma.finite_difference_jacobian(quadratic, step)

    def test_an_unrolled_solver_needs_an_iteration(self, quadratic):
        with pytest.raises(ValueError, match="iterations must be at least 1"):
            lemma.unrolled_jacobians(quadratic, 0)

    def test_relative_difference_refuses_other_shapes_and_zero_references(self):
        with pytest.raises(ValueError, match="shapes differ"):
            lemma.relative_difference(torch.ones(1, 2, 2), torch.ones(1, 2, 3))
        with pytest.raises(ValueError, match="reference is zero at row 0"):
            lemma.relative_difference(torch.ones(1, 2, 2), torch.zeros(1, 2, 2))

    @pytest.mark.parametrize("x, y", [([1.0], [1.0]), ([1.0, 2.0], [1.0, 0.0]), ([1.0, 2.0], [1.0, 2.0, 3.0])])
    def test_a_log_log_slope_needs_pairs_of_positive_numbers(self, x, y):
        with pytest.raises(ValueError, match="log-log slope"):
            lemma.log_log_slope(x, y)

    def test_projected_gradient_reports_that_it_has_not_settled(self, quadratic):
        starts = torch.zeros_like(quadratic.actions)
        with pytest.raises(lemma.NoMaximumError, match="not settled"):
            lemma.box_maximiser(quadratic.critic, quadratic.states, starts, bound=1.0, rate=10.0)
