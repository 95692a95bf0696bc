"""Random gradients and constants on which the step-size rules are tried, and guarantees on them (Section 5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from paperlib.lipschitz.step_sizes import StepSize, improvement_bound

Rule = Callable[[np.ndarray, np.ndarray], StepSize]
Guarantee = Callable[[np.ndarray, np.ndarray], float]


class Candidate(NamedTuple):
    """Absolute values of an update (d,) and the improvement that the bound guarantees for it."""

    size: np.ndarray
    guarantee: float


def random_problem(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A gradient with signs and constants, both spread over orders of magnitude: shapes (d,), d = 1 to 8."""
    d = int(generator.integers(1, 9))
    spread = 10 ** generator.normal(0, 0.5, (2, d))
    return generator.standard_normal(d) * spread[0], generator.random(d) * spread[1] + 1e-3


def problems(number: int, *, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Random gradients and constants, many of them sparse, parallel or tied."""
    generator, made = np.random.default_rng(seed), []
    while len(made) < number:
        g, lipschitz = random_problem(generator)
        kind = len(made) % 5
        if kind == 1:
            lipschitz = np.abs(g) * generator.random() + 1e-9  # parallel
        elif kind == 2:
            g = np.where(generator.random(len(g)) < 0.5, 0.0, g)  # sparse
        elif kind == 3:
            lipschitz = lipschitz * 0 + lipschitz[0]  # ties in the constants
        if (g != 0).any():
            made.append((g, lipschitz))
    return made


def guarantee_of(rule: Rule) -> Guarantee:
    """A rule's guarantee, recomputed from its update by Lemma 8."""
    return lambda g, lipschitz: float(improvement_bound(g, lipschitz, rule(g, lipschitz).update))


def best_along(direction: np.ndarray, g: np.ndarray, lipschitz: np.ndarray) -> Candidate:
    """The best length in a direction (d,) with non-negative components: g'u / (L'u |u|), and what it guarantees."""
    unit = direction / np.linalg.norm(direction)
    length = (g @ unit) / (lipschitz @ unit)
    return Candidate(length * unit, 0.5 * length * (g @ unit))
