"""Notebook 05's measurements: what they find, and that a wrong formula changes the verdict."""

import pandas as pd
import pytest
import torch
from torch.nn import functional

from paperlib.notebooks.nb05_curvature_preservation import critics as curvature_critics
from paperlib.notebooks.nb05_curvature_preservation import fit as curvature_fit
from paperlib.notebooks.nb05_curvature_preservation import measures as curvature
from paperlib.notebooks.nb05_curvature_preservation.fit import Penalty
from paperlib.pave.closed_form import closed_form_pave
from paperlib.pave.critic_geometry import action_gradient, action_hessian, mixed_hessian
from paperlib.pave.example_critics import ConcaveCritic, random_network
from paperlib.pave.losses import pave_losses
from paperlib.repro import verdicts
from paperlib.repro.claims import load_claims

DELTA = 1.0


def verdict(name, measured, corrected=None):
    return verdicts.decide(load_claims()[f"pave.curv.{name}"], measured, corrected, "", "smoke").verdict


HOLDS, CORRECTED, FAILS = verdicts.HOLDS, verdicts.CORRECTED, verdicts.DOES_NOT_HOLD


@pytest.fixture(scope="module")
def hessians():
    return {d: curvature.random_hessians(40, d, seed=d) for d in range(1, 9)}


@pytest.fixture(scope="module")
def batches():
    return curvature.candidates(40, DELTA, seed=0)


# Hutchinson


WRONG_FORMS = {
    "half of it": lambda h, v: curvature.quadratic_form(h, v) / 2,
    "the sign": lambda h, v: -curvature.quadratic_form(h, v),
    "H squared": lambda h, v: curvature.quadratic_form(h @ h, v),
    "zeros for minus ones": lambda h, v: curvature.quadratic_form(h, (v + 1) / 2),
    "a norm too many": lambda h, v: curvature.quadratic_form(h, v / v.norm(dim=1, keepdim=True)),
}


def test_the_mean_over_sign_vectors_is_the_trace(hessians):
    assert verdict("hutchinson", max(map(curvature.hutchinson_error, hessians.values()))) == HOLDS


@pytest.mark.parametrize("form", WRONG_FORMS.values(), ids=WRONG_FORMS)
def test_a_wrong_quadratic_form_is_not_unbiased(hessians, form):
    assert verdict("hutchinson", max(curvature.hutchinson_error(h, form) for h in hessians.values())) == FAILS


def test_the_variance_formulas_equal_exact_sums(hessians):
    assert max(curvature.variance_errors(hessians[3]).values()) < 1e-10


@pytest.mark.parametrize("probe", ["rademacher", "gaussian", "sphere"])
@pytest.mark.parametrize("factor", [0.5, 2.0, -1.0])
def test_a_wrong_factor_in_a_variance_formula_shows(hessians, probe, factor):
    right = getattr(curvature, f"{probe}_variance")
    assert curvature.variance_errors(hessians[3], **{probe: lambda h: factor * right(h)})[probe] > 0.1


@pytest.mark.parametrize("d", [1, 4])
def test_a_sign_vector_is_exact_for_a_diagonal_hessian(d):
    diagonal = torch.diag_embed(torch.randn(5, d, dtype=torch.float64))
    assert not curvature.rademacher_variance(diagonal).any()
    traces = torch.diagonal(diagonal, dim1=1, dim2=2).sum(1)
    forms = curvature.quadratic_form(diagonal, curvature.sign_vectors(d))
    torch.testing.assert_close(forms, traces[:, None].expand_as(forms))


# The hinge


def trace_verdict(hessians, loss=curvature.expected_hinge):
    gaps = torch.cat([curvature.jensen_gap(h, DELTA, loss) for h in hessians.values()])
    return verdict("controls_the_trace", gaps.abs().max(), (-gaps).max().clamp_min(0))


def hinge(probed, delta):
    return (probed + delta).clamp_min(0)


def probed(h):
    return curvature.quadratic_form(h, curvature.sign_vectors(h.shape[-1]))


WRONG_LOSSES = {
    "the hinge's sign": lambda h, delta: hinge(-probed(h), -delta).mean(1),
    "the sign of H": lambda h, delta: hinge(-probed(h), delta).mean(1),
    "the sign of delta": lambda h, delta: hinge(probed(h), -delta).mean(1),
    "no delta": lambda h, delta: hinge(probed(h), 0.0).mean(1),
    "half of it": lambda h, delta: 0.5 * hinge(probed(h), delta).mean(1),
    "the least instead of the mean": lambda h, delta: hinge(probed(h), delta).amin(1),
}


def test_the_loss_is_above_the_hinge_of_the_trace_and_not_equal_to_it(hessians):
    assert trace_verdict(hessians) == CORRECTED


def test_the_hinge_outside_the_expectation_would_make_the_printed_claim_hold(hessians):
    assert trace_verdict(hessians, lambda h, delta: hinge(probed(h).mean(1), delta)) == HOLDS


@pytest.mark.parametrize("loss", WRONG_LOSSES.values(), ids=WRONG_LOSSES)
def test_a_wrong_loss_breaks_jensens_inequality(hessians, loss):
    assert trace_verdict(hessians, loss) == FAILS


def test_the_jensen_gap_is_the_off_diagonal_at_the_kink():
    h = torch.tensor([[[-0.5, 3.0], [3.0, -0.5]]], dtype=torch.float64)
    assert curvature.jensen_gap(h, DELTA).item() == pytest.approx(3.0)


# The zero-loss set


def bound_verdict(batches, loss=curvature.expected_hinge):
    return verdict(
        "enforces_curvature_bound",
        curvature.count_violations(batches, DELTA, curvature.exceeds_curvature_bound, loss),
        curvature.count_violations(batches, DELTA, curvature.exceeds_trace_bound, loss),
    )


def test_zero_loss_bounds_the_trace_and_not_the_largest_eigenvalue(batches):
    assert bound_verdict(batches) == CORRECTED


def test_zero_loss_bounds_the_curvature_of_one_action():
    (one, *_) = curvature.candidates(200, DELTA, seed=0)
    counted = curvature.count_violations([one], DELTA, curvature.exceeds_curvature_bound)
    assert counted == {"cases": 150, "failures": 0}


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [("no delta", FAILS), ("the hinge's sign", FAILS), ("the sign of H", verdicts.NOT_RUN)],  # the last: no zero loss
)
def test_a_wrong_hinge_does_not_bound_the_trace(batches, wrong, expected):
    assert bound_verdict(batches, WRONG_LOSSES[wrong]) == expected


def test_a_loss_that_sees_the_top_eigenvalue_would_make_the_printed_claim_hold(batches):
    def on_eigenvalue(h, delta):
        return hinge(torch.linalg.eigvalsh(h)[:, -1], delta)

    deep = [batch - 40 * torch.eye(batch.shape[-1]) for batch in batches]
    assert bound_verdict(deep, on_eigenvalue) == HOLDS


def test_zero_loss_goes_with_a_positive_eigenvalue(batches):
    example = batches[-1]
    assert curvature.expected_hinge(example, DELTA).item() == 0
    convex = curvature.count_violations([example], DELTA, curvature.has_ascent_direction)
    assert verdict("incentive_not_guarantee", convex["failures"]) == HOLDS
    smallest = curvature.count_violations(batches, DELTA, lambda h, delta: torch.linalg.eigvalsh(h)[:, 0] > 0)
    assert verdict("incentive_not_guarantee", smallest["failures"]) == FAILS


def test_the_loss_depends_on_the_basis():
    aligned, turned = curvature.loss_of_turned((1.0, -3.0), DELTA, torch.tensor([0.0, torch.pi / 4]).numpy())
    assert aligned == 0 and turned == pytest.approx(1.5)


# The critic


def test_silu_is_twice_continuously_differentiable_and_elu_is_not():
    assert verdict("silu_is_twice_differentiable", curvature_critics.largest_jump(functional.silu)) == HOLDS
    assert verdict("silu_is_twice_differentiable", curvature_critics.largest_jump(functional.elu)) == FAILS


def test_a_relu_critic_has_no_curvature_and_a_silu_critic_has():
    relu = curvature_critics.second_differences(curvature_critics.relu_critics(2), points=100)
    assert relu.kept > 0.5
    assert verdict("relu_has_no_curvature", relu.largest) == HOLDS
    smooth = random_network(3, 2)
    patterns_change = curvature_critics.second_differences([smooth], points=100)
    assert verdict("relu_has_no_curvature", patterns_change.largest) == FAILS


def test_one_probe_costs_the_same_for_any_number_of_actions_and_a_hessian_does_not():
    def growth(term):
        return curvature_critics.cost_in_gradients(8, term) / curvature_critics.cost_in_gradients(1, term)

    assert verdict("probe_cost", growth(curvature_critics.probed_curvature)) == HOLDS
    assert verdict("probe_cost", growth(curvature_critics.probed_curvature_by_full_hessian)) == FAILS


def test_both_ways_to_the_probed_curvature_agree():
    critic, s, a = ConcaveCritic(3, 2), torch.randn(5, 3).double(), torch.randn(5, 2).double()
    v = torch.randn(5, 2).double()
    one, other = (
        term(critic, s, a, v)
        for term in (curvature_critics.probed_curvature, curvature_critics.probed_curvature_by_full_hessian)
    )
    torch.testing.assert_close(one, other)


def proxy_verdict(losses, delta=DELTA):
    generator = torch.Generator().manual_seed(0)
    s, a, step = (torch.rand(8, d, generator=generator).double() for d in (3, 2, 3))
    n = s + 0.05 * step
    critic, settings = random_network(3, 2), {"sigma": 0.01, "delta": delta, "losses": losses}
    errors = curvature_critics.truncation_errors(critic, s, a, n, **settings)
    order = curvature_critics.proxy_order(critic, curvature_critics.Transitions(s, a, n), **settings)
    return verdict("finite_difference_proxies", errors, order)


def mpr_without_step(critic, s, a, n, *, state_noise, probes, delta):
    terms = pave_losses(critic, s, a, n, state_noise=state_noise, probes=probes, delta=delta)
    off = 1 + 1e-5  # constant, where a finite difference's error falls with the step
    return terms._replace(mpr=off * (mixed_hessian(critic, s, a) @ state_noise[:, :, None]).square().mean())


def central_mpr(critic, s, a, n, *, state_noise, probes, delta):
    terms = pave_losses(critic, s, a, n, state_noise=state_noise, probes=probes, delta=delta)
    ahead, behind = (action_gradient(critic, s + sign * state_noise, a) for sign in (1, -1))
    return terms._replace(mpr=((ahead - behind) / 2).square().mean())


def differenced_curvature(critic, s, a, n, *, state_noise, probes, delta):
    terms = pave_losses(critic, s, a, n, state_noise=state_noise, probes=probes, delta=delta)
    h = 0.01 * probes
    second = (critic(s, a + h) - 2 * critic(s, a) + critic(s, a - h)) / 1e-4
    return terms._replace(curv=hinge(second, delta).mean())


def test_two_of_the_losses_are_finite_differences():
    assert proxy_verdict(pave_losses) == CORRECTED
    assert proxy_verdict(mpr_without_step) == FAILS
    assert proxy_verdict(central_mpr) == FAILS
    assert proxy_verdict(differenced_curvature) == HOLDS


def test_a_closed_hinge_throughout_is_refused():
    critic, s, a = ConcaveCritic(3, 2), torch.zeros(2, 3).double(), torch.zeros(2, 2).double()
    with pytest.raises(ValueError, match="the hinge is closed at every row"):
        curvature_critics.truncation_errors(critic, s, a, s + 1, sigma=0.01, delta=0.01)


# Flatness


def flat_verdict(**jacobian):
    cases = curvature_critics.concave_maxima(2)
    whole = max(curvature_critics.growth_when_scaled(case, 1e-4, **jacobian) for case in cases)
    alone = min(curvature_critics.growth_when_curvature_is_scaled(case, 1e-4, **jacobian) for case in cases)
    return verdict("flat_critic_amplifies", whole, alone)


WRONG_JACOBIANS = {
    "a missing inverse": (lambda mixed, action: action @ mixed, FAILS),
    "a missing coupling": (lambda mixed, action: torch.linalg.inv(action), HOLDS),
    "a missing curvature": (lambda mixed, action: mixed, FAILS),
}


def test_only_curvature_that_falls_alone_amplifies():
    assert flat_verdict() == CORRECTED


@pytest.mark.parametrize(("formula", "expected"), WRONG_JACOBIANS.values(), ids=WRONG_JACOBIANS)
def test_a_wrong_jacobian_changes_the_verdict_on_flatness(formula, expected):
    def jacobian(maxima, step):
        return formula(
            mixed_hessian(maxima.critic, maxima.states, maxima.actions),
            action_hessian(maxima.critic, maxima.states, maxima.actions),
        )

    assert flat_verdict(jacobian=jacobian) == expected


# Fits


NONE, MPR, BOTH = Penalty(0.0, 0.0), Penalty(2.0, 0.0), Penalty(2.0, 2.0)


def fit(losses=closed_form_pave, penalties=(NONE, MPR, BOTH)):
    targets = curvature_fit.rippled_targets(2)
    fitted = curvature_fit.fit_critics(targets, 2, penalties, seeds=[0], steps=150, losses=losses)
    return curvature_fit.held_out_geometry(fitted, targets)


def fit_verdicts(geometry):
    concavity = curvature_fit.compare(geometry, "negative_definite", BOTH, MPR, "difference")
    inverse = curvature_fit.compare(geometry, "inverse_curvature", BOTH, MPR, "ratio")
    sensitivity = curvature_fit.compare(geometry, "sensitivity", BOTH, MPR, "ratio")
    return (
        verdict("encourages_concavity.at_published_weight", concavity),
        verdict("bounds_inverse_hessian.at_published_weight", inverse),
        verdict("reduces_sensitivity.at_published_weight", sensitivity),
    )


def upside_down(critic, s, a, n, *, state_noise, probes, delta):
    q, terms = closed_form_pave(critic, s, a, n, state_noise=state_noise, probes=probes, delta=delta)
    return q, terms._replace(curv=-terms.curv)


def without_probe(critic, s, a, n, *, state_noise, probes, delta):
    return closed_form_pave(critic, s, a, n, state_noise=state_noise, probes=0 * probes, delta=delta)


@pytest.fixture(scope="module")
def geometry():
    return fit()


def test_the_curvature_term_makes_a_fitted_critic_concave_and_its_inverse_hessian_small(geometry):
    assert fit_verdicts(geometry) == (HOLDS, HOLDS, HOLDS)


def test_a_missing_probe_changes_all_verdicts():
    assert fit_verdicts(fit(without_probe)) == (FAILS, FAILS, FAILS)


def test_the_wrong_sign_of_the_curvature_shows_in_concavity_though_not_in_the_size_of_the_inverse():
    assert fit_verdicts(fit(upside_down))[:2] == (FAILS, HOLDS)


def test_mpr_at_the_published_weight_does_not_flatten(geometry):
    assert collapse_verdict(geometry, MPR) == FAILS


def collapse_verdict(geometry, penalty):
    flattened = curvature_fit.compare(geometry, "gradient", penalty, NONE, "ratio")
    split = curvature_fit.state_part_selectivity(geometry, penalty, NONE)
    return verdict("collapse_risk.at_published_weight", flattened, split)


def on_gradient(critic, s, a, n, *, state_noise, probes, delta):
    """A penalty that does flatten: on the squared action gradient itself."""
    q, terms = closed_form_pave(critic, s, a, n, state_noise=state_noise, probes=probes, delta=delta)
    step = 0.05 * probes
    moved = critic(torch.cat([s, a + step], 2)).squeeze(2)
    return q, terms._replace(mpr=1e2 * ((moved - q) / 0.05).square().mean(1))


STRONG = Penalty(2e4, 0.0)


def test_mpr_pulls_towards_an_additive_critic_and_a_penalty_on_the_gradient_does_not():
    assert collapse_verdict(fit(penalties=(NONE, STRONG)), STRONG) == CORRECTED
    mild = Penalty(2e-4, 0.0)
    assert collapse_verdict(fit(on_gradient, (NONE, mild)), mild) == FAILS


def test_the_gradient_of_an_additive_critic_has_no_state_part():
    class Additive(torch.nn.Module):
        def forward(self, states, actions):
            return states.sin().sum(1) - actions.square().sum(1)

    parts = curvature_fit.gradient_parts(curvature_fit.FittedCritic(2, NONE, 0, Additive()))
    assert parts["state_part"] < 1e-12 < parts["action_part"]

    class Coupled(torch.nn.Module):
        def forward(self, states, actions):
            return (states[:, :2] * actions).sum(1)

    parts = curvature_fit.gradient_parts(curvature_fit.FittedCritic(2, NONE, 0, Coupled()))
    assert parts["action_part"] < 0.2 * parts["state_part"]


def test_the_halving_weight_is_the_smallest_that_halves_the_loss():
    weights = (NONE, MPR, Penalty(20.0, 0.0), Penalty(200.0, 0.0))
    losses = zip(weights, (1.0, 0.9, 0.5, 0.1), strict=True)
    table = pd.DataFrame([{"mpr": weight.mpr, "curv": weight.curv, "mpr_loss": loss} for weight, loss in losses])
    assert curvature_fit.halving_penalty(table, "mpr_loss", NONE, weights[1:]) == Penalty(20.0, 0.0)
    with pytest.raises(ValueError, match="none of the weights tried halves mpr_loss"):
        curvature_fit.halving_penalty(table, "mpr_loss", NONE, weights[1:2])


def test_a_curvature_that_rises_in_the_steep_direction_worsens_the_conditioning():
    before, after = (torch.diag_embed(torch.tensor([[-1.0, -4.0], [-1.0, c]]).double()) for c in (-4.0, -40.0))
    better = curvature.condition_numbers(before).median() / curvature.condition_numbers(after).amax()
    assert verdict("well_conditioned", better) == HOLDS
    assert verdict("well_conditioned", 1 / better) == FAILS


def test_a_penalty_that_flattens_makes_the_printed_collapse_hold():
    def on_values(critic, s, a, n, *, state_noise, probes, delta):
        q, terms = closed_form_pave(critic, s, a, n, state_noise=state_noise, probes=probes, delta=delta)
        moved = critic(torch.cat([s, a.roll(1, dims=1)], 2)).squeeze(2)
        return q, terms._replace(mpr=1e4 * (moved - q).square().mean(1))

    measured = curvature_fit.compare(fit(on_values, (NONE, MPR)), "gradient", MPR, NONE, "ratio")
    assert verdict("collapse_risk.at_published_weight", measured, 0.0) == HOLDS


# Probes of our own


@pytest.mark.parametrize("kind", curvature.PROBES)
def test_every_probe_has_squared_length_d(kind):
    h = curvature.random_hessians(2000, 3, seed=0)
    lengths = curvature.draw_probes(kind, h, torch.Generator().manual_seed(0)).square().sum(1)
    assert lengths.mean().item() == pytest.approx(3, rel=0.05)


def test_sign_probes_stall_where_the_top_eigenvector_does_not():
    start = curvature.random_hessians(30, 4, seed=1)
    ends = {
        kind: curvature.descend_on_hessians(kind, start, DELTA, products=600, rate=0.05).iloc[-1]
        for kind in ("Rademacher", "top eigenvector")
    }
    assert ends["Rademacher"]["negative_definite"] < 0.5
    assert ends["top eigenvector"]["negative_definite"] == 1


# Bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: curvature.sign_vectors(0), "d must lie in 1..16"),
        (lambda: curvature.sign_vectors(40), "is 40"),
        (lambda: curvature.expected_hinge(torch.eye(2), DELTA), r"shape \(n, d, d\), got \(2, 2\)"),
        (lambda: curvature.expected_hinge(torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]), DELTA), "must be symmetric"),
        (lambda: curvature.expected_hinge(torch.eye(2)[None].double(), 0.0), "delta must be .* above 0, is 0.0"),
        (lambda: curvature.draw_probes("cube", torch.eye(2)[None], torch.Generator()), "no probe 'cube'"),
        (
            lambda: curvature_fit.fit_critics(curvature_fit.coupled_targets(1), 1, [], seeds=[0], steps=1),
            "must each be at least one",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
