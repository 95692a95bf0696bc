"""Notebook 10's solvers and searches."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from paperlib.notebooks.nb10_lipschitz_mdps import gaussian_assumptions as gaussian
from paperlib.notebooks.nb10_lipschitz_mdps import measures


def test_lemma_1_is_nearly_attained_on_lqg_only_where_the_product_is_small():
    ratios = measures.lqg_ratios(500)
    small, large = ratios[ratios["product"] < 0.05], ratios[ratios["product"] > 0.5]
    assert (ratios[["Q", "V"]] <= 1).all(axis=None)
    assert small["Q"].max() > 0.95 and large["Q"].max() < 0.8 and large["V"].max() < 0.5


@pytest.mark.parametrize("name", gaussian.DOMAINS)
def test_no_action_that_a_restricted_policy_draws_has_a_score_above_its_constant(name):
    domain, theta = gaussian.DOMAINS[name]
    for parameters in (theta, np.zeros(len(theta)), -3 * np.array(theta)):
        assert gaussian.sampled_scores(domain, parameters, 50_000).max() <= 1


def test_actions_drawn_without_limits_have_scores_above_the_constant():
    domain, theta = gaussian.DOMAINS["LQG, sigma = 1.0"]
    assert gaussian.sampled_scores(replace(domain, truncated=False), theta, 50_000).max() > 1.2


def test_for_first_degree_monomials_on_symmetric_boxes_the_left_out_term_is_the_smaller():
    generator = np.random.default_rng(0)
    for name in ("LQG, sigma = 0.5", "mass-spring-damper, c1"):
        policy = gaussian.DOMAINS[name][0].policy()
        for theta in generator.standard_normal((20, policy.features.dimension)):
            assert gaussian.gradient_term_ratio(policy, theta, 200) <= 1 + 1e-9


def test_a_diverging_lqg_problem_is_an_error():
    with pytest.raises(ValueError, match="diverges"):
        measures.UnlimitedLQG(1.2, 0.0, 0.5, 0.95)


def test_distances_of_clipped_and_truncated_actions_are_areas_between_their_distribution_functions():
    policy, means = gaussian.POLICIES["linear"], (np.array([-2.9, 0.3]), np.array([-1.0, 2.0]))
    inside = np.linspace(policy.action_low, policy.action_high, 200_001)
    below = [norm.cdf(inside[:, None], mean, policy.standard_deviation) for mean in means]
    truncated = [(F - F[0]) / (F[-1] - F[0]) for F in below]
    for actions, (one, other) in {"clipped": below, "truncated": truncated}.items():
        area = np.trapezoid(np.abs(one - other), inside, axis=0)
        assert gaussian.policy_distance(policy, *means, actions) == pytest.approx(area, rel=1e-6)
