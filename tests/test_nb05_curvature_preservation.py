"""Notebook 05's measurements find what is known. Wrong formulas are put to the rules in the notebook itself."""

import pandas as pd
import pytest
import torch
from torch.nn import functional

from paperlib.notebooks.nb05_curvature_preservation import critics as curvature_critics
from paperlib.notebooks.nb05_curvature_preservation import figures as curvature_figures
from paperlib.notebooks.nb05_curvature_preservation import fit as curvature_fit
from paperlib.notebooks.nb05_curvature_preservation import measures as curvature
from paperlib.notebooks.shared.fits import Weights
from paperlib.notebooks.shared.transitions import Transitions
from paperlib.pave.closed_form import closed_form_pave
from paperlib.pave.example_critics import QuadraticCritic, random_network
from paperlib.repro import verdicts
from paperlib.repro.claims import load_claims

DELTA = 1.0


def verdict(name, measured, corrected=None):
    return verdicts.decide(load_claims()[f"pave.curv.{name}"], measured, corrected, "", "smoke").verdict


HOLDS, CORRECTED, FAILS = verdicts.HOLDS, verdicts.CORRECTED, verdicts.DOES_NOT_HOLD


@pytest.fixture(scope="module")
def batches():
    return curvature.candidates(40, DELTA, seed=0)


def traces(hessians):
    return torch.diagonal(hessians, dim1=1, dim2=2).sum(1)


# The expected loss


@pytest.mark.parametrize("d", [1, 4])
def test_a_sign_vector_is_exact_for_a_diagonal_hessian(d):
    diagonal = torch.diag_embed(torch.randn(5, d, dtype=torch.float64))
    forms = curvature.quadratic_form(diagonal, curvature.sign_vectors(d))
    torch.testing.assert_close(forms, traces(diagonal)[:, None].expand_as(forms))


def test_the_loss_is_above_the_hinge_of_the_trace_by_the_off_diagonal_at_the_kink():
    h = torch.tensor([[[-0.5, 3.0], [3.0, -0.5]]], dtype=torch.float64)
    assert curvature.expected_hinge(h, DELTA).item() == pytest.approx(3.0)
    for d in (2, 5):
        random = curvature.random_hessians(40, d, seed=d)
        assert (curvature.expected_hinge(random, DELTA) >= (traces(random) + DELTA).clamp_min(0) - 1e-12).all()


# The zero-loss set


def test_zero_loss_bounds_the_trace_and_not_the_largest_eigenvalue(batches):
    curved = curvature.count_violations(batches, DELTA, lambda h: curvature.largest_eigenvalues(h) > -DELTA)
    trace = curvature.count_violations(batches, DELTA, lambda h: traces(h) > -DELTA)
    assert verdict("enforces_curvature_bound", curved, trace) == CORRECTED


def test_zero_loss_bounds_the_curvature_of_one_action():
    (one, *_) = curvature.candidates(200, DELTA, seed=0)
    counted = curvature.count_violations([one], DELTA, lambda h: curvature.largest_eigenvalues(h) > -DELTA)
    assert counted == {"cases": 150, "failures": 0}


def test_a_loss_without_zeros_decides_nothing(batches):
    counted = curvature.count_violations(
        batches, DELTA, lambda h: traces(h) > -DELTA, lambda h, delta: curvature.expected_hinge(-h, delta)
    )
    assert verdict("enforces_curvature_bound", counted, counted) in (verdicts.NOT_RUN, FAILS)


def test_a_loss_that_sees_the_top_eigenvalue_would_make_the_printed_claim_hold(batches):
    deep = [batch - 40 * torch.eye(batch.shape[-1]) for batch in batches]
    bound, trace = (
        curvature.count_violations(
            deep, DELTA, violated, lambda h, delta: (curvature.largest_eigenvalues(h) + delta).clamp_min(0)
        )
        for violated in (lambda h: curvature.largest_eigenvalues(h) > -DELTA, lambda h: traces(h) > -DELTA)
    )
    assert verdict("enforces_curvature_bound", bound, trace) == HOLDS


def test_zero_loss_goes_with_a_positive_eigenvalue(batches):
    example = batches[-1]
    assert curvature.expected_hinge(example, DELTA).item() == 0
    assert curvature.largest_eigenvalues(example).item() == 1


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


def test_the_curvature_term_takes_no_step_and_the_two_others_do():
    generator = torch.Generator().manual_seed(0)
    s, a, step = (torch.rand(8, d, generator=generator).double() for d in (3, 2, 3))
    seen = Transitions(s, a, s + 0.05 * step, torch.zeros(8).double())
    critic, settings = random_network(3, 2), {"sigma": 0.01, "delta": DELTA}
    errors = curvature_critics.truncation_errors(critic, seen, **settings)
    order = curvature_critics.proxy_order(critic, seen, **settings)
    assert verdict("finite_difference_proxies", errors, order) == CORRECTED


@pytest.mark.parametrize("stiffness", [1.5, 40.0])
def test_a_closed_hinge_throughout_is_refused(stiffness):
    critic = QuadraticCritic(torch.tensor([[stiffness]]).double(), torch.ones(1, 3).double())
    s = torch.zeros(2, 3).double()
    still = Transitions(s, s[:, :1], s + 1, s[:, 0])
    with pytest.raises(ValueError, match="the hinge is closed at every row"):
        curvature_critics.truncation_errors(critic, still, sigma=0.01, delta=DELTA)


# Flatness


def flat_verdict(**jacobian):
    cases = curvature_critics.concave_maxima(2)
    whole = max(curvature_critics.growth_when_scaled(case, 1e-4, **jacobian) for case in cases)
    alone = min(curvature_critics.growth_when_curvature_is_scaled(case, 1e-4, **jacobian) for case in cases)
    return verdict("flat_critic_amplifies", whole, alone)


def test_only_curvature_that_falls_alone_amplifies():
    assert flat_verdict() == CORRECTED


def test_without_the_coupling_the_printed_sentence_would_be_right():
    assert flat_verdict(jacobian=lambda maxima, step: torch.linalg.inv(maxima.action)) == HOLDS


# Fits


NONE, MPR, BOTH = Weights(), Weights(mpr=2.0), Weights(mpr=2.0, curv=2.0)


def fit(losses=closed_form_pave, weights=(NONE, MPR, BOTH)):
    targets = curvature_fit.rippled_targets(2)
    fitted = curvature_fit.fit_critics(targets, 2, weights, seeds=[0], updates=150, losses=losses)
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


@pytest.fixture(scope="module")
def geometry():
    return fit()


def test_the_curvature_term_makes_a_fitted_critic_concave_and_its_inverse_hessian_small(geometry):
    assert fit_verdicts(geometry) == (HOLDS, HOLDS, HOLDS)


def test_mpr_at_the_published_weight_does_not_flatten(geometry):
    assert collapse_verdict(geometry, MPR) == FAILS


def collapse_verdict(geometry, weights):
    flattened = curvature_fit.compare(geometry, "gradient", weights, NONE, "ratio")
    split = curvature_fit.state_part_selectivity(geometry, weights, NONE)
    return verdict("collapse_risk.at_published_weight", flattened, split)


STRONG = Weights(mpr=2e4)


def test_mpr_pulls_towards_an_additive_critic():
    assert collapse_verdict(fit(weights=(NONE, STRONG)), STRONG) == CORRECTED


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


def test_the_halving_weights_are_the_smallest_that_halve_the_loss():
    tried = (NONE, MPR, Weights(mpr=20.0), Weights(mpr=200.0))
    losses = zip(tried, (1.0, 0.9, 0.5, 0.1), strict=True)
    table = pd.DataFrame([{"mpr": weights.mpr, "curv": weights.curv, "mpr_loss": loss} for weights, loss in losses])
    assert curvature_fit.halving(table, "mpr", tried) == Weights(mpr=20.0)
    with pytest.raises(ValueError, match="no weight up to 2 halves"):
        curvature_fit.halving(table, "mpr", tried[:2])


def test_a_penalty_that_flattens_makes_the_printed_collapse_hold():
    def on_values(critic, s, a, n, *, state_noise, probes, delta):
        q, terms = closed_form_pave(critic, s, a, n, state_noise=state_noise, probes=probes, delta=delta)
        moved = critic(torch.cat([s, a.roll(1, dims=1)], 2)).squeeze(2)
        return q, terms._replace(mpr=1e4 * (moved - q).square().mean(1))

    measured = curvature_fit.compare(fit(on_values, (NONE, MPR)), "gradient", MPR, NONE, "ratio")
    assert verdict("collapse_risk.at_published_weight", measured, 0.0) == HOLDS


def test_fits_that_differ_in_their_seed_make_one_row_with_the_interval_of_their_mean():
    table = pd.DataFrame({"environment": "hopper", "penalty": ["none"] * 3 + ["MPR"] * 3, "seed": [0, 1, 2] * 2})
    summary = curvature_fit.over_fits(table.assign(size=[1.0, 2.0, 3.0, 5.0, 5.0, 5.0]), ["environment", "penalty"])
    assert list(summary.columns) == ["environment", "penalty", "size"]
    assert list(summary["size"]) == ["2 [1, 3]", "5 [5, 5]"]


def test_the_figure_of_fits_has_a_point_per_fit_and_an_interval_round_their_mean():
    runs = [(weights, seed) for weights in (NONE, MPR, BOTH) for seed in range(4)]
    table = pd.DataFrame(
        [{"actions": 1, "mpr": w.mpr, "curv": w.curv, "seed": seed, "x": 1.0 + seed} for w, seed in runs]
    )
    axes = curvature_figures.fitted_critics(table, dict.fromkeys(("x", "mpr", "curv", "seed"), "")).axes[0]
    assert [len(line.get_xdata()) for line in axes.get_lines()] == [4, 4, 4]
    boxes = [patch.get_bbox() for patch in axes.patches]
    assert len(boxes) == 3
    assert all(1.0 <= box.y0 < 2.5 < box.y1 <= 4.0 for box in boxes)


# Bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: curvature.sign_vectors(0), "d must lie in 1..16"),
        (lambda: curvature.sign_vectors(40), "is 40"),
        (lambda: curvature.expected_hinge(torch.eye(2), DELTA), r"shape \(n, d, d\), got \(2, 2\)"),
        (lambda: curvature.expected_hinge(torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]), DELTA), "must be symmetric"),
        (lambda: curvature.expected_hinge(torch.eye(2)[None].double(), 0.0), "delta must be .* above 0, is 0.0"),
        (
            lambda: curvature_fit.fit_critics(curvature_fit.coupled_targets(1), 1, [], seeds=[0], updates=1),
            "must each be at least one",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
