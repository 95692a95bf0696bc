"""GPOMDP with the variance-optimal component-wise baseline (Peters and Schaal, 2008), for many runs at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from paperlib.lipschitz.ascent import Estimate
from paperlib.lipschitz.domains import Domain, State

RUNS_AT_ONCE = 25
"""Runs simulated as one array: enough to hide the cost of a call, few enough to stay in the cache.

Threads would not help, as calls this short spend much of their time under the interpreter's lock; experiments run their
cells in processes instead.
"""


@dataclass(frozen=True)
class SimulatedReturns:
    """Returns and gradients of a domain from simulated episodes; see `paperlib.lipschitz.ascent.Returns`.

    episodes, steps: of one gradient estimate. seed: with run and iteration it selects the random numbers, so a run's
    numbers do not depend on the other runs. baseline: subtract the variance-optimal baseline.

    The estimate is of the return of `steps` steps. Its baseline is taken from the same episodes, which biases it by a
    share of the order of 1 / episodes.
    """

    domain: Domain
    episodes: int
    steps: int
    seed: int
    baseline: bool = True

    def __post_init__(self):
        for name in ("episodes", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, is {getattr(self, name)}")

    def estimate(self, theta: np.ndarray, iteration: int) -> Estimate:
        """Gradient (R, d) and return (R,) at theta (R, d), from the random numbers of an iteration."""
        parts = []
        for runs in _groups(len(theta)):
            start, noise = self._draw(runs, iteration)
            parts.append(gradient_estimate(self.domain, theta[runs], start, noise, baseline=self.baseline))
        return Estimate(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def improvement(self, theta: np.ndarray, update: np.ndarray, iteration: int) -> np.ndarray:
        """J(theta + update) - J(theta), shape (R,), by the same random numbers for both."""
        parts = []
        for runs in _groups(len(theta)):
            start, noise = self._draw(runs, iteration)
            after = expected_return(self.domain, theta[runs] + update[runs], start, noise)
            parts.append(after - expected_return(self.domain, theta[runs], start, noise))
        return np.concatenate(parts)

    def _draw(self, runs: np.ndarray, iteration: int) -> tuple[State, np.ndarray]:
        """Initial states, arrays (R, E), and standard normal noise (T, R, E)."""
        noise = np.empty((self.steps, len(runs), self.episodes))
        starts = []
        for column, run in enumerate(runs):
            generator = np.random.Generator(np.random.SFC64([self.seed, int(run), iteration]))
            starts.append(self.domain.start(generator, (self.episodes,)))
            noise[:, column] = generator.standard_normal((self.steps, self.episodes))
        return tuple(np.stack(coordinate) for coordinate in zip(*starts, strict=True)), noise


def _groups(runs: int) -> Iterator[np.ndarray]:
    """The numbers of the runs that are simulated as one array."""
    for first in range(0, runs, RUNS_AT_ONCE):
        yield np.arange(first, min(first + RUNS_AT_ONCE, runs))


def gradient_estimate(
    domain: Domain, theta: np.ndarray, start: State, noise: np.ndarray, *, baseline: bool = True
) -> Estimate:
    """GPOMDP: sum_t gamma^t E[(r_t - b_t) sum_{k <= t} grad log pi(a_k|s_k)], component by component.

    theta (R, d), start: coordinates (R, E), noise (T, R, E). With S the running sum of scores of a component, the
    baseline is b_t = E[S^2 r_t] / E[S^2], zero where S is zero in every episode (as a component whose feature is zero
    at the start). Returns the gradient (R, d) and the return (R,).
    """
    columns = theta.T[:, :, None]
    scores = [np.zeros_like(noise[0]) for _ in columns]
    gradient, score, weight, state = np.zeros(theta.shape), np.zeros(len(theta)), 1.0, start
    for z in noise:
        phi = domain.feature_values(state)
        scaled = z / domain.standard_deviation
        mean = sum(weight_i * phi_i for weight_i, phi_i in zip(columns, phi, strict=True))
        action = domain.applied(mean + domain.standard_deviation * z)
        reward = domain.reward(state, action)
        score += weight * reward.mean(axis=1)
        for i, (total, phi_i) in enumerate(zip(scores, phi, strict=True)):
            total += scaled * phi_i
            gradient[:, i] += weight * _covariance(total, reward, baseline)
        state = domain.step(state, action)
        weight *= domain.discount
    return Estimate(gradient, score)


def _covariance(total: np.ndarray, reward: np.ndarray, baseline: bool) -> np.ndarray:
    """E[S (r - b)] over episodes: shape (R,)."""
    product = np.einsum("re,re->r", total, reward)
    if baseline:
        squared = total * total
        size, weighted = squared.sum(axis=1), np.einsum("re,re->r", squared, reward)
        product -= np.divide(weighted, size, out=np.zeros_like(size), where=size > 0) * total.sum(axis=1)
    return product / reward.shape[1]


def expected_return(domain: Domain, theta: np.ndarray, start: State, noise: np.ndarray) -> np.ndarray:
    """The mean discounted return (R,) of the same episodes as `gradient_estimate`."""
    columns, score, weight, state = theta.T[:, :, None], np.zeros(len(theta)), 1.0, start
    for z in noise:
        phi = domain.feature_values(state)
        mean = sum(weight_i * phi_i for weight_i, phi_i in zip(columns, phi, strict=True))
        action = domain.applied(mean + domain.standard_deviation * z)
        score += weight * domain.reward(state, action).mean(axis=1)
        state = domain.step(state, action)
        weight *= domain.discount
    return score
