"""What of notebook 12 is longer than a cell: functions and policies for examples, and Theorem 3's slack taken apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from paperlib.lipschitz import constants as chain
from paperlib.lipschitz.finite_mdp import lipschitz_over_pairs
from paperlib.notebooks.shared.outcomes import count
from paperlib.notebooks.shared.policy_pair import PolicyPair, change

PRODUCTS: dict[str, tuple[Callable, Callable]] = {
    "x, x": (lambda x: x, lambda x: x),
    "x, |x|": (lambda x: x, np.abs),
    "x, sin x": (lambda x: x, np.sin),
    "sin x, cos x": (np.sin, np.cos),
    "tanh x, tanh x": (np.tanh, np.tanh),
    "tanh x, sin x": (np.tanh, np.sin),
    "clip x, |clip x|": (lambda x: np.clip(x, -1, 1), lambda x: np.abs(np.clip(x, -1, 1))),
    "atan x, sin x": (np.arctan, np.sin),
    "1/(1+x^2), sin x": (lambda x: 1 / (1 + x**2), np.sin),
    "1, x": (lambda x: np.ones_like(x), lambda x: x),
    "exp(-x^2), tanh x": (lambda x: np.exp(-(x**2)), np.tanh),
}
"""Pairs of Lipschitz functions on the real line."""

EXPONENTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "a": lambda a: a,
    "a^2": lambda a: a**2,
    "sin 3a": lambda a: np.sin(3 * a),
    "|a - 1/2|": lambda a: np.abs(a - 0.5),
    "sqrt a": np.sqrt,
    "a^(1/3)": np.cbrt,
    "sqrt |a - 1/2|": lambda a: np.sqrt(np.abs(a - 0.5)),
    "arcsin a": np.arcsin,
}
"""Bounded f on [0, 1] that make policies of density exp(theta f(a)), whose score is f less its mean."""

LIPSCHITZ_EXPONENTS = ("a", "a^2", "sin 3a", "|a - 1/2|")
"""Those with a bounded slope, whose score satisfies Assumption 3."""


def products_without_bound() -> dict[str, int]:
    """Pairs whose product's steepest slope grows with the range of x without bound."""

    def bounded(f, g):
        slopes = []
        for width in (1e2, 1e4):
            x = np.linspace(-width, width, 400_001)
            slopes.append(np.abs(np.diff(f(x) * g(x)) / np.diff(x)).max())
        return bool(slopes[1] < 10 * slopes[0])

    return count(bounded(*functions) for functions in PRODUCTS.values())


def bounded_functions(number: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Points x (60,) of [-1, 1] and two functions there (60,): random piecewise linear ones, and x + 1 twice."""
    generator, x = np.random.default_rng(0), np.linspace(-1, 1, 60)
    for _ in range(number):
        yield x, *generator.standard_normal((2, 60)).cumsum(axis=1)
    yield x, x + 1, x + 1


def slack(p: PolicyPair) -> dict[str, float]:
    """The factors, in decades, from the actual change of the gradient to Theorem 3's bound, in the order of the proof.

    Of the component with the largest ratio. Each stage replaces one actual quantity by its bound; the stages multiply
    up to bound / actual.
    """
    c, constants, grid = p.constants, p.constants.as_library(), (p.mdp.states, p.mdp.actions)
    i = int(np.argmax(change(p.grad_J) / chain.gradient_lipschitz(*constants)))
    moved = np.abs(np.einsum("sa,sa->", p.zeta[0] - p.zeta[1], p.eta[0][..., i]))
    moved += np.abs(np.einsum("sa,sa->", p.zeta[1], (p.eta[0] - p.eta[1])[..., i]))
    score, score_change = p.score[0][..., i], change(p.score)[..., i].max()
    score_size, score_slope = np.abs(score).max(), lipschitz_over_pairs(*grid, score)
    Q_size, Q_slope, Q_change = np.abs(p.Q).max(), lipschitz_over_pairs(*grid, p.Q[0]), change(p.Q).max()

    def lemmas_5_and_6():
        """The product rule, with what the names above hold at the moment."""
        return (Q_size * score_slope + score_size * Q_slope) * joint + Q_size * score_change + score_size * Q_change

    joint = p.K_zeta
    stages = {"actual": change(p.grad_J)[i] * (1 - c.gamma), "triangle inequality (Prop. 2)": moved}
    eta = lipschitz_over_pairs(*grid, p.eta[0])[i] * joint + change(p.eta)[..., i].max()
    stages["worst test function, worst pair"] = eta
    stages["product rule (Lemmas 5, 6)"] = lemmas_5_and_6()
    Q_size = c.R / (1 - c.gamma)
    stages[r"$|Q| \leq R/(1-\gamma)$"] = lemmas_5_and_6()
    joint = float(chain.joint_lipschitz(*constants)) * p.d
    stages[r"joint distance: $L_\zeta$"] = lemmas_5_and_6()
    Q_slope = float(chain.action_value_lipschitz(*constants))
    stages[r"$Q$ over pairs: $L_Q$"] = lemmas_5_and_6()
    Q_change = float(chain.action_value_parameter_lipschitz(*constants)) * p.d
    stages[r"$Q$ over $\theta$: $L_Q(\theta)$"] = lemmas_5_and_6()
    score_change = c.L_score_at_theta[i] * p.d
    stages[r"score over $\theta$"] = lemmas_5_and_6()
    decades = np.diff(np.log10(np.maximum(list(stages.values()), 1e-300)))
    return dict(zip(list(stages)[1:], decades.tolist(), strict=True))
