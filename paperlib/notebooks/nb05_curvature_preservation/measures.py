"""What the curvature loss says about one action Hessian: expectations over probes are exact sums, not samples.

Hessians are (n, d, d), symmetric, float64; probes (p, d). The loss is E_v max(0, v'Hv + delta) (PAVE, Curv). Functions
that measure a formula take it as an argument, so that a wrong one can be handed in.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

PROBES = ("Rademacher", "Gaussian", "sphere", "top eigenvector")

QuadraticForm = Callable[[Tensor, Tensor], Tensor]
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


def hinge_of_trace(hessians: Tensor, delta: float) -> Tensor:
    """max(0, tr H + delta), (n,)."""
    return (_traces(hessians) + delta).clamp_min(0)


def random_hessians(count: int, d: int, *, seed: int) -> Tensor:
    """Symmetric matrices with Gaussian entries and spectral norms uniform in [1, 10], (count, d, d)."""
    generator = torch.Generator().manual_seed(seed)
    entries = torch.randn(count, d, d, generator=generator, dtype=torch.float64)
    symmetric = entries + entries.mT
    norms = 1 + 9 * torch.rand(count, 1, 1, generator=generator, dtype=torch.float64)
    return symmetric * norms / torch.linalg.matrix_norm(symmetric, ord=2)[:, None, None]


def hutchinson_error(hessians: Tensor, form: QuadraticForm = quadratic_form) -> float:
    """Largest |mean over all sign vectors of form(H, v) - tr H| / |tr H| (Hutchinson)."""
    traces = _traces(hessians)
    means = form(hessians, sign_vectors(hessians.shape[-1])).mean(1)
    return ((means - traces) / traces).abs().max().item()


def jensen_gap(hessians: Tensor, delta: float, loss: ExpectedLoss = expected_hinge) -> Tensor:
    """loss(H) - max(0, tr H + delta), (n,): never below zero, by Jensen's inequality."""
    return loss(hessians, delta) - hinge_of_trace(hessians, delta)


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


def count_violations(
    batches: Sequence[Tensor],
    delta: float,
    violated: Callable[[Tensor, float], Tensor],
    loss: ExpectedLoss = expected_hinge,
) -> dict[str, int]:
    """{cases: Hessians of the batches with zero loss, failures: those of them for which violated(H, delta) is true}."""
    zero = [batch[loss(batch, delta) == 0] for batch in batches]
    failures = sum(int(violated(batch, delta).sum()) for batch in zero if len(batch))
    return {"cases": sum(map(len, zero)), "failures": failures}


def violation_shares(batches: Sequence[Tensor], delta: float) -> pd.DataFrame:
    """Per batch: number of actions, of zero-loss Hessians, and the shares of these with lambda_max > -delta and > 0."""
    rows = []
    for batch in batches:
        curved, rising = (
            count_violations([batch], delta, test) for test in (exceeds_curvature_bound, has_ascent_direction)
        )
        rows.append(
            {
                "actions": batch.shape[-1],
                "zero-loss Hessians": curved["cases"],
                "lambda_max > -delta": curved["failures"] / curved["cases"],
                "lambda_max > 0": rising["failures"] / rising["cases"],
            }
        )
    return pd.DataFrame(rows)


def exceeds_curvature_bound(hessians: Tensor, delta: float) -> Tensor:
    """Whether lambda_max(H) > -delta, the bound the paper says is enforced, (n,)."""
    return torch.linalg.eigvalsh(hessians)[:, -1] > -delta


def exceeds_trace_bound(hessians: Tensor, delta: float) -> Tensor:
    """Whether tr H > -delta, which zero loss does exclude, (n,). With one action the trace is H itself."""
    return _traces(hessians) > -delta


def has_ascent_direction(hessians: Tensor, delta: float) -> Tensor:
    """Whether lambda_max(H) > 0, (n,); `delta` plays no part."""
    return torch.linalg.eigvalsh(hessians)[:, -1] > 0


def condition_numbers(hessians: Tensor) -> Tensor:
    """Largest over smallest |eigenvalue| of each Hessian, (n,)."""
    sizes = torch.linalg.eigvalsh(hessians).abs()
    return sizes.amax(1) / sizes.amin(1)


def loss_of_turned(eigenvalues: tuple[float, float], delta: float, angles: np.ndarray) -> np.ndarray:
    """Loss of the 2 x 2 Hessian with these eigenvalues, its basis turned by each of `angles`, (angles,)."""
    c, s = torch.cos(torch.as_tensor(angles)), torch.sin(torch.as_tensor(angles))
    turn = torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1).double()
    return expected_hinge(turn @ torch.diag(torch.tensor(eigenvalues).double()) @ turn.mT, delta).numpy()


# Variances of the probes


def rademacher_variance(hessians: Tensor) -> Tensor:
    """Var v'Hv = 2 sum_{i != j} H_ij^2 for sign vectors, (n,)."""
    diagonal = torch.diagonal(hessians, dim1=-2, dim2=-1)
    return 2 * (hessians.square().sum((1, 2)) - diagonal.square().sum(1))


def gaussian_variance(hessians: Tensor) -> Tensor:
    """Var v'Hv = 2 ||H||_F^2 for standard normal v, (n,)."""
    return 2 * hessians.square().sum((1, 2))


def sphere_variance(hessians: Tensor) -> Tensor:
    """Var v'Hv = 2 (d ||H||_F^2 - (tr H)^2) / (d + 2) for v uniform on the sphere of radius sqrt(d), (n,)."""
    d = hessians.shape[-1]
    return 2 * (d * hessians.square().sum((1, 2)) - _traces(hessians).square()) / (d + 2)


def variance_errors(
    hessians: Tensor,
    *,
    rademacher: Callable[[Tensor], Tensor] = rademacher_variance,
    gaussian: Callable[[Tensor], Tensor] = gaussian_variance,
    sphere: Callable[[Tensor], Tensor] = sphere_variance,
) -> dict[str, float]:
    """Largest relative error of each formula against an exact sum over nodes.

    Sign vectors are enumerated. Normal moments come from three Gauss-Hermite nodes per dimension, exact for the
    fourth-degree (v'Hv)^2. Uniform directions u = g/|g| follow from E (g'Hg)^2 = E|g|^4 E (u'Hu)^2, E|g|^4 = d(d + 2).
    """
    d = hessians.shape[-1]
    traces = _traces(hessians)
    signs = quadratic_form(hessians, sign_vectors(d)).square().mean(1) - traces.square()
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    points = torch.tensor(list(itertools.product(nodes, repeat=d)), dtype=torch.float64)
    share = torch.tensor([math.prod(w) for w in itertools.product(weights / weights.sum(), repeat=d)])
    fourth = (quadratic_form(hessians, points).square() * share).sum(1)
    exact = {"rademacher": signs, "gaussian": fourth - traces.square()}
    exact["sphere"] = fourth * d / (d + 2) - traces.square()
    formulas = {"rademacher": rademacher, "gaussian": gaussian, "sphere": sphere}
    return {name: ((f(hessians) - exact[name]) / exact[name]).abs().max().item() for name, f in formulas.items()}


# Probes that see every direction (an extension of ours)


def draw_probes(kind: str, hessians: Tensor, generator: torch.Generator) -> Tensor:
    """One probe of squared length d (in the mean, for Gaussian ones) per Hessian, (n, d); kind from PROBES."""
    n, d, _ = hessians.shape
    if kind == "Rademacher":
        return torch.randint(0, 2, (n, d), generator=generator).double() * 2 - 1
    if kind == "top eigenvector":
        return math.sqrt(d) * torch.linalg.eigh(hessians).eigenvectors[:, :, -1]
    if kind not in PROBES:
        raise ValueError(f"no probe {kind!r}; choose one of {', '.join(PROBES)}")
    normal = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return normal if kind == "Gaussian" else math.sqrt(d) * normal / normal.norm(dim=1, keepdim=True)


def products_per_probe(kind: str, d: int) -> int:
    """Hessian-vector products one probe costs: d for the top eigenvector, which needs the whole Hessian, else one."""
    return d if kind == "top eigenvector" else 1


def descend_on_hessians(kind: str, hessians: Tensor, delta: float, *, products: int, rate: float) -> pd.DataFrame:
    """Follow the loss downhill in H itself, one probe a step: H <- H - rate vv' wherever v'Hv > -delta.

    Returns columns probe, products (Hessian-vector products spent per Hessian), negative_definite (share of the batch
    with lambda_max < 0) and largest_eigenvalue (its mean).
    """
    _check(hessians, delta)
    generator, cost = torch.Generator().manual_seed(0), products_per_probe(kind, hessians.shape[-1])
    rows = []
    for step in range(products // cost + 1):
        largest = torch.linalg.eigvalsh(hessians)[:, -1]
        rows.append((kind, step * cost, (largest < 0).double().mean().item(), largest.mean().item()))
        probes = draw_probes(kind, hessians, generator)
        active = torch.einsum("ni,nij,nj->n", probes, hessians, probes) > -delta
        hessians = hessians - rate * active[:, None, None] * probes[:, :, None] * probes[:, None, :]
    return pd.DataFrame(rows, columns=["probe", "products", "negative_definite", "largest_eigenvalue"])


def _traces(hessians: Tensor) -> Tensor:
    return torch.diagonal(hessians, dim1=-2, dim2=-1).sum(1)


def _check(hessians: Tensor, delta: float) -> None:
    if hessians.ndim != 3 or hessians.shape[1] != hessians.shape[2] or 0 in hessians.shape:
        raise ValueError(f"hessians must have shape (n, d, d), got {tuple(hessians.shape)}")
    if not torch.allclose(hessians, hessians.mT):
        raise ValueError("hessians must be symmetric")
    if not (math.isfinite(delta) and delta > 0):
        raise ValueError(f"delta must be a finite number above 0, is {delta}")
