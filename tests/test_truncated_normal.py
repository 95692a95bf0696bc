"""A normal distribution restricted to an interval, against scipy's own and against its definition."""

import numpy as np
import pytest
from scipy import stats

from paperlib.lipschitz import restricted_normal as restricted
from paperlib.lipschitz.simulation import truncated_normal as compiled

SIGMA, LOW, HIGH = 0.7, -1.0, 2.0
MEANS = np.r_[np.linspace(-4, 5, 37), LOW, HIGH, 0.5]


def scipys(mean, sigma=SIGMA, low=LOW, high=HIGH):
    return stats.truncnorm((low - mean) / sigma, (high - mean) / sigma, loc=mean, scale=sigma)


def test_the_mean_is_scipys():
    np.testing.assert_allclose(MEANS + restricted.mean_offset(MEANS, SIGMA, LOW, HIGH), scipys(MEANS).mean(), rtol=1e-9)


def test_far_outside_the_mean_stays_inside_the_interval_near_its_limit():
    for mean in (HIGH + 1000 * SIGMA, LOW - 1000 * SIGMA):
        inside = mean + restricted.mean_offset(np.array(mean), SIGMA, LOW, HIGH)
        assert LOW < inside < HIGH
        assert min(inside - LOW, HIGH - inside) == pytest.approx(SIGMA / 1000, rel=1e-5)


@pytest.mark.parametrize("mean", [0.5, 1.9, 2.5, -3.0])
def test_draws_have_the_restricted_distribution(mean):
    z = np.random.default_rng(0).standard_normal(200_000)
    drawn = restricted.draw(np.array(mean), z, SIGMA, LOW, HIGH)
    assert drawn.min() >= LOW and drawn.max() <= HIGH
    assert stats.kstest(drawn, scipys(mean).cdf).pvalue > 1e-3


def test_draws_inside_are_those_of_the_unrestricted_distribution():
    z = np.linspace(-3, 3, 401)
    plain = 0.5 + SIGMA * z
    drawn = restricted.draw(np.array(0.5), z, SIGMA, LOW, HIGH)
    inside = (plain >= LOW) & (plain <= HIGH)
    assert 0 < (~inside).sum() < inside.sum()
    np.testing.assert_array_equal(drawn[inside], plain[inside])


def test_the_compiled_forms_are_numpys():
    table = compiled.offset_table(SIGMA, LOW, HIGH)
    means = np.linspace(LOW - 11 * SIGMA, HIGH + 11 * SIGMA, 2003)
    offsets = [compiled.compiled_offset(mean, SIGMA, LOW, HIGH, table) for mean in means]
    np.testing.assert_allclose(offsets, restricted.mean_offset(means, SIGMA, LOW, HIGH), atol=1e-10 * SIGMA)
    generator = np.random.default_rng(1)
    means, z = np.r_[generator.uniform(-3, 4, 2000), -40.0, 60.0], 2 * generator.standard_normal(2002)
    outside = (means + SIGMA * z < LOW) | (means + SIGMA * z > HIGH)
    one_by_one = [
        compiled.compiled_redraw(m, w, SIGMA, LOW, HIGH) for m, w in zip(means[outside], z[outside], strict=True)
    ]
    np.testing.assert_allclose(one_by_one, restricted.draw(means, z, SIGMA, LOW, HIGH)[outside], atol=1e-9)


@pytest.mark.parametrize("mean", [HIGH + 13 * SIGMA, LOW - 30 * SIGMA])
def test_beyond_the_table_the_offset_is_the_tails(mean):
    table = compiled.offset_table(SIGMA, LOW, HIGH)
    exact = restricted.mean_offset(np.array(mean), SIGMA, LOW, HIGH)
    found = compiled.compiled_offset(mean, SIGMA, LOW, HIGH, table)
    assert found == pytest.approx(float(exact), rel=1e-12)
