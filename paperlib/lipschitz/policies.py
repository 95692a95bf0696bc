"""Gaussian policies that are linear in features, over a box of states, and their Lipschitz constants.

The policy is N(Theta phi(s), sigma^2 I) with one action or several, each bounded. Its constants are suprema over the
state box. Where the features are affine they are attained at corners and computed exactly; otherwise the box is cut
into cells, and the error of linear interpolation inside a cell, h^2/8 times the largest second derivative summed over
the coordinates, is added to the largest corner value: an upper bound with an error of second order in the cells.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from paperlib.lipschitz import restricted_normal
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
    """N(Theta phi(s), sigma^2 I) over a box of n state coordinates, restricted to a box of actions.

    Theta is (m, d) for m actions and d features; parameters are its rows, one after the other, (m d,). The actions are
    independent: each is a normal number restricted to its own limits.

    features: phi. standard_deviation: sigma, before the restriction. state_low, state_high: shape (n,). action_low,
    action_high: numbers for a scalar action, shape (m,) for a vector of m. state_metric: W (n, n), where states are
    measured by |W (s - s')|_2 instead of |s - s'|_2. cells: per coordinate of the box, by default one if the features
    are affine and 32 if they are not.

    ValueError on limits that are not finite or the wrong way round, a deviation that is not positive and finite, a
    singular metric, or cells that are not a positive integer.
    """

    features: SeparableFeatures
    standard_deviation: float
    state_low: ArrayLike
    state_high: ArrayLike
    action_low: ArrayLike
    action_high: ArrayLike
    state_metric: ArrayLike | None = None
    cells: int | None = None

    def __post_init__(self):
        n = self.features.state_dimension
        object.__setattr__(self, "state_low", _limits("state_low", self.state_low, (n,)))
        object.__setattr__(self, "state_high", _limits("state_high", self.state_high, (n,)))
        if not self._has_scalar_action:
            shape = (max(np.size(self.action_low), np.size(self.action_high)),)
            object.__setattr__(self, "action_low", _limits("action_low", self.action_low, shape))
            object.__setattr__(self, "action_high", _limits("action_high", self.action_high, shape))
        for low, high in ((self.state_low, self.state_high), self._action_limits):
            if not (np.isfinite(low).all() and np.isfinite(high).all()):
                raise ValueError("limits of states and actions must be finite")
            if not np.less(low, high).all():
                raise ValueError("every lower limit of states and actions must be below its upper limit")
        if not (np.isfinite(self.standard_deviation) and self.standard_deviation > 0):
            raise ValueError(f"standard_deviation must be positive and finite, is {self.standard_deviation}")
        if self.cells is not None and not (isinstance(self.cells, int) and self.cells > 0):
            raise ValueError(f"cells must be a positive integer, is {self.cells}")
        metric = np.eye(n) if self.state_metric is None else np.array(self.state_metric, dtype=float)
        if metric.shape != (n, n) or np.linalg.matrix_rank(metric) < n:
            raise ValueError(f"state_metric must be an invertible ({n}, {n}) matrix")
        object.__setattr__(self, "state_metric", metric)

    @property
    def _has_scalar_action(self) -> bool:
        return np.ndim(self.action_low) == 0 and np.ndim(self.action_high) == 0

    @property
    def _action_limits(self) -> tuple[np.ndarray, np.ndarray]:
        """Shapes (m,), also of a scalar action."""
        low, high = (np.atleast_1d(np.asarray(x, dtype=float)) for x in (self.action_low, self.action_high))
        return low, high

    @property
    def action_dimension(self) -> int:
        """m, 1 for a scalar action."""
        return len(self._action_limits[0])

    @property
    def parameter_dimension(self) -> int:
        """m d, how many parameters there are."""
        return self.action_dimension * self.features.dimension

    @property
    def largest_feature(self) -> float:
        """M_phi of equation (23), the largest absolute value of a feature."""
        return float(self._table.feature.max())

    def draw(self, theta: ArrayLike, states: ArrayLike, generator: np.random.Generator) -> np.ndarray:
        """Actions (..., m), of a scalar action (...), in states (..., n) for parameters (..., m d)."""
        mean = self._means(theta, states)
        z, sigma = generator.standard_normal(mean.shape), self.standard_deviation
        drawn = [restricted_normal.draw(mean[..., [k]], z[..., [k]], sigma, *at) for k, at in self._each_action()]
        actions = np.concatenate(drawn, axis=-1)
        return actions[..., 0] if self._has_scalar_action else actions

    def score(self, theta: ArrayLike, states: ArrayLike, actions: ArrayLike) -> np.ndarray:
        """grad_theta log pi^theta(a|s), whose component ki is (a_k - E a_k) phi_i / sigma^2: shape (..., m d).

        The other arguments are those of `draw`, actions what it returns.
        """
        mean, sigma = self._means(theta, states), self.standard_deviation
        offsets = [restricted_normal.mean_offset(mean[..., [k]], sigma, *at) for k, at in self._each_action()]
        average = mean + np.concatenate(offsets, axis=-1)
        actions = np.asarray(actions, dtype=float)
        away = (actions[..., None] if self._has_scalar_action else actions) - average
        score = away[..., None] * self.features.value(states)[..., None, :] / sigma**2
        return score.reshape(*score.shape[:-2], self.parameter_dimension)

    def _each_action(self) -> list[tuple[int, tuple[float, float]]]:
        """Number and limits of every action."""
        return list(enumerate(zip(*self._action_limits, strict=True)))

    def _means(self, theta: ArrayLike, states: ArrayLike) -> np.ndarray:
        """Theta phi(s) before the restriction, shape (..., m)."""
        theta = self._checked(theta)
        matrix = theta.reshape(*theta.shape[:-1], self.action_dimension, self.features.dimension)
        return (matrix * self.features.value(states)[..., None, :]).sum(axis=-1)

    def _checked(self, theta: ArrayLike) -> np.ndarray:
        theta = np.asarray(theta, dtype=float)
        if theta.ndim == 0 or theta.shape[-1] != self.parameter_dimension:
            given = f"has {theta.shape[-1]} components" if theta.ndim else "is a number"
            sizes = f"{self.features.dimension} features for each of {self.action_dimension} actions"
            raise ValueError(f"theta {given}, there are {sizes}")
        if not np.isfinite(theta).all():
            raise ValueError("theta must be finite")
        return theta

    def constants(self, theta: ArrayLike) -> PolicyConstants:
        """The constants of Assumptions 2 and 3 for parameters theta (..., m d).

        With theta_k the k-th row of Theta: L_{pi^theta} = sup |Theta J_phi|_2 (spectral norm), L_pi(theta) = sup |phi|,
        and of the parameter of action k and feature i M^ki = D_k sup |phi_i| / sigma^2 with
        D_k = sup |a_k - theta_k'phi|, L^ki_{grad log pi^theta} = max(sup |phi_i|, sup |(a_k - theta_k'phi) grad phi_i -
        phi_i J_phi' theta_k|) / sigma^2, L^ki_{grad log pi}(theta) = sup |phi_i| |phi| / sigma^2.

        Notebook 10 derives them for one action. Of several, measured by their Euclidean distance: the same uniform
        numbers drive the quantiles of both policies; each quantile moves with its mean by a share of it, in [0, 1], so
        the actions are no farther apart than |Theta phi(s) - Theta phi(s')|_2, which is at most
        sup |Theta J_phi|_2 |s - s'|_2, and |(Theta - Theta') phi|_2 <= |Theta - Theta'|_F |phi|_2. The score of
        parameter ki is that of a scalar action with parameters theta_k; its slope in the other actions is zero.

        They bound the score (a_k - theta_k'phi) phi_i / sigma^2 of the normal distribution at admissible actions. The
        restricted one has E a_k in place of theta_k'phi, which moves with theta_k'phi by a share of it: M^ki and the
        two constants over parameters bound that score too. L^ki_{grad log pi^theta} does where the features are 1 and
        coordinates of the state, and limits are symmetric about zero; where they are lopsided it can be exceeded by
        some per cent.
        """
        theta = self._checked(theta)
        batch, m = theta.shape[:-1], self.action_dimension
        rows = theta.reshape(-1, self.features.dimension)
        table, variance = self._table, self.standard_deviation**2
        slope = self._mean_slope(rows)
        deviation = self._largest_deviation(rows)
        over_states = self._score_slope(rows, slope, deviation)
        state = slope if m == 1 else self._joint_slope(rows.reshape(-1, m, self.features.dimension))
        return PolicyConstants(
            state=state.reshape(batch),
            parameters=np.full(batch, table.feature_norm),
            score_bound=(deviation[:, None] * table.feature / variance).reshape(theta.shape),
            score_state_action=(np.maximum(table.feature, over_states) / variance).reshape(theta.shape),
            score_parameters=np.broadcast_to(np.tile(table.feature_times_norm / variance, m), theta.shape),
        )

    def _mean_slope(self, theta: np.ndarray) -> np.ndarray:
        """sup |J_phi' theta| of rows (N, d), shape (N,)."""
        t = self._table
        return np.sqrt(_squared_slope(theta, t.gram).max(axis=1)) + np.abs(theta) @ (t.weights @ t.gradient_twice)

    def _joint_slope(self, theta: np.ndarray) -> np.ndarray:
        """sup |Theta J_phi|_2 of matrices (R, m, d), shape (R,)."""
        t = self._table
        on_corners = np.linalg.norm(np.einsum("rmd,gdn->rgmn", theta, t.jacobian), ord=2, axis=(2, 3)).max(axis=1)
        return on_corners + np.linalg.norm(theta, axis=1) @ (t.weights @ t.gradient_twice)

    def _row_limits(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Limits of the action that each of the rows (N, d) decides, shapes (N,)."""
        low, high = (np.tile(limit, len(theta) // self.action_dimension) for limit in self._action_limits)
        return low, high

    def _largest_deviation(self, theta: np.ndarray) -> np.ndarray:
        """sup |a - theta'phi(s)| of rows (N, d), shape (N,)."""
        t = self._table
        mean = theta @ t.value.T
        slack = np.abs(theta) @ (t.weights @ t.feature_twice)
        low, high = self._row_limits(theta)
        above = high - mean.min(axis=1)
        below = mean.max(axis=1) - low
        return np.maximum(above, below) + slack

    def _score_slope(self, theta: np.ndarray, state: np.ndarray, deviation: np.ndarray) -> np.ndarray:
        """sup over states and actions of |(a - theta'phi) grad phi_i - phi_i J_phi' theta|: rows (N, d) to (N, d).

        Convex in the action, so it is largest at one of the action's limits.
        """
        t, size = self._table, np.abs(theta)
        mean = theta @ t.value.T
        slope_squared = _squared_slope(theta, t.gram)
        largest = np.zeros_like(theta)
        for i in range(theta.shape[1]):
            cross = theta @ (t.value[:, i, None] * t.gram[:, i]).T
            constant = t.value[:, i] ** 2 * slope_squared
            for action in self._row_limits(theta):
                away = action[:, None] - mean
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


def _limits(name: str, values: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.shape not in ((), (1,), shape):
        raise ValueError(f"{name} must be a number or have shape {shape}, has {values.shape}")
    return np.broadcast_to(values, shape)


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
