"""Step sizes for policy-gradient ascent with a guaranteed improvement (Pirotta et al., 2015, Section 5; equation 23).

Gradients and Lipschitz constants are vectors of d components, with any number of leading batch axes. The rules maximise
Lemma 8's lower bound of the improvement, g'x - |x|_2 L'|x| / 2, over the steps x they allow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


class UnboundedImprovement(ValueError):
    """The Lipschitz constants are zero where the gradient is not, so no step maximises the bound."""


@dataclass(frozen=True, eq=False)
class StepSize:
    """What a rule decides, with the batch axes of its arguments.

    update: the vector to add to theta, shape (..., d).
    step_sizes: alpha, one per component, shape (..., d); the rules with a single step size repeat it. A component
        without gradient has an update of zero whatever its step size.
    guaranteed_improvement: the lower bound of J(theta + update) - J(theta), shape (...).
    """

    update: np.ndarray
    step_sizes: np.ndarray
    guaranteed_improvement: np.ndarray


def improvement_bound(gradient: ArrayLike, lipschitz: ArrayLike, update: ArrayLike, norm: float = 2) -> np.ndarray:
    """Lemma 8: a lower bound of the improvement of a step, g'x - |x|_p L'|x| / 2.

    gradient, lipschitz, update: shapes (..., d). norm: p >= 1, that of the distance for which the constants hold.
    ValueError on vectors of unequal length, a value that is not finite, a negative constant, or p below 1, which is no
    norm.
    """
    gradient, lipschitz, update = _vectors(gradient=gradient, lipschitz=lipschitz, update=update)
    _require_finite(gradient=gradient, update=update)
    _require_constants(lipschitz)
    if not norm >= 1:
        raise ValueError(f"norm is {norm}, must be at least 1")
    length = np.linalg.norm(update, ord=norm, axis=-1)
    return (gradient * update).sum(axis=-1) - 0.5 * length * (lipschitz * np.abs(update)).sum(axis=-1)


def sss_slc(gradient: ArrayLike, lipschitz: ArrayLike) -> StepSize:
    """Single step size from a single Lipschitz constant (Section 5.1): alpha = 1 / |L|_2.

    Guarantees |g|_2^2 / (2 |L|_2). gradient, lipschitz: shapes (..., d); the single constant is the norm of the
    components' constants (Theorem 3), and is not itself an argument.
    ValueError on vectors of unequal length or a constant that is negative or not finite, UnboundedImprovement if all
    are zero where the gradient is not, OverflowError if the step is too large for a float.
    """
    problem = _Problem(gradient, lipschitz)
    g, bound = problem.gradient, problem.lipschitz
    size = np.linalg.norm(bound, axis=-1)
    problem.require_positive(size)
    alpha = _divide(np.ones_like(size), size)
    guarantee = 0.5 * alpha * (g**2).sum(axis=-1)
    return problem.result(alpha[..., None] * np.ones_like(g), guarantee)


def sss_mlc(gradient: ArrayLike, lipschitz: ArrayLike) -> StepSize:
    """Single step size from multiple Lipschitz constants (Section 5.2): alpha = |g|_2 / (L'|g|).

    Guarantees |g|_2^3 / (2 L'|g|), never less than SSS-SLC. Arguments and errors as for `sss_slc`; a zero gradient has
    step size 0.
    """
    problem = _Problem(gradient, lipschitz)
    g, bound = problem.gradient, problem.lipschitz
    size, weight = np.linalg.norm(g, axis=-1), (bound * np.abs(g)).sum(axis=-1)
    problem.require_positive(weight)
    alpha = _divide(size, weight)
    guarantee = 0.5 * alpha * (g**2).sum(axis=-1)
    return problem.result(alpha[..., None] * np.ones_like(g), guarantee)


def mss_mlc(gradient: ArrayLike, lipschitz: ArrayLike) -> StepSize:
    """Multiple step sizes from multiple Lipschitz constants (Section 5.3, equation 22): exact, O(d log d).

    The bound is largest at a step whose absolute values are x = t (2 |g| - t L) / p on the components with
    |g_i| / L_i > t / 2 and zero elsewhere, where on those components, with G = |g|^2, H = |L|^2 and C = L'|g|,
    t = 4 G / (3 C + sqrt(9 C^2 - 8 G H)) is its length and p^2 = 2 G - C t; it guarantees p t / 2 (notebook 13). So the
    candidates are the d sets of the largest ratios |g_i| / L_i, and those whose step is real and has no negative
    component are compared. The paper's algorithm differs in its threshold, arctan(1/8) for arctan(1/sqrt(8)).

    Arguments and errors as for `sss_slc`, but a single component with a gradient and a zero constant is already enough
    for UnboundedImprovement.
    """
    problem = _Problem(gradient, lipschitz)
    g, bound = np.abs(problem.gradient), problem.lipschitz
    problem.require_positive(np.where(g > 0, bound, 1.0).min(axis=-1))
    ratio = _divide(g, bound)
    order = np.argsort(-ratio, axis=-1, kind="stable")
    sorted_g, sorted_bound = np.take_along_axis(g, order, -1), np.take_along_axis(bound, order, -1)
    length, p = _stationary_steps(sorted_g, sorted_bound)
    feasible = 2 * np.take_along_axis(ratio, order, -1) >= length * (1 - 1e-12)
    value = np.where(feasible, 0.5 * p * length, 0.0)
    best = value.argmax(axis=-1)[..., None]
    t, p = np.take_along_axis(length, best, -1), np.take_along_axis(p, best, -1)
    rank = np.argsort(order, axis=-1, kind="stable")
    size = np.where(rank <= best, _divide(t * (2 * g - t * bound), p), 0.0)
    return problem.result(_divide(np.maximum(size, 0.0), g), np.take_along_axis(value, best, -1)[..., 0])


def _stationary_steps(g: np.ndarray, bound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Length t and p = g'x / t of the stationary step on the first k components, k = 1 ... d; 0 where there is none."""
    gradient_2, bound_2, product = (np.cumsum(a * b, axis=-1) for a, b in ((g, g), (bound, bound), (bound, g)))
    discriminant = 9 * product**2 - 8 * gradient_2 * bound_2
    root = np.sqrt(np.maximum(discriminant, 0.0))
    length = np.where(discriminant >= 0, _divide(4 * gradient_2, 3 * product + root), 0.0)
    return length, np.where(length > 0, np.sqrt(np.maximum(2 * gradient_2 - product * length, 0.0)), 0.0)


def agss(
    gradient: ArrayLike,
    *,
    discount: float,
    standard_deviation: float,
    action_volume: float,
    reward_bound: float,
    feature_bound: float,
) -> StepSize:
    """Adaptive gradient step size of Pirotta et al. (2013) for a Gaussian policy (equation 23).

    It maximises a bound a |g|_2^2 - c a^2, so it guarantees half of what the gradient promises, a |g|_2^2 / 2.

    gradient: shape (..., d). discount: gamma. standard_deviation: sigma. action_volume: |A|, the length of the action
    interval. reward_bound: R. feature_bound: M_phi. ValueError on values outside their range; a zero gradient has step
    size 0.
    """
    positive = {
        "standard_deviation": standard_deviation,
        "action_volume": action_volume,
        "reward_bound": reward_bound,
        "feature_bound": feature_bound,
    }
    for name, value in positive.items():
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive and finite, is {value}")
    if not 0 <= discount < 1:
        raise ValueError(f"discount is {discount}, must lie in [0, 1)")
    problem = _Problem(gradient, np.ones_like(np.asarray(gradient, dtype=float)))
    g, normal = problem.gradient, np.sqrt(2 * np.pi) * standard_deviation
    squared = (g**2).sum(axis=-1)
    ratio = _divide(squared, np.abs(g).sum(axis=-1) ** 2)
    volume = discount * normal + 2 * (1 - discount) * action_volume
    alpha = (1 - discount) ** 3 * normal * standard_deviation**2 / (volume * reward_bound * feature_bound**2) * ratio
    return problem.result(alpha[..., None] * np.ones_like(g), 0.5 * alpha * squared)


def _vectors(**arrays: ArrayLike) -> list[np.ndarray]:
    """Arrays of vectors, all of one length: a constant for each component of the gradient, and not their norm."""
    vectors = {name: np.asarray(array, dtype=float) for name, array in arrays.items()}
    if any(vector.ndim == 0 or vector.shape[-1] == 0 for vector in vectors.values()):
        raise ValueError(f"{' and '.join(vectors)} must be vectors of at least one component")
    if len({vector.shape[-1] for vector in vectors.values()}) > 1:
        lengths = ", ".join(f"{name} has {vector.shape[-1]}" for name, vector in vectors.items())
        raise ValueError(f"one component each: {lengths}")
    return list(vectors.values())


def _require_finite(**arrays: np.ndarray) -> None:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite")


def _require_constants(lipschitz: np.ndarray) -> None:
    if not (np.isfinite(lipschitz).all() and (lipschitz >= 0).all()):
        raise ValueError("lipschitz must be finite and not negative")


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)


class _Problem:
    """Gradient and constants, checked, and each divided by its largest entry: squares neither over- nor underflow."""

    def __init__(self, gradient: ArrayLike, lipschitz: ArrayLike):
        gradient, lipschitz = np.broadcast_arrays(*_vectors(gradient=gradient, lipschitz=lipschitz))
        _require_finite(gradient=gradient)
        _require_constants(lipschitz)
        self._gradient_scale, self._lipschitz_scale = self._scale(gradient), self._scale(lipschitz)
        self.gradient, self.lipschitz = gradient / self._gradient_scale, lipschitz / self._lipschitz_scale

    @staticmethod
    def _scale(array: np.ndarray) -> np.ndarray:
        largest = np.abs(array).max(axis=-1, keepdims=True)
        return np.where(largest > 0, largest, 1.0)

    def require_positive(self, bound: np.ndarray) -> None:
        """UnboundedImprovement where the bound's second term vanishes and the gradient does not."""
        unbounded = (bound <= 0) & (self.gradient != 0).any(axis=-1)
        if unbounded.any():
            raise UnboundedImprovement(
                "the guaranteed improvement grows without bound: a gradient component that is not zero has the "
                f"Lipschitz constant 0 (in {int(unbounded.sum())} of {unbounded.size} problems)"
            )

    def result(self, alpha: np.ndarray, guarantee: np.ndarray) -> StepSize:
        """Back to the units of the arguments."""
        with np.errstate(over="ignore"):
            step_sizes = alpha / self._lipschitz_scale
            update = alpha * self.gradient * (self._gradient_scale / self._lipschitz_scale)
            scale = (self._gradient_scale / self._lipschitz_scale * self._gradient_scale)[..., 0]
            guarantee = guarantee * scale
        if not (np.isfinite(update).all() and np.isfinite(guarantee).all() and np.isfinite(step_sizes).all()):
            raise OverflowError("the step is too large for a floating-point number")
        return StepSize(update, step_sizes, guarantee)
