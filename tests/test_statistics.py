"""Estimates against hand computation, intervals against known distributions and an independent library."""

import numpy as np
import pytest
from rliable import metrics
from scipy import stats

from paperlib.repro import verdicts
from paperlib.repro.claims import load_claims
from paperlib.repro.statistics import (
    bootstrap_interval,
    curve_interval,
    interquartile_mean,
    mean_interval,
    probability_of_improvement,
    relative_difference,
)


def test_interquartile_mean_is_the_mean_of_the_middle_half():
    assert interquartile_mean([100.0, 2.0, 3.0, -50.0]) == 2.5
    assert interquartile_mean([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 700.0]]) == 3.5
    with pytest.raises(ValueError, match="3 values trims nothing"):
        interquartile_mean([1.0, 2.0, 3.0])


def test_probability_of_improvement_counts_pairs_and_half_of_the_ties():
    # Pairs of x = (1, 3) and y = (0, 3, 5): wins 1>0, 3>0; tie 3=3; losses the other three.
    measured = probability_of_improvement([1.0, 3.0], [0.0, 3.0, 5.0], seed=0)
    assert measured["probability"] == pytest.approx((2 + 0.5) / 6)
    assert measured["low"] <= measured["probability"] <= measured["high"]


def test_rounding_does_not_lead_the_interval_of_a_probability_out_of_the_unit_interval():
    for runs in (3, 10, 30, 100):
        measured = probability_of_improvement(np.arange(runs) + 1000, np.arange(runs), seed=0)
        assert 0 <= measured["low"] <= measured["high"] <= 1


@pytest.mark.parametrize(("x", "y", "value"), [([2, 3], [0, 1], 1.0), ([0, 1], [2, 3], 0.0), ([1, 1], [1, 1], 0.5)])
def test_probability_of_improvement_is_certain_when_the_samples_do_not_overlap(x, y, value):
    measured = probability_of_improvement(x, y, seed=0)
    assert [measured[name] for name in ("probability", "low", "high")] == [value] * 3


@pytest.mark.parametrize(("runs", "ways"), [(3, 20), (5, 252)])
def test_complete_separation_has_the_p_value_of_one_deal_among_all(runs, ways):
    low, high = np.arange(runs), np.arange(runs) + runs
    assert probability_of_improvement(high, low, seed=0)["p"] == pytest.approx(1 / ways)
    assert probability_of_improvement(low, high, seed=0)["p"] == pytest.approx(1.0)


def test_the_exact_p_value_is_that_of_mann_and_whitney():
    random = np.random.default_rng(0)
    x, y = random.normal(0.5, 1, 6), random.normal(0, 1, 5)
    expected = stats.mannwhitneyu(x, y, alternative="greater", method="exact").pvalue
    assert probability_of_improvement(x, y, seed=0)["p"] == pytest.approx(expected)


def test_the_p_value_of_many_runs_is_sampled_and_close_to_the_exact_one():
    random = np.random.default_rng(0)
    x, y = random.normal(0.4, 1, 20), random.normal(0, 1, 20)
    expected = stats.mannwhitneyu(x, y, alternative="greater", method="exact").pvalue
    assert probability_of_improvement(x, y, seed=0)["p"] == pytest.approx(expected, abs=0.01)


def test_the_p_value_does_not_depend_on_the_scale_of_a_task():
    random = np.random.default_rng(3)
    x, y = random.normal(0.5, 1, (4, 2)), random.normal(0, 1, (4, 2))
    scale = np.array([1.0, 1000.0])
    p = probability_of_improvement(x, y, seed=0)["p"]
    assert 0 < p < 1
    assert probability_of_improvement(x * scale, y * scale, seed=0)["p"] == p


def test_a_relative_difference_resamples_pairs_of_runs():
    y = np.array([-100.0, -300.0, -200.0, -150.0, -250.0])
    measured = relative_difference(1.1 * y, y, seed=0)  # ten per cent below in every pair, however far the runs spread
    assert [measured[name] for name in ("mean", "low", "high")] == pytest.approx([-0.1] * 3)
    assert measured["runs"] == 5
    shuffled = relative_difference(1.1 * y[::-1], y, seed=0)
    assert shuffled["mean"] == pytest.approx(-0.1) and shuffled["high"] - shuffled["low"] > 0.2


def test_a_relative_difference_needs_pairs_and_something_to_be_relative_to():
    with pytest.raises(ValueError):
        relative_difference([1.0, 2.0], [1.0, 2.0, 3.0], seed=0)
    with pytest.raises(ValueError, match="mean of y is 0"):
        relative_difference([1.0, 2.0], [1.0, -1.0], seed=0)


@pytest.mark.parametrize(
    ("returns", "expected"),
    [
        ([-101.0, -99.0, -102.0], "holds"),
        ([-120.0, -125.0, -118.0], "does not hold"),
        ([-80.0, -100.0, -140.0], "undecided"),
    ],
)
def test_return_counts_as_kept_only_where_the_whole_interval_says_so(returns, expected):
    measured = {"sac": relative_difference(returns, [-100.0, -100.0, -100.0], seed=0)}
    claim = load_claims()["pave.training.return_kept"]
    assert verdicts.decide(claim, measured, None, "", "any").verdict == expected


def test_probability_of_improvement_agrees_with_rliable_over_tasks():
    random = np.random.default_rng(0)
    x, y = random.normal(0.3, 1, (5, 3)), random.normal(0, 1, (7, 3))
    measured = probability_of_improvement(x, y, seed=0)
    assert measured["probability"] == pytest.approx(metrics.probability_of_improvement(x, y), abs=1e-12)


def test_swapping_the_methods_mirrors_the_probability():
    random = np.random.default_rng(1)
    x, y = random.normal(size=6), random.normal(size=6)
    forth, back = probability_of_improvement(x, y, seed=0), probability_of_improvement(y, x, seed=0)
    assert forth["probability"] == pytest.approx(1 - back["probability"])
    assert forth["low"] == pytest.approx(1 - back["high"], abs=0.03)


def test_the_interval_of_the_mean_of_two_runs_is_known_exactly():
    # Resamples of (0, 1) are 0, 1/2, 1 with probability 1/4, 1/2, 1/4: both 2.5 % tails lie in the end points.
    assert mean_interval([0.0, 1.0], seed=3) == {"mean": 0.5, "low": 0.0, "high": 1.0, "runs": 2}


def test_the_interval_of_the_mean_approaches_the_normal_one():
    scores = np.random.default_rng(2).normal(10, 3, size=400)
    half_width = 1.96 * scores.std() / np.sqrt(400)
    measured = mean_interval(scores, seed=0)
    assert measured["mean"] == pytest.approx(scores.mean())
    assert measured["low"] == pytest.approx(scores.mean() - half_width, abs=0.1 * half_width)
    assert measured["high"] == pytest.approx(scores.mean() + half_width, abs=0.1 * half_width)


def test_intervals_cover_the_true_mean_about_as_often_as_they_say():
    random = np.random.default_rng(3)
    measured = [mean_interval(random.normal(size=30), seed=seed) for seed in range(200)]
    coverage = np.mean([interval["low"] <= 0 <= interval["high"] for interval in measured])
    assert 0.88 <= coverage <= 0.99


def test_resampling_is_stratified_over_tasks():
    # Tasks of very different level, no spread between runs: a resample that mixed tasks would have spread.
    scores = np.tile([0.0, 1000.0], (4, 1))
    assert mean_interval(scores, seed=0) == {"mean": 500.0, "low": 500.0, "high": 500.0, "runs": 4}
    interval = bootstrap_interval(scores, np.mean, seed=0, resamples=50)
    assert interval == {"estimate": 500.0, "low": 500.0, "high": 500.0}


def test_both_ways_of_resampling_give_the_same_interval_of_the_mean():
    scores = np.random.default_rng(4).normal(size=(8, 3))
    general, special = bootstrap_interval(scores, np.mean, seed=0), mean_interval(scores, seed=0)
    assert general["estimate"] == pytest.approx(special["mean"])
    assert general["low"] == pytest.approx(special["low"], abs=0.05)
    assert general["high"] == pytest.approx(special["high"], abs=0.05)


def test_a_higher_level_gives_a_wider_interval():
    scores = np.random.default_rng(5).normal(size=12)
    narrow = bootstrap_interval(scores, interquartile_mean, seed=0, resamples=300, level=0.5)
    wide = bootstrap_interval(scores, interquartile_mean, seed=0, resamples=300, level=0.95)
    assert wide["low"] < narrow["low"] < narrow["high"] < wide["high"]


def test_curves_get_the_interval_of_their_points_and_keep_their_dependence():
    random = np.random.default_rng(6)
    curves = random.normal(size=(6, 1)) + np.linspace(0, 5, 11)  # parallel curves: the band must be parallel too
    band = curve_interval(curves, seed=0)
    assert band["mean"].shape == band["low"].shape == band["high"].shape == (11,)
    assert np.allclose(band["high"] - band["low"], (band["high"] - band["low"])[0])
    point = mean_interval(curves[:, 4], seed=0)
    assert (band["low"][4], band["high"][4]) == pytest.approx((point["low"], point["high"]))


def test_the_seed_alone_decides_the_interval():
    scores = np.random.default_rng(7).normal(size=9)
    np.random.seed(0)
    first = bootstrap_interval(scores, interquartile_mean, seed=11, resamples=100)
    np.random.seed(1)
    assert bootstrap_interval(scores, interquartile_mean, seed=11, resamples=100) == first
    assert bootstrap_interval(scores, interquartile_mean, seed=12, resamples=100) != first
    assert mean_interval(scores, seed=1) == mean_interval(scores, seed=1) != mean_interval(scores, seed=2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_scores_are_refused_with_their_place(bad):
    with pytest.raises(ValueError, match=rf"scores of run 1, column 2, is {bad}"):
        mean_interval([[1, 2, 3], [1, 2, bad]], seed=0)
    with pytest.raises(ValueError, match=rf"y of run 0, column 0, is {bad}"):
        probability_of_improvement([1, 2], [bad, 2], seed=0)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="scores has 1 runs: at least 2"):
        mean_interval([1.0], seed=0)
    with pytest.raises(ValueError, match="curves has 1 runs"):
        curve_interval([[1.0, 2.0]], seed=0)
    with pytest.raises(ValueError, match=r"shape \(2, 2, 2\)"):
        mean_interval(np.zeros((2, 2, 2)), seed=0)
    with pytest.raises(ValueError, match="x has 2 tasks and y has 3"):
        probability_of_improvement(np.zeros((4, 2)), np.zeros((4, 3)), seed=0)
    with pytest.raises(TypeError, match="integer seed"):
        mean_interval([1.0, 2.0], seed=None)
    with pytest.raises(ValueError, match="level is 1.5"):
        bootstrap_interval([1.0, 2.0], np.mean, seed=0, level=1.5)
