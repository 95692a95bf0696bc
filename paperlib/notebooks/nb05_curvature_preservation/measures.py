"""What the curvature loss says about one action Hessian: expectations over probes are exact sums, not samples.

Hessians are (n, d, d), symmetric, float64; probes (p, d). The loss is E_v max(0, v'Hv + delta) (PAVE, Curv).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

ExpectedLoss = Callable[[Tensor, float], Tensor]


def sign_vectors(d: int) -> Tensor:
    """All vectors of +-1 in d dimensions, (2^d, d)."""
    if not 1 <= d <= 16:
        raise ValueError(f"d must lie in 1..16 for all 2^d sign vectors to be listed, is {d}")
    return torch.tensor(list(itertools.product((-1.0, 1.0), repeat=d)), dtype=torch.float64)


def quadratic_form(hessians: Tensor, probes: Tensor) -> Tensor:
    """v'Hv for every Hessian and probe, (n, p)."""
    return torch.einsum("pi,nij,pj->np", probes, hessians, probes)


def expected_hinge(hessians: Tensor, delta: float) -> Tensor:
    """The curvature loss of each Hessian, E_v max(0, v'Hv + delta) over all sign vectors, (n,)."""
    _check(hessians, delta)
    return (quadratic_form(hessians, sign_vectors(hessians.shape[-1])) + delta).clamp_min(0).mean(1)


def random_hessians(count: int, d: int, *, seed: int) -> Tensor:
    """Symmetric matrices with Gaussian entries and spectral norms uniform in [1, 10], (count, d, d)."""
    generator = torch.Generator().manual_seed(seed)
    entries = torch.randn(count, d, d, generator=generator, dtype=torch.float64)
    symmetric = entries + entries.mT
    norms = 1 + 9 * torch.rand(count, 1, 1, generator=generator, dtype=torch.float64)
    return symmetric * norms / torch.linalg.matrix_norm(symmetric, ord=2)[:, None, None]


# The zero-loss set


def hessians_near_the_edge(count: int, d: int, delta: float, *, seed: int) -> Tensor:
    """Random Hessians shifted by a multiple of I to either side of zero loss: three quarters inside, one quarter not.

    v'(H - cI)v = v'Hv - cd, so c = (max_v v'Hv + delta) / d is the least shift that lets every sign vector pass. Inside
    an exponential slack is added to it; outside half of delta is left over.
    """
    hessians = random_hessians(count, d, seed=seed)
    slack = 1e-6 + torch.empty(count, dtype=torch.float64).exponential_(
        generator=torch.Generator().manual_seed(seed + 1)
    )
    slack[::4] = -delta / 2
    worst = quadratic_form(hessians, sign_vectors(d)).amax(1)
    shift = (worst + delta + slack) / d
    return hessians - shift[:, None, None] * torch.eye(d, dtype=torch.float64)


def candidates(per_dimension: int, delta: float, *, seed: int) -> list[Tensor]:
    """Batches of Hessians near the edge with one to six actions; the last batch is diag(1, -3) alone."""
    batches = [hessians_near_the_edge(per_dimension, d, delta, seed=seed + d) for d in range(1, 7)]
    return [*batches, torch.diag(torch.tensor([1.0, -3.0], dtype=torch.float64))[None]]


def largest_eigenvalues(hessians: Tensor) -> Tensor:
    """lambda_max of each Hessian, (n,)."""
    return torch.linalg.eigvalsh(hessians)[:, -1]


def count_violations(
    batches: Sequence[Tensor],
    delta: float,
    violated: Callable[[Tensor], Tensor],
    loss: ExpectedLoss = expected_hinge,
) -> dict[str, int]:
    """{cases: Hessians of the batches with zero loss, failures: those of them for which violated(H) is true}."""
    zero = [batch[loss(batch, delta) == 0] for batch in batches]
    failures = sum(int(violated(batch).sum()) for batch in zero if len(batch))
    return {"cases": sum(map(len, zero)), "failures": failures}


def violation_shares(batches: Sequence[Tensor], delta: float) -> pd.DataFrame:
    """Per batch: number of actions, of zero-loss Hessians, and the shares of these with lambda_max > -delta and > 0."""
    rows = []
    for batch in batches:
        counts = [
            count_violations([batch], delta, lambda h, bound=bound: largest_eigenvalues(h) > bound)
            for bound in (-delta, 0.0)
        ]
        curved, rising = (count["failures"] / count["cases"] for count in counts)
        sizes = {"actions": batch.shape[-1], "zero-loss Hessians": counts[0]["cases"]}
        rows.append(sizes | {"lambda_max > -delta": curved, "lambda_max > 0": rising})
    return pd.DataFrame(rows)


def loss_of_turned(eigenvalues: tuple[float, float], delta: float, angles: np.ndarray) -> np.ndarray:
    """Loss of the 2 x 2 Hessian with these eigenvalues, its basis turned by each of `angles`, (angles,)."""
    c, s = torch.cos(torch.as_tensor(angles)), torch.sin(torch.as_tensor(angles))
    turn = torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1).double()
    return expected_hinge(turn @ torch.diag(torch.tensor(eigenvalues).double()) @ turn.mT, delta).numpy()


def _check(hessians: Tensor, delta: float) -> None:
    if hessians.ndim != 3 or hessians.shape[1] != hessians.shape[2] or 0 in hessians.shape:
        raise ValueError(f"hessians must have shape (n, d, d), got {tuple(hessians.shape)}")
    if not torch.allclose(hessians, hessians.mT):
        raise ValueError("hessians must be symmetric")
    if not (math.isfinite(delta) and delta > 0):
        raise ValueError(f"delta must be a finite number above 0, is {delta}")
