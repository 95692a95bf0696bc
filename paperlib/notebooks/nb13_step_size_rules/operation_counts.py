"""How many element operations the step-size rules and the collection of samples need (Table 1; Section 6).

Times depend on the machine; counts do not. An array of class `Counted` counts the elements that every NumPy operation
writes (or reads, for a reduction), so the algorithms below count themselves while they run on real numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.linalg import expm

from paperlib.repro import paths

EPISODES, STEPS = 500, 50
"""Episodes and steps of one gradient estimate on the mass-spring-damper (Section 6.2)."""


class Counted(np.ndarray):
    """An array whose operations add to `Counted.operations`."""

    operations = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        plain = [np.asarray(x) if isinstance(x, Counted) else x for x in inputs]
        options.pop("out", None)
        result = getattr(ufunc, method)(*plain, **options)
        sizes = [np.size(result)] if method == "__call__" else [np.size(x) for x in plain]
        Counted.operations += max(sizes)
        return np.asarray(result).view(Counted)


def counted(function: Callable, *arrays: np.ndarray) -> tuple[int, object]:
    """Element operations of `function(*arrays)`, and what it returns."""
    Counted.operations = 0
    result = function(*(np.asarray(array, dtype=float).view(Counted) for array in arrays))
    return Counted.operations, result


def single_step(g: np.ndarray, lipschitz: np.ndarray) -> np.ndarray:
    """SSS-SLC: the update."""
    return g / np.sqrt(np.add.reduce(lipschitz * lipschitz))


def sorted_steps(g: np.ndarray, lipschitz: np.ndarray) -> np.ndarray:
    """MSS-MLC for positive gradients, by sorting and running sums: the update; d log2 d operations for the sort."""
    ratio = g / lipschitz
    Counted.operations += math.ceil(len(g) * math.log2(max(len(g), 2)))
    order = np.argsort(-np.asarray(ratio))
    p, q = g[order], lipschitz[order]
    gradient, bound, product = (np.add.accumulate(x) for x in (p * p, q * q, p * q))
    discriminant = 9 * product * product - 8 * gradient * bound
    length = 4 * gradient / (3 * product + np.sqrt(np.maximum(discriminant, 0)))
    size = np.sqrt(np.maximum(2 * gradient - product * length, 0))
    value = length * size * ((discriminant >= 0) & (2 * ratio[order] >= length))
    best = int(np.argmax(np.asarray(value)))
    Counted.operations += len(g)
    t, p = float(length[best]), float(size[best])
    return np.maximum(2 * g - t * lipschitz, 0) * (t / p) * (ratio >= ratio[order][best])


def recursive_steps(g: np.ndarray, lipschitz: np.ndarray) -> np.ndarray:
    """MSS-MLC for positive gradients as the prose says: at each of d levels angles and the smallest ratio afresh."""
    best_value, best, remaining = -1.0, None, np.arange(len(g))
    while len(remaining):
        p, q = g[remaining], lipschitz[remaining]
        gradient, bound, product = (float(np.add.reduce(x)) for x in (p * p, q * q, p * q))
        discriminant = 9 * product**2 - 8 * gradient * bound
        ratio = p / q
        smallest = int(np.argmin(np.asarray(ratio)))
        Counted.operations += len(remaining)
        if discriminant >= 0 or len(remaining) == 1:
            length = 4 * gradient / (3 * product + math.sqrt(max(discriminant, 0)))
            size = math.sqrt(max(2 * gradient - product * length, 0))
            if 2 * float(ratio[smallest]) >= length * (1 - 1e-12) and length * size > best_value:
                best_value, best = length * size, (remaining, (2 * p - length * q) * (length / size))
        remaining = np.delete(remaining, smallest)
    update = np.zeros(len(g))
    update[best[0]] = best[1]
    return update


def growth_exponent(function: Callable, low: int, high: int) -> float:
    """The exponent of d in the operations of `function(g, L)` between two dimensions."""
    generator = np.random.default_rng(0)
    counts = [counted(function, *(generator.random((2, d)) + 0.1))[0] for d in (low, high)]
    return math.log(counts[1] / counts[0]) / math.log(high / low)


def operations(function: Callable, d: int) -> int:
    """Operations of `function(g, L)` on a random problem of d parameters."""
    return counted(function, *(np.random.default_rng(0).random((2, d)) + 0.1))[0]


def polynomial_size(degree: int) -> int:
    """Monomials of two variables up to a degree: 3, 21 and 66 for degrees 1, 5 and 10."""
    return (degree + 1) * (degree + 2) // 2


def collect_samples(degree: int, *, wrap=lambda x: x):
    """One gradient estimate on the mass-spring-damper c1, all episodes at once, plain NumPy: shape (d,).

    Features are all monomials of position and velocity up to `degree`; the estimate is GPOMDP without a baseline (the
    optimal baseline would add to the cost). wrap: applied to the arrays that everything is computed from.
    """
    generator, theta = np.random.default_rng(0), np.zeros(polynomial_size(degree))
    flow = expm(0.1 * np.array([[0, 1, 0], [-15 / 0.5, -0.001 / 0.5, 10 / 0.5], [0, 0, 0]]))[:2]
    x, v = wrap(generator.choice([-1.0, 1.0], EPISODES)), wrap(np.zeros(EPISODES))
    scores, estimate = 0.0, 0.0
    for step in range(STEPS):
        powers_x, powers_v = _powers(x, degree), _powers(v, degree)
        phi = [powers_x[i] * powers_v[k - i] for k in range(degree + 1) for i in range(k + 1)]
        mean = sum(weight * feature for weight, feature in zip(theta, phi, strict=True))
        noise = wrap(generator.standard_normal(EPISODES))
        action = np.minimum(np.maximum(mean + 0.5 * noise, -3), 3)
        reward = -np.abs(x - 0.5) - 0.5 * np.abs(action)
        scores = scores + np.stack(phi).view(type(noise)) * (noise / 0.5)
        estimate = estimate + 0.9**step * reward * scores
        x, v = (
            np.minimum(np.maximum(row[0] * x + row[1] * v + row[2] * action, -limit), limit)
            for row, limit in zip(flow, (1, 2), strict=True)
        )
    return estimate.mean(axis=1)


def _powers(x: np.ndarray, degree: int) -> list[np.ndarray]:
    powers = [np.ones_like(x)]
    for _ in range(degree):
        powers.append(powers[-1] * x)
    return powers


def sampling_operations(degree: int) -> int:
    """Operations of `collect_samples` at the paper's size."""
    Counted.operations = 0
    collect_samples(degree, wrap=lambda x: x.view(Counted))
    return Counted.operations


def recorded_times() -> pd.DataFrame:
    """What benchmarks/step_size_speed.py recorded: columns task, d, seconds, a row per round."""
    return pd.read_csv(paths.data_folder() / "results" / "benchmarks" / "step_size_speed.csv")
