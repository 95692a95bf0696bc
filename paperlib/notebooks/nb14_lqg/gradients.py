"""What notebook 14 measures of gradients on LQG: constants by search, estimates of the gradient (Section 1), audits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from paperlib.lipschitz.estimated_constants import estimate_constants, random_transitions
from paperlib.lipschitz.simulation.ascent import take_step
from paperlib.lipschitz.simulation.domains import LQG
from paperlib.lipschitz.simulation.exact_lqg import ExactLQG
from paperlib.lipschitz.simulation.gpomdp import SimulatedReturns, expected_return
from paperlib.lipschitz.simulation.lqg_iterations import problem_of
from paperlib.lipschitz.simulation.truncated_normal import mean_offset
from paperlib.notebooks.nb14_lqg.steps import START
from paperlib.notebooks.shared.outcomes import count
from paperlib.repro.statistics import bootstrap_interval

# Constants


def searched_constants(domain: LQG, theta: float, cells: int = 200, close: float = 1e-5) -> dict[str, float]:
    """The largest ratios over neighbouring points of a grid, corners included, in s, a and theta, by constant.

    The score is that of the policy that is simulated: of the restricted normal distribution, or of the action drawn
    where the domain clips it.
    """
    edge = np.linspace(-domain.limit, domain.limit, cells + 1)
    s, a = np.meshgrid(edge, edge)
    inward = -close * np.sign(s + (s == 0)), -close * np.sign(a + (a == 0))
    sigma = domain.standard_deviation

    def score(s, a, parameter):
        mean = parameter * s
        offset = mean_offset(mean, sigma, -domain.limit, domain.limit) if domain.truncated else 0.0
        return (a - mean - offset) * s / sigma**2

    def steepest(f: Callable) -> float:
        over_s = np.abs(f(s + inward[0], a) - f(s, a)) / close
        over_a = np.abs(f(s, a + inward[1]) - f(s, a)) / close
        return float(max(over_s.max(), over_a.max()))

    return {
        "L_P": steepest(lambda s, a: domain.flow((s,), a)[0]),
        "L_R": steepest(lambda s, a: domain.reward((s,), a)),
        "R": float(np.abs(domain.reward((s,), a)).max()),
        "L_pi": steepest(lambda s, a: theta * s),
        "L_pi(theta)": float(np.abs((theta + close) * s - theta * s).max() / close),
        "M": float(np.abs(score(s, a, theta)).max()),
        "L_score": steepest(lambda s, a: score(s, a, theta)),
        "L_score(theta)": float(np.abs(score(s, a, theta + close) - score(s, a, theta)).max() / close),
    }


def largest_drawn_score(domain: LQG, theta: float, draws: int, seed: int = 0) -> float:
    """The largest |score| among actions drawn by the policy, states even over their limits."""
    generator = np.random.default_rng(seed)
    s = generator.uniform(-domain.limit, domain.limit, draws)
    _, per_feature = domain.act(theta * s, generator.standard_normal(draws))
    return float(np.abs(per_feature * s).max())


def estimated_over_true(domain: LQG, transitions: int, seed: int) -> dict[str, float]:
    """Constants estimated from random transitions over the derived ones, by constant."""
    data = random_transitions(domain, transitions, np.random.default_rng(seed))
    estimate, true = estimate_constants(*data, discount=domain.discount), domain.constants()
    names = {"L_P": "transition", "L_R": "reward", "R": "reward_bound"}
    return {name: getattr(estimate, field) / getattr(true, field) for name, field in names.items()}


# Ways to estimate the gradient


def finite_difference_errors(
    domain: LQG, theta: float, perturbation: float, *, episodes: int, repetitions: int, noisy: bool, seed: int
) -> np.ndarray:
    """Errors (repetitions,) of central differences from independent rollouts, `episodes` in all for each estimate.

    noisy: actions and starts are drawn. Otherwise the policy is its mean and the starts are the same evenly spaced
    ones, and the error is against the derivative of that deterministic return.
    """
    generator, steps, half = np.random.default_rng(seed), 100, episodes // 2

    def returns(parameter: float) -> np.ndarray:
        if noisy:
            start = domain.start(generator, (repetitions, half))
            noise = generator.standard_normal((steps, repetitions, half))
        else:
            start = (np.tile(np.linspace(-domain.limit, domain.limit, half), (repetitions, 1)),)
            noise = np.zeros((steps, repetitions, half))
        return expected_return(domain, np.full((repetitions, 1), parameter), start, noise)

    def slope(h: float) -> np.ndarray:
        return (returns(theta + h) - returns(theta - h)) / (2 * h)

    exact = ExactLQG(domain).estimate(np.array([[theta]])).gradient[0, 0] if noisy else slope(1e-5)
    return slope(perturbation) - exact


def root_mean_square(errors: np.ndarray) -> float:
    """Of all entries."""
    return float(np.sqrt(np.mean(np.square(errors))))


PERTURBATIONS = (0.05, 0.1, 0.2, 0.4, 0.8)


def estimator_errors(domain: LQG, theta: float, episodes: int, repetitions: int) -> dict[str, np.ndarray]:
    """Errors (repetitions,) of GPOMDP and of finite differences with each perturbation, same number of episodes."""
    returns = SimulatedReturns(domain, episodes, 100, 0)
    exact = ExactLQG(domain).estimate(np.array([[theta]])).gradient[0, 0]
    estimates = returns.estimate(np.full((repetitions, 1), theta), 0).gradient[:, 0]
    errors = {"GPOMDP": estimates - exact}
    for h in PERTURBATIONS:
        errors[f"differences, h = {h:g}"] = finite_difference_errors(
            domain, theta, h, episodes=episodes, repetitions=repetitions, noisy=True, seed=1
        )
    return errors


def likelihood_ratio_over_differences(errors: dict[str, np.ndarray]) -> dict[str, float]:
    """GPOMDP's root mean square error over that of finite differences with the best perturbation: {mean, low, high}."""
    others = [errors[name] for name in errors if name != "GPOMDP"]

    def ratio(columns: np.ndarray) -> float:
        sizes = np.sqrt(np.mean(columns**2, axis=0))
        return float(sizes[0] / sizes[1:].min())

    found = bootstrap_interval(np.stack([errors["GPOMDP"], *others], axis=1), ratio, seed=0)
    return {"mean": found["estimate"], "low": found["low"], "high": found["high"]}


def variance_with_baseline(
    domain: LQG, parameters: np.ndarray, repetitions: int, baseline: str = "leave_one_out"
) -> float:
    """Largest ratio, over parameters, of GPOMDP's variance with a baseline to that without."""
    ratios = []
    for theta in parameters:
        spread = [
            SimulatedReturns(domain, 50, 50, 3, baseline=one)
            .estimate(np.full((repetitions, 1), theta), 0)
            .gradient.var()
            for one in (baseline, "none")
        ]
        ratios.append(spread[0] / spread[1])
    return float(max(ratios))


def natural_gradient_difference(domain: LQG, psi: float, natural: bool = True, step: float = 1e-3) -> float:
    """Relative difference of the rate of change of theta along the (natural) gradient in theta and in psi,
    theta = psi + psi^3.

    Derivatives by fourth-order differences: the return exactly, the Fisher information as the curvature of the
    Kullback-Leibler divergence of the policy, averaged over states spread as the start is.
    """
    exact, states = ExactLQG(domain), domain.limit * np.polynomial.legendre.leggauss(20)[0]
    weights = np.polynomial.legendre.leggauss(20)[1] / 2

    def slope(f: Callable[[float], float], x: float) -> float:
        near, far = (f(x + k * step) - f(x - k * step) for k in (1, 2))
        return (8 * near - far) / (12 * step)

    def direction(to_theta: Callable[[float], float], x: float) -> float:
        """d theta / d t where x moves along its gradient."""
        of_return = slope(lambda y: float(exact.score(np.array([[to_theta(y)]]))[0]), x)
        score_of_mean = slope(lambda y: to_theta(y), x) * states / domain.standard_deviation
        information = float(weights @ score_of_mean**2) if natural else 1.0
        return slope(to_theta, x) * of_return / information

    here, there = direction(lambda theta: theta, psi + psi**3), direction(lambda y: y + y**3, psi)
    return abs(there / here - 1)


# Guarantees with estimated gradients


def broken_guarantees(domain: LQG, rule: str, theta: float, episodes: int, runs: int) -> dict[str, int]:
    """Of so many updates by GPOMDP estimates: how many improve less than guaranteed, and how many worsen the policy.

    The improvement is exact. Both should be zero; with the exact gradient the first is.
    """
    realised, guaranteed = _improvements_by_estimate(domain, rule, theta, episodes, runs)
    return {
        "updates": runs,
        "below the guarantee": int((realised < guaranteed).sum()),
        "worse than before": int((realised < 0).sum()),
    }


def worsened_by_estimate(domain: LQG, parameters: Sequence[float], *, episodes: int, runs: int = 100) -> dict[str, int]:
    """Updates of the Lipschitz rule by GPOMDP estimates at each parameter that lower the exact return."""
    realised = [_improvements_by_estimate(domain, "sss_slc", theta, episodes, runs)[0] for theta in parameters]
    return count(np.concatenate(realised) >= 0)


def _improvements_by_estimate(
    domain: LQG, rule: str, theta: float, episodes: int, runs: int
) -> tuple[np.ndarray, np.ndarray]:
    """Exact and guaranteed improvement of updates by GPOMDP estimates, each (runs,)."""
    problem, start = problem_of(domain), np.full((runs, 1), theta)
    gradient = SimulatedReturns(domain, episodes, 100, 0).estimate(start, 0).gradient
    step = take_step(problem, rule, start, gradient)
    exact = problem.returns.estimate(np.array([[theta]])).gradient[0, 0]
    curvature = _slope_of_gradient(problem.returns, theta)
    return step.update[:, 0] * exact + 0.5 * curvature * step.update[:, 0] ** 2, step.guarantee


def _slope_of_gradient(returns: ExactLQG, theta: float, h: float = 1e-3) -> float:
    pair = returns.estimate(np.array([[theta - h], [theta + h]])).gradient[:, 0]
    return float(np.diff(pair)[0] / (2 * h))


def audit_by_episodes(domain: LQG, episodes: list[int], runs: int, optimum: float) -> list[dict]:
    """`broken_guarantees` of the Lipschitz rule far from the optimum and near it, by episodes of an estimate."""
    places = {"at the start": START, "0.01 from the optimum": optimum - 0.01}
    return [
        {"place": place, "episodes": e} | broken_guarantees(domain, "sss_slc", theta, e, runs)
        for place, theta in places.items()
        for e in episodes
    ]
