"""GPOMDP with the variance-optimal component-wise baseline (Peters and Schaal, 2008), for many runs at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from paperlib.lipschitz.gradient_estimates import BASELINES, Estimate, covariance
from paperlib.lipschitz.simulation import compiled_rollouts
from paperlib.lipschitz.simulation.domains import Domain, State

RandomNumbers = tuple[State, np.ndarray]
"""Of R runs: initial states, coordinates (R, E), and standard normal noise (R, T, E)."""


@dataclass(frozen=True, eq=False)
class SimulatedReturns:
    """Returns and gradients of a domain from simulated episodes; see `paperlib.lipschitz.simulation.ascent.Returns`.

    episodes, steps: of one gradient estimate. seed: with run and iteration it selects the random numbers, so a run's
    numbers do not depend on the other runs. baseline: one of BASELINES.

    The estimate is of the return of `steps` steps. With the baseline "own" it is short by a share of the order of
    1 / episodes, and its zero is displaced.
    """

    domain: Domain
    episodes: int
    steps: int
    seed: int
    baseline: str = "leave_one_out"
    _kept: dict[tuple[int, int], RandomNumbers] = field(default_factory=dict, init=False, repr=False, compare=False)
    _made: dict[tuple, Estimate | np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self):
        for name in ("episodes", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, is {getattr(self, name)}")
        if self.baseline not in BASELINES:
            raise ValueError(f"unknown baseline {self.baseline!r}; one of {', '.join(BASELINES)}")

    def estimate(self, theta: np.ndarray, iteration: int) -> Estimate:
        """Gradient (R, d) and return (R,) at theta (R, d), from the random numbers of an iteration."""
        return self._once("estimate", theta, iteration, self._estimate)

    def score(self, theta: np.ndarray, iteration: int) -> np.ndarray:
        """The return (R,) at theta (R, d), from the random numbers of an iteration."""
        return self._once("score", theta, iteration, self._score)

    def _once(self, kind: str, theta: np.ndarray, iteration: int, make: Callable) -> Any:
        """What was made of the same parameters at the same iteration is used again: rules that run side by side often
        take the same steps.
        """
        key = kind, iteration, theta.tobytes()
        if key not in self._made:
            for old in [key for key in self._made if key[1] != iteration]:
                del self._made[old]
            self._made[key] = make(theta, *self._random_numbers(len(theta), iteration))
        return self._made[key]

    def _estimate(self, theta: np.ndarray, start: State, noise: np.ndarray) -> Estimate:
        if compiled_rollouts.is_compiled(self.domain):
            return compiled_rollouts.gradient_estimate(self.domain, theta, start, noise, baseline=self.baseline)
        return gradient_estimate(self.domain, theta, start, noise.swapaxes(0, 1), baseline=self.baseline)

    def _score(self, theta: np.ndarray, start: State, noise: np.ndarray) -> np.ndarray:
        if compiled_rollouts.is_compiled(self.domain):
            return compiled_rollouts.expected_return(self.domain, theta, start, noise)
        return expected_return(self.domain, theta, start, noise.swapaxes(0, 1))

    def _random_numbers(self, runs: int, iteration: int) -> RandomNumbers:
        """Those of the last two iterations asked for are kept, as rules that run side by side ask for them again."""
        if (runs, iteration) not in self._kept:
            noise, starts = np.empty((runs, self.steps, self.episodes)), []
            for run in range(runs):
                generator = np.random.Generator(np.random.SFC64([self.seed, run, iteration]))
                starts.append(self.domain.start(generator, (self.episodes,)))
                generator.standard_normal(out=noise[run])
            if len(self._kept) == 2:
                del self._kept[next(iter(self._kept))]
            self._kept[runs, iteration] = tuple(np.stack(c) for c in zip(*starts, strict=True)), noise
        return self._kept[runs, iteration]


def gradient_estimate(
    domain: Domain, theta: np.ndarray, start: State, noise: np.ndarray, *, baseline: str = "leave_one_out"
) -> Estimate:
    """GPOMDP: sum_t gamma^t E[(r_t - b_t) sum_{k <= t} grad log pi(a_k|s_k)], component by component.

    theta (R, d), start: coordinates (R, E), noise (T, R, E). With S the running sum of scores of a component, the
    baseline is b_t = E[S^2 r_t] / E[S^2] over all episodes ("own"), or for each episode over the others
    ("leave_one_out"); zero where S is zero in all of these (as a component whose feature is zero at the start).
    Returns the gradient (R, d) and the return (R,).
    """
    columns = theta.T[:, :, None]
    scores = [np.zeros_like(noise[0]) for _ in columns]
    gradient, score, weight, state = np.zeros(theta.shape), np.zeros(len(theta)), 1.0, start
    for z in noise:
        phi = domain.feature_values(state)
        mean = sum(weight_i * phi_i for weight_i, phi_i in zip(columns, phi, strict=True))
        action, score_per_feature = domain.act(mean, z)
        reward = domain.reward(state, action)
        score += weight * reward.mean(axis=1)
        for i, (total, phi_i) in enumerate(zip(scores, phi, strict=True)):
            total += score_per_feature * phi_i
            gradient[:, i] += weight * covariance(total, reward, baseline)
        state = domain.step(state, action)
        weight *= domain.discount
    return Estimate(gradient, score)


def expected_return(domain: Domain, theta: np.ndarray, start: State, noise: np.ndarray) -> np.ndarray:
    """The mean discounted return (R,) of the same episodes as `gradient_estimate`."""
    columns, score, weight, state = theta.T[:, :, None], np.zeros(len(theta)), 1.0, start
    for z in noise:
        phi = domain.feature_values(state)
        mean = sum(weight_i * phi_i for weight_i, phi_i in zip(columns, phi, strict=True))
        action, _ = domain.act(mean, z)
        score += weight * domain.reward(state, action).mean(axis=1)
        state = domain.step(state, action)
        weight *= domain.discount
    return score
