"""Critics that are strongly concave in actions on a box, with their M and mu, and their maximisers by a solver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize


@dataclass(frozen=True, eq=False)
class BoxCritic:
    """Q(s, a) = -a'C a / 2 - (q/4) sum_i a_i^4 + a'(B s + k sin(D s)) for actions in [-1, 1]^m, states in R^n.

    curvature: C (m, m), symmetric and positive definite. quartic: q >= 0. coupling: B (m, n). ripple: k, and waves:
    D (m, n), by which the mixed partials change from state to state.
    """

    curvature: np.ndarray
    coupling: np.ndarray
    waves: np.ndarray
    ripple: float = 0.0
    quartic: float = 0.0

    @property
    def mu(self) -> float:
        """Strong concavity: the smallest eigenvalue of C, as the quartic term only adds to it."""
        return float(np.linalg.eigvalsh(self.curvature)[0])

    @property
    def mixed_bound(self) -> float:
        """M, at least |B + k diag(cos(D s)) D|_2 at every state."""
        return float(np.linalg.norm(self.coupling, 2) + self.ripple * np.linalg.norm(self.waves, 2))

    def action_gradient(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """grad_a Q: states (n_s, n) and actions (n_s, m) to (n_s, m)."""
        driven = states @ self.coupling.T + self.ripple * np.sin(states @ self.waves.T)
        return driven - actions @ self.curvature - self.quartic * actions**3

    def maximisers(self, states: np.ndarray) -> np.ndarray:
        """a*(s) over the box by L-BFGS-B, shape (n_s, m); RuntimeError if the optimality residual exceeds 1e-7."""
        found = np.array([self._maximise(s) for s in states])
        residual = np.abs(projected(self.action_gradient(states, found), found)).max()
        if residual > 1e-7:
            raise RuntimeError(f"the solver left an optimality residual of {residual:.1e}")
        return found

    def _maximise(self, state: np.ndarray) -> np.ndarray:
        driven = self.coupling @ state + self.ripple * np.sin(self.waves @ state)

        def loss(a: np.ndarray) -> tuple[float, np.ndarray]:
            value = 0.5 * a @ self.curvature @ a + 0.25 * self.quartic * (a**4).sum() - driven @ a
            return value, self.curvature @ a + self.quartic * a**3 - driven

        options = {"ftol": 0.0, "gtol": 1e-10, "maxiter": 1000, "maxfun": 5000}
        bounds = [(-1, 1)] * len(driven)
        return minimize(loss, np.zeros(len(driven)), jac=True, method="L-BFGS-B", bounds=bounds, options=options).x


def projected(gradient: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """The gradient's projection on the directions that stay in [-1, 1]^m: components that point out of it are zero."""
    outwards = ((actions >= 1) & (gradient > 0)) | ((actions <= -1) & (gradient < 0))
    return np.where(outwards, 0.0, gradient)


def random_box_critic(
    rng: np.random.Generator, states: int, actions: int, *, ripple: float = 0.0, quartic: float = 0.0, push: float = 1.0
) -> BoxCritic:
    """A critic with curvatures from 0.5 to 4 in random directions; push: |B|, large for maximisers at the border."""
    rotation, _ = np.linalg.qr(rng.standard_normal((actions, actions)))
    coupling, waves = rng.standard_normal((2, actions, states))
    return BoxCritic(
        curvature=rotation @ np.diag(rng.uniform(0.5, 4.0, actions)) @ rotation.T,
        coupling=push * coupling / np.linalg.norm(coupling, 2),
        waves=3.0 * waves / np.linalg.norm(waves, 2),
        ripple=ripple,
        quartic=quartic,
    )


def distances_on_line(cumulative: Callable[[float, np.ndarray], np.ndarray], means: np.ndarray) -> np.ndarray:
    """Kantorovich distances (n - 1,) of neighbouring policies of one action, from their distribution functions.

    cumulative: F(mean, actions). means: (n,).
    """
    actions = np.linspace(-8, 8, 40_001)
    values = [cumulative(mean, actions) for mean in means]
    return np.array([np.trapezoid(np.abs(one - two), actions) for one, two in zip(values, values[1:], strict=False)])
