"""Gaussian policies that are linear in features, over a box of states, and their Lipschitz constants.

The policy is N(theta'phi(s), sigma^2) with a scalar action whose applied values are bounded. Its constants are suprema
over the state box. Where the features are affine they are attained at corners and computed exactly; otherwise the box
is cut into cells, and the error of linear interpolation inside a cell, h^2/8 times the largest second derivative summed
over the coordinates, is added to the largest corner value: an upper bound with an error of second order in the cells.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from paperlib.lipschitz.constants import PolicyConstants

_CELLS_OF_CURVED_FEATURES = 32


class SeparableFeatures(ABC):
    """d features of n state coordinates, each a product of functions of one coordinate."""

    dimension: int
    state_dimension: int
    affine: bool

    @abstractmethod
    def factors(self, states: np.ndarray, order: int) -> np.ndarray:
        """The `order`-th derivative of every factor: states (..., n) to (..., d, n)."""

    @abstractmethod
    def factor_suprema(self, low: np.ndarray, high: np.ndarray, order: int) -> np.ndarray:
        """Largest absolute value of the factors' `order`-th derivatives over the box: shape (d, n)."""

    def value(self, states: ArrayLike) -> np.ndarray:
        """phi(s): states (..., n) to (..., d)."""
        return self.factors(np.asarray(states, dtype=float), 0).prod(axis=-1)

    def jacobian(self, states: ArrayLike) -> np.ndarray:
        """d phi_i / d s_j: states (..., n) to (..., d, n)."""
        states = np.asarray(states, dtype=float)
        plain, derived = self.factors(states, 0), self.factors(states, 1)
        columns = []
        for j in range(self.state_dimension):
            mixed = plain.copy()
            mixed[..., j] = derived[..., j]
            columns.append(mixed.prod(axis=-1))
        return np.stack(columns, axis=-1)

    def suprema(self, low: np.ndarray, high: np.ndarray, orders: Sequence[int] | np.ndarray) -> np.ndarray:
        """Largest absolute partial derivative of orders (n,) of each feature over the box: shape (d,), exact."""
        columns = [self.factor_suprema(low, high, order)[:, j] for j, order in enumerate(orders)]
        return np.prod(columns, axis=0)


class PolynomialFeatures(SeparableFeatures):
    """Monomials: feature i is the product of s_j to the power exponents[i][j]; 1, x, v is ((0, 0), (1, 0), (0, 1))."""

    def __init__(self, exponents: Sequence[Sequence[int]]):
        given = np.array(exponents)
        self.exponents = given.astype(int)
        if self.exponents.ndim != 2 or (self.exponents < 0).any() or (self.exponents != given).any():
            raise ValueError(f"exponents must be one row of non-negative integers per feature, are {exponents}")
        self.dimension, self.state_dimension = self.exponents.shape
        self.affine = bool((self.exponents.sum(axis=1) <= 1).all())

    def factors(self, states: np.ndarray, order: int) -> np.ndarray:
        coefficients, powers = self._derived(order)
        return coefficients * states[..., None, :] ** powers

    def factor_suprema(self, low: np.ndarray, high: np.ndarray, order: int) -> np.ndarray:
        coefficients, powers = self._derived(order)
        return coefficients * np.maximum(np.abs(low), np.abs(high)) ** powers

    def _derived(self, order: int) -> tuple[np.ndarray, np.ndarray]:
        falling = np.prod([self.exponents - k for k in range(order)], axis=0) * np.ones_like(self.exponents)
        return falling, np.maximum(self.exponents - order, 0)


class RadialFeatures(SeparableFeatures):
    """Gaussian densities N(s; centre_i, diag(variances_i)): centres and variances (d, n) (paper, Section 6.3)."""

    affine = False

    def __init__(self, centres: ArrayLike, variances: ArrayLike):
        self.centres, self.variances = np.array(centres, dtype=float), np.array(variances, dtype=float)
        if self.centres.ndim != 2 or self.centres.shape != self.variances.shape:
            raise ValueError(f"centres {self.centres.shape} and variances {self.variances.shape} must both be (d, n)")
        if not (self.variances > 0).all():
            raise ValueError("variances must be positive")
        self.dimension, self.state_dimension = self.centres.shape

    def factors(self, states: np.ndarray, order: int) -> np.ndarray:
        deviation = np.sqrt(self.variances)
        z = (states[..., None, :] - self.centres) / deviation
        return self._standard(z, order) / deviation ** (order + 1)

    def factor_suprema(self, low: np.ndarray, high: np.ndarray, order: int) -> np.ndarray:
        """At the ends of the interval or where the next derivative vanishes."""
        deviation = np.sqrt(self.variances)
        turning = np.polynomial.hermite_e.hermeroots([0] * (order + 1) + [1])
        points = self.centres[..., None] + deviation[..., None] * turning
        points = np.clip(points, low[:, None], high[:, None])  # a turning point outside gives an end
        points = np.concatenate([points, *(np.broadcast_to(e, self.centres.shape)[..., None] for e in (low, high))], -1)
        z = (points - self.centres[..., None]) / deviation[..., None]
        return np.abs(self._standard(z, order)).max(axis=-1) / deviation ** (order + 1)

    @staticmethod
    def _standard(z: np.ndarray, order: int) -> np.ndarray:
        """The `order`-th derivative of the standard normal density."""
        hermite = np.polynomial.hermite_e.hermeval(z, [0] * order + [1])
        return (-1) ** order * hermite * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


@dataclass(frozen=True, eq=False)
class GaussianPolicy:
    """N(theta'phi(s), sigma^2) over a box of n state coordinates, with a bounded scalar action.

    state_low, state_high: shape (n,). state_metric: W (n, n), where states are measured by |W (s - s')|_2 instead of
    |s - s'|_2. cells: per coordinate of the box, one if the features are affine unless given.

    ValueError on limits the wrong way round, a deviation that is not positive, or a singular metric.
    """

    features: SeparableFeatures
    standard_deviation: float
    state_low: ArrayLike
    state_high: ArrayLike
    action_low: float
    action_high: float
    state_metric: ArrayLike | None = None
    cells: int | None = None

    def __post_init__(self):
        n = self.features.state_dimension
        low, high = (np.broadcast_to(np.asarray(x, dtype=float), n) for x in (self.state_low, self.state_high))
        object.__setattr__(self, "state_low", low)
        object.__setattr__(self, "state_high", high)
        if not ((low < high).all() and self.action_low < self.action_high):
            raise ValueError("every lower limit of states and actions must be below its upper limit")
        if not self.standard_deviation > 0:
            raise ValueError(f"standard_deviation must be positive, is {self.standard_deviation}")
        metric = np.eye(n) if self.state_metric is None else np.array(self.state_metric, dtype=float)
        if metric.shape != (n, n) or np.linalg.matrix_rank(metric) < n:
            raise ValueError(f"state_metric must be an invertible ({n}, {n}) matrix")
        object.__setattr__(self, "state_metric", metric)

    @property
    def largest_feature(self) -> float:
        """M_phi of equation (23), the largest absolute value of a feature."""
        return float(self._table.feature.max())

    def constants(self, theta: ArrayLike) -> PolicyConstants:
        """The constants of Assumptions 2 and 3 for parameters theta (..., d).

        L_{pi^theta} = sup |J_phi' theta|, L_pi(theta) = sup |phi|, M^i = D sup |phi_i| / sigma^2 with
        D = sup |a - theta'phi|, L^i_{grad log pi^theta} = max(sup |phi_i|, sup |(a - theta'phi) grad phi_i - phi_i
        J_phi' theta|) / sigma^2, L^i_{grad log pi}(theta) = sup |phi_i| |phi| / sigma^2. They bound the score of the
        policy that is restricted to the admissible actions, (a - E a) phi / sigma^2; notebook 10 derives them.
        """
        theta = np.asarray(theta, dtype=float)
        if theta.shape[-1] != self.features.dimension:
            raise ValueError(f"theta has {theta.shape[-1]} components, there are {self.features.dimension} features")
        flat = theta.reshape(-1, theta.shape[-1])
        table, variance = self._table, self.standard_deviation**2
        state = self._mean_slope(flat)
        deviation = self._largest_deviation(flat)
        over_states = self._score_slope(flat, state, deviation)
        batch = theta.shape[:-1]
        per_component = (*batch, theta.shape[-1])
        return PolicyConstants(
            state=state.reshape(batch),
            parameters=np.full(batch, table.feature_norm),
            score_bound=(deviation[:, None] * table.feature / variance).reshape(per_component),
            score_state_action=(np.maximum(table.feature, over_states) / variance).reshape(per_component),
            score_parameters=np.broadcast_to(table.feature_times_norm / variance, per_component),
        )

    def _mean_slope(self, theta: np.ndarray) -> np.ndarray:
        """sup |J_phi' theta|, shape (R,)."""
        t = self._table
        return np.sqrt(_squared_slope(theta, t.gram).max(axis=1)) + np.abs(theta) @ (t.weights @ t.gradient_twice)

    def _largest_deviation(self, theta: np.ndarray) -> np.ndarray:
        """sup |a - theta'phi(s)|, shape (R,)."""
        t = self._table
        mean = theta @ t.value.T
        slack = np.abs(theta) @ (t.weights @ t.feature_twice)
        above = self.action_high - mean.min(axis=1)
        below = mean.max(axis=1) - self.action_low
        return np.maximum(above, below) + slack

    def _score_slope(self, theta: np.ndarray, state: np.ndarray, deviation: np.ndarray) -> np.ndarray:
        """sup over states and actions of |(a - theta'phi) grad phi_i - phi_i J_phi' theta|, shape (R, d).

        Convex in the action, so it is largest at one of the action's limits.
        """
        t, size = self._table, np.abs(theta)
        mean = theta @ t.value.T
        slope_squared = _squared_slope(theta, t.gram)
        largest = np.zeros_like(theta)
        for i in range(theta.shape[1]):
            cross = theta @ (t.value[:, i, None] * t.gram[:, i]).T
            constant = t.value[:, i] ** 2 * slope_squared
            for action in (self.action_low, self.action_high):
                away = action - mean
                squared = (away * t.gram[:, i, i] - 2 * cross) * away + constant
                largest[:, i] = np.maximum(largest[:, i], squared.max(axis=1))
        curvature = (
            deviation[:, None, None] * t.gradient_twice
            + 2 * (size @ t.feature_once.T)[..., None] * t.gradient_once
            + (size @ t.feature_twice.T)[..., None] * t.gradient
            + state[:, None, None] * t.feature_twice
            + 2 * (size @ t.gradient_once.T)[..., None] * t.feature_once
            + (size @ t.gradient_twice.T)[..., None] * t.feature
        )
        return np.sqrt(np.maximum(largest, 0.0)) + np.einsum("j,rji->ri", t.weights, curvature)

    @cached_property
    def _table(self) -> _BoxTable:
        cells = self.cells or (1 if self.features.affine else _CELLS_OF_CURVED_FEATURES)
        low, high, metric = map(np.asarray, (self.state_low, self.state_high, self.state_metric))
        return _box_table(self.features, low, high, np.linalg.inv(metric), cells)


def _squared_slope(theta: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """|J' theta|^2 at the corners, theta (R, d) and gram (G, d, d) to (R, G): one matrix product."""
    products = theta[:, :, None] * theta[:, None, :]
    return np.maximum(products.reshape(len(theta), -1) @ gram.reshape(len(gram), -1).T, 0.0)


@dataclass(frozen=True, eq=False)
class _BoxTable:
    """Features on the corners of the cells, and bounds over the whole box.

    Of n coordinates j and d features i: value (G, d), jacobian (G, d, n) and gram (G, d, d) of the gradients; weights
    h_j^2/8 (n,); suprema of |phi_i| and |grad phi_i| (d,), and of their first and second derivatives along coordinate j
    (n, d); feature_norm bounds |phi|, feature_times_norm (d,) bounds |phi_i| |phi|.
    """

    value: np.ndarray
    jacobian: np.ndarray
    gram: np.ndarray
    weights: np.ndarray
    feature: np.ndarray
    feature_once: np.ndarray
    feature_twice: np.ndarray
    gradient: np.ndarray
    gradient_once: np.ndarray
    gradient_twice: np.ndarray
    feature_norm: float
    feature_times_norm: np.ndarray


def _box_table(
    features: SeparableFeatures, low: np.ndarray, high: np.ndarray, inverse_metric: np.ndarray, cells: int
) -> _BoxTable:
    n = features.state_dimension
    axes = [np.linspace(low[j], high[j], cells + 1) for j in range(n)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, n)
    value, jacobian = features.value(points), features.jacobian(points) @ inverse_metric
    stretch = np.linalg.norm(inverse_metric, 2)
    unit = np.eye(n, dtype=int)

    def feature(orders: np.ndarray) -> np.ndarray:
        return features.suprema(low, high, orders)

    def gradient(orders: np.ndarray) -> np.ndarray:
        return stretch * np.linalg.norm([feature(orders + unit[k]) for k in range(n)], axis=0)

    once, twice = [feature(unit[j]) for j in range(n)], [feature(2 * unit[j]) for j in range(n)]
    weights, plain = ((high - low) / cells) ** 2 / 8, feature(0 * unit[0])
    norm = np.linalg.norm(value, axis=1).max() + weights @ np.linalg.norm(twice, axis=1)
    norm = min(norm, float(np.linalg.norm(plain)))
    return _BoxTable(
        value=value,
        jacobian=jacobian,
        gram=jacobian @ jacobian.swapaxes(1, 2),
        weights=weights,
        feature=plain,
        feature_once=np.array(once),
        feature_twice=np.array(twice),
        gradient=gradient(0 * unit[0]),
        gradient_once=np.array([gradient(unit[j]) for j in range(n)]),
        gradient_twice=np.array([gradient(2 * unit[j]) for j in range(n)]),
        feature_norm=norm,
        feature_times_norm=_largest_product(value, plain, np.array(once), np.array(twice), weights, norm),
    )


def _largest_product(value, plain, once, twice, weights, norm) -> np.ndarray:
    """sup |phi_i| |phi| (d,): the better of interpolation on the cells and the product of the two suprema."""
    on_corners = (np.abs(value) * np.linalg.norm(value, axis=1, keepdims=True)).max(axis=0)
    size = [np.linalg.norm(array, axis=-1, keepdims=True) for array in (plain, once, twice)]
    curvature = twice * size[0] + 2 * once * size[1] + plain * size[2]
    return np.minimum(on_corners + weights @ curvature, plain * norm)
