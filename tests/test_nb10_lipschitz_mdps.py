"""Notebook 10's solvers and searches."""

import numpy as np
import pytest
from scipy.stats import norm

from paperlib.notebooks.nb10_lipschitz_mdps import gaussian_assumptions as gaussian
from paperlib.notebooks.nb10_lipschitz_mdps import measures


def test_lemma_1_is_attained_on_lqg():
    ratios = measures.lqg_ratios(500)
    assert all(0.9 < ratio <= 1 for ratio in ratios.values())


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
