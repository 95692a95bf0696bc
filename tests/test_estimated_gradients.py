"""Steps for estimated gradients: the guarantee holds as often as it says, and no other step guarantees more."""

import dataclasses
from functools import cache

import numpy as np
import pytest

from paperlib.lipschitz import (
    GaussianPolicy,
    MDPConstants,
    PolynomialFeatures,
    bernstein_errors,
    bernstein_samples,
    chebyshev_errors,
    chebyshev_radius,
    chebyshev_samples,
    gradient_lipschitz,
    horizon_error,
    improvement_bound,
    largest_episode_gradient,
    mss_mlc,
    sss_mlc,
    sss_slc,
    step_in_ball,
    step_in_box,
)
from paperlib.lipschitz.finite_mdp import GridGaussianPolicy, GridMDP, policy_gradient, state_transitions
from paperlib.lipschitz.simulation.domains import LQG
from paperlib.lipschitz.simulation.exact_lqg import ExactLQG
from paperlib.lipschitz.simulation.gpomdp import gradient_estimate

SINGLE, ALL = (sss_slc, sss_mlc), (sss_slc, sss_mlc, mss_mlc)
FAILURE = 0.1


def problems(count, seed=0):
    """Estimate, constants and errors of one to five components, the errors of the estimate's size."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        d = generator.integers(1, 6)
        yield generator.standard_normal(d), generator.random(d) + 0.1, 0.7 * generator.random(d), generator


# What is guaranteed for every gradient of a box or a ball


@pytest.mark.parametrize("rule", ALL)
def test_in_a_box_the_guarantee_is_the_worst_case_at_its_corner_nearest_the_origin(rule):
    for estimate, lipschitz, errors, generator in problems(100):
        step = step_in_box(rule, estimate, lipschitz, errors)
        corners = estimate + errors * generator.choice([-1.0, 1.0], (200, len(errors)))
        assert (improvement_bound(corners, lipschitz, step.update) >= step.guaranteed_improvement - 1e-12).all()
        nearest = estimate - errors * np.sign(step.update)
        worst = improvement_bound(nearest, lipschitz, step.update)
        assert worst >= step.guaranteed_improvement - 1e-12
        if rule is not sss_slc:  # which is content with the quadratic bound
            assert worst == pytest.approx(step.guaranteed_improvement, abs=1e-12)
        assert np.allclose(step.step_sizes * estimate, step.update)


def test_in_a_box_no_step_has_a_better_worst_case_than_mss_mlcs():
    for estimate, lipschitz, errors, generator in problems(60, seed=1):
        best = step_in_box(mss_mlc, estimate, lipschitz, errors)
        near = best.update + 0.05 * generator.standard_normal((300, len(errors)))
        for tried in (near, 3 * generator.standard_normal((300, len(errors)))):
            worst = improvement_bound(estimate, lipschitz, tried) - np.abs(tried) @ errors
            assert (worst <= best.guaranteed_improvement + 1e-12).all()


@pytest.mark.parametrize("rule", SINGLE)
def test_in_a_ball_the_guarantee_is_the_worst_case_at_its_point_nearest_the_origin(rule):
    for estimate, lipschitz, errors, generator in problems(100, seed=2):
        radius = np.linalg.norm(errors)
        step = step_in_ball(rule, estimate, lipschitz, radius)
        away = generator.standard_normal((200, len(errors)))
        gradients = estimate + radius * away / np.linalg.norm(away, axis=1, keepdims=True)
        assert (improvement_bound(gradients, lipschitz, step.update) >= step.guaranteed_improvement - 1e-12).all()
        nearest = estimate * max(1 - radius / np.linalg.norm(estimate), 0)
        worst = improvement_bound(nearest, lipschitz, step.update)
        if rule is not sss_slc:
            assert worst == pytest.approx(step.guaranteed_improvement, abs=1e-12)


def test_in_a_ball_sss_slcs_step_is_that_of_safe_policy_gradients():
    """T3p/potion, `safe_step_strict`: alpha = (1 - sqrt(V / (delta N)) / |e|) / L where N >= V / (delta |e|^2)."""
    estimate, lipschitz, variance, n = np.array([0.6, -0.8]), np.array([3.0, 4.0]), np.array([1.0, 2.0]), 400
    radius = chebyshev_radius(variance, n, 0.2)
    step = step_in_ball(sss_slc, estimate, lipschitz, radius)
    assert step.step_sizes == pytest.approx((1 - np.sqrt(3 / (0.2 * n))) / 5)
    assert step.guaranteed_improvement == pytest.approx((1 - np.sqrt(3 / (0.2 * n))) ** 2 / 10)


def test_mss_mlcs_guarantee_for_the_nearest_point_of_a_ball_fails_elsewhere_in_the_ball_so_it_is_refused():
    estimate, lipschitz, radius = np.array([1.0, 1.0]), np.array([0.1, 10.0]), 0.5
    step = mss_mlc(estimate * (1 - radius / np.sqrt(2)), lipschitz)
    worst = estimate - radius * step.update / np.linalg.norm(step.update)
    assert improvement_bound(worst, lipschitz, step.update) < 0.9 * step.guaranteed_improvement
    with pytest.raises(ValueError, match="one of sss_slc, sss_mlc, is mss_mlc"):
        step_in_ball(mss_mlc, estimate, lipschitz, radius)


@pytest.mark.parametrize("rule", ALL)
def test_without_an_error_the_step_is_the_rules_own_and_with_a_large_one_there_is_none(rule):
    estimate, lipschitz = np.array([[1.0, -2.0], [0.0, 0.0]]), np.array([1.0, 3.0])
    for same in (rule(estimate, lipschitz), step_in_box(rule, estimate, lipschitz, [0.0, 0.0])):
        assert np.array_equal(same.update, rule(estimate, lipschitz).update)
    none = step_in_box(rule, estimate, lipschitz, [1.0, 2.0])
    assert not none.update.any() and not none.guaranteed_improvement.any()
    if rule in SINGLE:
        assert np.allclose(step_in_ball(rule, estimate, lipschitz, 0.0).update, rule(estimate, lipschitz).update)
        assert not step_in_ball(rule, estimate, lipschitz, 3.0).update.any()


# How often: LQG, whose gradient is known


@cache
def lqg_samples():
    """The domain, theta's exact gradient, the steps of an episode, theta's constants, and one estimate per episode."""
    domain, theta, steps, episodes = LQG(0.3, discount=0.5, standard_deviation=0.5), np.array([0.8]), 20, 200_000
    exact = ExactLQG(domain).estimate(theta[None]).gradient[0]
    generator = np.random.default_rng(0)
    start, noise = domain.start(generator, (episodes, 1)), generator.standard_normal((steps, episodes, 1))
    samples = gradient_estimate(domain, np.tile(theta, (episodes, 1)), start, noise, baseline="none").gradient
    return domain, exact, steps, domain.policy().constants(theta), samples


def guaranteed(error, samples):
    """Of repeated estimates: whether the gradient is within their error, and whether Lemma 8 at the exact gradient
    gives what was guaranteed to them.
    """
    domain, exact, _, policy, _ = lqg_samples()
    estimate, lipschitz = samples.mean(axis=-2), gradient_lipschitz(domain.constants(), policy)
    step = step_in_ball(sss_mlc, estimate, lipschitz, error)
    inside = np.linalg.norm(estimate - exact, axis=-1) <= error
    kept = improvement_bound(exact, lipschitz, step.update) >= step.guaranteed_improvement - 1e-15
    return inside.mean(), kept.mean(), (step.guaranteed_improvement > 0).mean()


def test_on_lqg_gradient_and_guarantee_are_within_bounds_as_often_as_promised():
    domain, _, steps, policy, samples = lqg_samples()
    mdp, n = domain.constants(), 1000
    samples = samples.reshape(-1, n, 1)
    beyond = horizon_error(mdp, policy, steps)[0]
    variance = samples.var(axis=1, ddof=1)
    inside, kept, improved = guaranteed(chebyshev_radius(variance, n, FAILURE) + beyond, samples)
    assert inside >= 1 - FAILURE and kept >= 1 - FAILURE and improved > 0.9
    errors = bernstein_errors(samples, largest_episode_gradient(mdp, policy, steps), FAILURE)[:, 0] + beyond
    inside, kept, improved = guaranteed(errors, samples)
    assert inside >= 1 - FAILURE and kept >= 1 - FAILURE
    inside, kept, improved = guaranteed(np.zeros(len(samples)), samples)  # the rule that trusts the estimate
    assert inside == 0 and kept < 0.7 and improved == 1
    inside, _, _ = guaranteed(0.3 * chebyshev_radius(variance, n, FAILURE), samples)
    assert inside < 1 - FAILURE


def test_on_lqg_the_return_rises_by_what_was_guaranteed():
    domain, _, steps, policy, samples = lqg_samples()
    exact, lipschitz = ExactLQG(domain), gradient_lipschitz(domain.constants(), policy)
    batches = samples.reshape(20, -1, 1)
    radius = chebyshev_radius(batches.var(axis=1), batches.shape[1], FAILURE)
    step = step_in_ball(
        sss_slc, batches.mean(axis=1), lipschitz, radius + horizon_error(domain.constants(), policy, steps)
    )
    gain = exact.score(0.8 + step.update) - exact.score(np.array([[0.8]]))
    assert (step.guaranteed_improvement > 0).all() and (gain >= step.guaranteed_improvement).mean() >= 1 - FAILURE


def test_chebyshevs_probability_is_attained_by_the_distribution_of_three_points():
    generator, variance = np.random.default_rng(0), np.array([2.0])
    jumps = generator.choice([-1.0, 0.0, 1.0], p=[FAILURE / 2, 1 - FAILURE, FAILURE / 2], size=100_000)
    away = np.abs(jumps * np.sqrt(variance / FAILURE))
    radius = chebyshev_radius(variance, 1, FAILURE)
    assert (away <= radius * (1 + 1e-12)).all()
    assert abs((away <= 0.999 * radius).mean() - (1 - FAILURE)) < 0.005


@pytest.mark.parametrize("bound", ["radius", "errors", "bernstein"])
def test_bounds_of_several_components_hold_together(bound):
    """Skewed, dependent components in [-1, 1]."""
    generator = np.random.default_rng(1)
    common = generator.beta(0.3, 3, (2000, 60, 1))
    samples = 2 * np.concatenate([common, common**2, generator.beta(0.2, 2, (2000, 60, 2))], axis=2) - 1
    mean = 2 * np.array([0.3 / 3.3, 0.3 / 3.3 * 1.3 / 4.3, 0.2 / 2.2, 0.2 / 2.2]) - 1
    away, variance = np.abs(samples.mean(axis=1) - mean), samples.var(axis=1, ddof=1)
    if bound == "radius":
        inside = np.linalg.norm(away, axis=1) <= chebyshev_radius(variance, 60, FAILURE)
    elif bound == "errors":
        inside = (away <= chebyshev_errors(variance, 60, FAILURE)).all(axis=1)
    else:
        inside = (away <= bernstein_errors(samples, np.ones(4), FAILURE)).all(axis=1)
    assert inside.mean() >= 1 - FAILURE
    assert (away <= np.sqrt(variance / 60)).all(axis=1).mean() < 1 - FAILURE


def test_bernstein_errors_are_those_of_maurer_and_pontil_for_samples_of_the_unit_interval():
    unit = np.random.default_rng(2).random((50, 1))
    errors = bernstein_errors(2 * unit - 1, np.ones(1), 0.1)
    logarithm = np.log(2 / 0.05)  # one side at delta / 2
    expected = np.sqrt(2 * unit.var(ddof=1) * logarithm / 50) + 7 * logarithm / (3 * 49)
    assert errors == pytest.approx([2 * expected])


# Ranges and horizons


def test_no_episode_exceeds_its_bound_and_the_bound_is_the_sum_it_stands_for():
    domain, _, steps, policy, samples = lqg_samples()
    mdp = domain.constants()
    largest = largest_episode_gradient(mdp, policy, steps)
    assert (np.abs(samples) <= largest).all() and np.abs(samples).max() > 0.02 * largest
    t = np.arange(steps)
    by_hand = mdp.reward_bound * policy.score_bound * (mdp.discount**t * (t + 1)).sum()
    assert largest == pytest.approx(by_hand)
    whole = mdp.reward_bound * policy.score_bound / (1 - mdp.discount) ** 2
    assert largest + horizon_error(mdp, policy, steps) == pytest.approx(whole)


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_the_gradient_of_finitely_many_steps_lies_within_the_horizon_error(steps):
    generator, points = np.random.default_rng(3), np.linspace(-1, 1, 7)
    transitions = generator.dirichlet(np.ones(7), (7, 7))
    mdp = GridMDP(points, points, transitions, generator.random((7, 7)), np.ones(7) / 7, 0.7)
    policy = GridGaussianPolicy(points, points, np.stack([np.ones(7), points], axis=1), 0.5, radius=2.0)
    theta, step = np.array([0.3, -0.4]), 1e-5

    def of_some_steps(parameters):
        pi = policy.probabilities(parameters)
        reward, moves = (pi * mdp.rewards).sum(axis=1), state_transitions(mdp, pi)
        value = np.zeros(7)
        for _ in range(steps):
            value = reward + mdp.discount * moves @ value
        return mdp.start @ value

    gradient = [(of_some_steps(theta + step * e) - of_some_steps(theta - step * e)) / (2 * step) for e in np.eye(2)]
    missing = np.abs(policy_gradient(mdp, policy, theta) - gradient)
    error = horizon_error(mdp.constants(), policy.constants(theta), steps)
    assert (missing <= error + 1e-8).all() and (missing > 1e-4 * error).all()


# How many samples


def test_as_many_samples_as_are_needed_are_needed():
    estimate, variance = np.array([0.3, -0.1]), np.array([2.0, 1.0])
    n = int(chebyshev_samples(estimate, variance, 0.05))
    size = np.linalg.norm(estimate)
    assert chebyshev_radius(variance, n, 0.05) < size <= chebyshev_radius(variance, n - 1, 0.05)
    counts = np.arange(n, 10 * n, 50)
    gain = [(size - chebyshev_radius(variance, count, 0.05)) ** 2 / count for count in counts]
    assert counts[np.argmax(gain)] == pytest.approx(4 * n, rel=0.02)


@pytest.mark.parametrize("largest", [[0.5, 0.5], [30.0, 10.0]])
def test_as_many_samples_as_bernstein_needs_are_needed(largest):
    estimate, deviation = np.array([0.2, -0.05]), np.array([0.3, 0.1])
    n = int(bernstein_samples(estimate, deviation**2, largest, 0.05))

    def some_improvement(count):
        signs = np.where(np.arange(count) % 2, 1.0, -1.0)[:, None] * np.sqrt((count - 1) / count)
        signs -= signs.mean()
        errors = bernstein_errors(signs * deviation / signs.std(ddof=1), largest, 0.05)
        return (np.abs(estimate) > errors).any()

    assert some_improvement(n) and not some_improvement(n - 2)


def test_no_number_of_samples_is_enough_for_a_zero_estimate():
    zero, one = np.zeros(2), np.ones(2)
    assert np.isinf(chebyshev_samples(zero, one, 0.1)) and np.isinf(bernstein_samples(zero, one, one, 0.1))
    assert chebyshev_samples([zero, one], one, 0.1).tolist() == [np.inf, 11]


# What is refused


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: step_in_box(max, [1.0], [1.0], [0.1]), "one of sss_slc, sss_mlc, mss_mlc, is max"),
        (lambda: step_in_box(mss_mlc, [1.0, 1.0], [1.0, 1.0], 0.1), "one for each component"),
        (lambda: step_in_box(mss_mlc, [1.0, 1.0], [1.0, 1.0], [0.1]), "one for each component"),
        (lambda: step_in_box(mss_mlc, [1.0], [1.0], [-0.1]), "not negative"),
        (lambda: step_in_box(mss_mlc, 1.0, [1.0], [0.1]), "estimate must be a vector"),
        (lambda: step_in_ball(sss_mlc, 1.0, [1.0], 0.1), "estimate must be a vector"),
        (lambda: step_in_ball(sss_mlc, [np.nan], [1.0], 0.1), "finite"),
        (lambda: step_in_box(mss_mlc, [1.0, 1.0], [1.0], [0.1, 0.1]), "gradient has 2"),
        (lambda: step_in_ball(sss_slc, [1.0], [1.0], np.nan), "finite"),
        (lambda: chebyshev_radius(1.0, 10, 0.1), "one for each component"),
        (lambda: chebyshev_radius([1.0], 0, 0.1), "samples"),
        (lambda: chebyshev_errors([1.0], 10, 1.0), "failure"),
        (lambda: bernstein_errors([[1.0]], [1.0], 0.1), "at least two"),
        (lambda: bernstein_errors([[1.0], [2.0]], [1.0], 0.1), "exceeds the bound"),
        (lambda: horizon_error(MDP, POLICY.constants([0.1]), 0), "steps"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


MDP = MDPConstants(0.3, 1.0, 1.0, 0.5)
POLICY = GaussianPolicy(PolynomialFeatures([(1,)]), 0.5, -1, 1, -1, 1)


def test_a_batch_equals_a_loop():
    generator = np.random.default_rng(4)
    samples, lipschitz, largest = generator.uniform(-1, 1, (3, 30, 2)), generator.random((3, 2)) + 0.1, np.ones((3, 2))
    estimate, variance = samples.mean(axis=1) + 1, samples.var(axis=1)
    errors, radius = bernstein_errors(samples, largest, 0.5), chebyshev_radius(variance, 30, 0.5)
    steps = step_in_box(mss_mlc, estimate, lipschitz, errors), step_in_ball(sss_mlc, estimate, lipschitz, radius)
    for k in range(3):
        assert np.array_equal(errors[k], bernstein_errors(samples[k], largest[k], 0.5))
        alone = (
            step_in_box(mss_mlc, estimate[k], lipschitz[k], errors[k]),
            step_in_ball(sss_mlc, estimate[k], lipschitz[k], radius[k]),
        )
        for together, one in zip(steps, alone, strict=True):
            for name, value in dataclasses.asdict(one).items():
                assert np.allclose(getattr(together, name)[k], value, rtol=1e-12), name
