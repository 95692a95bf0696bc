"""Smooth functions of d parameters whose gradient components have known pointwise Lipschitz constants.

They stand in for the return where a lemma needs nothing of the MDP but such constants: notebook 13 tests Lemma 8 and
the step-size rules on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

NORMS = (1, 2, np.inf)
_DUAL = {1: np.inf, 2: 2, np.inf: 1}


class SmoothReturn(Protocol):
    """J with its derivatives; theta has shape (d,)."""

    dimension: int

    def value(self, theta: np.ndarray) -> float:
        """J(theta)."""

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        """Shape (d,)."""

    def hessian(self, theta: np.ndarray) -> np.ndarray:
        """Shape (d, d)."""

    def constants(self, theta: np.ndarray, norm: float = 2) -> np.ndarray:
        """L_i(theta), shape (d,): |grad_i J(theta) - grad_i J(other)| <= L_i(theta) |theta - other|_p for any other."""

    def largest_constants(self, norm: float = 2) -> np.ndarray:
        """An upper bound of the constants over all theta, shape (d,)."""


class Quadratic:
    """J = b'theta - theta'A theta / 2 with A symmetric: constants are the dual norms of A's rows, everywhere."""

    def __init__(self, linear: np.ndarray, curvature: np.ndarray):
        self.linear, self.curvature, self.dimension = linear, curvature, len(linear)

    def value(self, theta):
        return float(self.linear @ theta - theta @ self.curvature @ theta / 2)

    def gradient(self, theta):
        return self.linear - self.curvature @ theta

    def hessian(self, theta):
        return -self.curvature

    def constants(self, theta, norm=2):
        return self.largest_constants(norm)

    def largest_constants(self, norm=2):
        return np.linalg.norm(self.curvature, ord=_DUAL[norm], axis=1)


class Waves:
    """J = sum_k w_k cos(u_k'theta + c_k), neither concave nor convex.

    The pointwise constant of the sine at x is the steepest secant through it, which is below 1 away from its zeros.
    """

    def __init__(self, weights: np.ndarray, directions: np.ndarray, phases: np.ndarray):
        self.weights, self.directions, self.phases = weights, directions, phases
        self.dimension = directions.shape[1]

    def _angles(self, theta):
        return self.directions @ theta + self.phases

    def value(self, theta):
        return float(self.weights @ np.cos(self._angles(theta)))

    def gradient(self, theta):
        return -(self.weights * np.sin(self._angles(theta))) @ self.directions

    def hessian(self, theta):
        return -(self.directions.T * (self.weights * np.cos(self._angles(theta)))) @ self.directions

    def constants(self, theta, norm=2):
        return self._constants(steepest_secant_of_sine(self._angles(theta)), norm)

    def largest_constants(self, norm=2):
        return self._constants(np.ones_like(self.weights), norm)

    def _constants(self, secants, norm):
        lengths = np.linalg.norm(self.directions, ord=_DUAL[norm], axis=1)
        return (np.abs(self.weights) * secants * lengths) @ np.abs(self.directions)


class Oscillation:
    """One parameter, gradient t sin(w t): inside the cone |gradient| <= |t| around 0, with slopes far outside it."""

    dimension = 1

    def __init__(self, frequency: float):
        self.frequency = frequency

    def value(self, theta):
        wt = self.frequency * theta[0]
        return float((np.sin(wt) - wt * np.cos(wt)) / self.frequency**2)

    def gradient(self, theta):
        return theta * np.sin(self.frequency * theta)

    def hessian(self, theta):
        wt = self.frequency * theta
        return (np.sin(wt) + wt * np.cos(wt))[None]

    def constants(self, theta, norm=2):
        if theta[0] != 0:
            raise ValueError("the constant is known at 0 only")
        return np.ones(1)


def steepest_secant_of_sine(x: np.ndarray) -> np.ndarray:
    """sup_y |sin x - sin y| / |x - y|, from above: a fine grid of y, and what a secant can gain between its points.

    The slope of the secant changes with y at a rate of at most 1/2. Beyond a distance of 7 it is below 2/7, less than
    the steepest secant anywhere.
    """
    offsets = np.linspace(1e-3, 7.0, 3501)
    offsets = np.concatenate([-offsets[::-1], offsets])
    secants = np.abs(np.sin(x[..., None] + offsets) - np.sin(x)[..., None]) / np.abs(offsets)
    return np.minimum(1.0, np.maximum(secants.max(axis=-1), np.abs(np.cos(x))) + 0.5 * 2e-3)


def random_returns(count: int, *, seed: int) -> list[SmoothReturn]:
    """Quadratics of either curvature and waves of one to six parameters, by turns."""
    generator = np.random.default_rng(seed)
    made = []
    for index in range(count):
        d = int(generator.integers(1, 7))
        if index % 2:
            square = generator.standard_normal((d, d))
            made.append(Quadratic(generator.standard_normal(d), square + square.T))
        else:
            waves = int(generator.integers(1, 6))
            made.append(
                Waves(
                    generator.standard_normal(waves),
                    generator.standard_normal((waves, d)),
                    generator.uniform(0, 2 * np.pi, waves),
                )
            )
    return made


def concave_returns(count: int, *, seed: int) -> list[Quadratic]:
    """Concave quadratics with a maximum, of one to six parameters."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        d = int(generator.integers(1, 7))
        square = generator.standard_normal((d, d))
        made.append(Quadratic(generator.standard_normal(d), square @ square.T + 0.05 * np.eye(d)))
    return made


def random_thetas(returns: Sequence[SmoothReturn], *, seed: int, scale: float = 1.5) -> list[np.ndarray]:
    """A normal parameter vector for each."""
    generator = np.random.default_rng(seed)
    return [scale * generator.standard_normal(j.dimension) for j in returns]


def cases(count: int) -> Iterator[tuple[SmoothReturn, np.ndarray, np.ndarray]]:
    """Functions, points and steps of all lengths."""
    generator = np.random.default_rng(0)
    returns = random_returns(count, seed=0)
    for j, theta in zip(returns, random_thetas(returns, seed=1), strict=True):
        yield j, theta, generator.standard_normal(j.dimension) * 10 ** generator.uniform(-2, 0.7)


def cases_of_the_chain(count: int) -> Iterator[tuple[SmoothReturn, np.ndarray, np.ndarray]]:
    """`cases`, and two that break the printed chain: slopes outside the pointwise cone; p = infinity in the plane."""
    yield from cases(count)
    yield Oscillation(40.0), np.zeros(1), np.array([1.0])
    yield Quadratic(np.zeros(2), np.ones((2, 2))), np.zeros(2), np.ones(2)
