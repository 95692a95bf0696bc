"""A link of a proof: an inequality between quantities of a pair of policies, measured as actual over bound."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from paperlib.notebooks.shared.policy_pair import PolicyPair

Side = Callable[[PolicyPair], ArrayLike]

_ROUNDING = 1e-7
"""What moves less counts as not moved: rounding of the linear systems, some 1e-13, would decide its ratio."""


class Link:
    """`Link(actual, bound)`, or a chain `Link(actual, bound, bound of the bound)`: each side is at most the next.

    The sides are functions of a pair; their values are arrays that broadcast against each other, as the inequality
    holds for each component.
    """

    def __init__(self, *sides: Side):
        if len(sides) < 2:
            raise ValueError("an inequality has two sides at least")
        self.sides = sides

    def ratios(self, pair: PolicyPair) -> list[float]:
        """Of each side but the last: the largest component of it over the next side. Above 1 the link is broken."""
        values = [side(pair) for side in self.sides]
        return [_largest_ratio(*both) for both in zip(values[:-1], values[1:], strict=True)]

    def ratio(self, pair: PolicyPair) -> float:
        """The largest of the ratios; 1 where a bound is attained."""
        return max(self.ratios(pair))

    def scaled(self, factor: float, side: int = -1) -> Link:
        """The same with one side, the last if not said, multiplied by a factor: a wrong link."""
        right = self.sides[side]
        sides = list(self.sides)
        sides[side] = lambda pair: factor * np.asarray(right(pair))
        return Link(*sides)


def _largest_ratio(actual: ArrayLike, bound: ArrayLike) -> float:
    """Largest actual / bound over components; infinite where something moves and the bound is not positive."""
    actual, bound = np.broadcast_arrays(np.asarray(actual, dtype=float), np.asarray(bound, dtype=float))
    moves = actual > _ROUNDING
    if not moves.any():
        return 0.0
    actual, bound = actual[moves], bound[moves]
    return float(np.divide(actual, bound, out=np.full(actual.shape, np.inf), where=bound > 0).max())
