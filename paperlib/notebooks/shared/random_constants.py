"""Constants of MDPs and policies drawn at random, for statements about the formulas alone."""

from __future__ import annotations

import numpy as np

from paperlib.lipschitz.constants import MDPConstants, PolicyConstants
from paperlib.notebooks.shared.symbols import Symbols

POSITIVE_MARGIN = (1e-3, 1 - 1e-4)


def draw_constants(
    generator: np.random.Generator, products: tuple[float, float] = POSITIVE_MARGIN
) -> tuple[MDPConstants, PolicyConstants]:
    """Constants of one to four parameters over four decades, gamma L_P (1 + L_pi) uniform in `products`.

    Above 1 the margin is negative.
    """
    d, discount = int(generator.integers(1, 5)), generator.uniform(0.05, 0.99)
    state, parameters, reward, bound = 10 ** generator.uniform(-2, 2, size=4)
    transition = generator.uniform(*products) / (discount * (1 + state))
    scores = 10 ** generator.uniform(-2, 2, size=(3, d))
    return MDPConstants(transition, reward, bound, discount), PolicyConstants(state, parameters, *scores)


def random_constants(count: int, *, seed: int, products: tuple[float, float] = POSITIVE_MARGIN) -> list[Symbols]:
    """As many such constants."""
    generator = np.random.default_rng(seed)
    return [Symbols.of(*draw_constants(generator, products)) for _ in range(count)]
