"""The closed-loop constant on LQG: margins, steps and iterations with it and with the paper's L_P (1 + L_pi)."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pandas as pd

from paperlib.lipschitz.closed_loop import ClosedLoopConstants, closed_loop_on_line
from paperlib.lipschitz.constants import contraction_margin, gradient_norm_lipschitz
from paperlib.lipschitz.simulation.lqg_iterations import exact_iterations
from paperlib.notebooks.nb14_lqg.steps import Cell, Grid, domain_of, table_of

WAY = np.linspace(-0.6, 0.0, 7)
"""Parameters of the margins: starts and optima lie among them."""

_FINE = np.linspace(-0.7, 0.05, 31)


@cache
def _constant(a: float, sigma: float, theta: float) -> float:
    lqg = domain_of((a, 0.9, sigma))
    return float(closed_loop_on_line(lqg.policy(), [theta], lqg.a, lqg.a))


def closed_loop_constants(cell: Cell, theta: np.ndarray) -> ClosedLoopConstants:
    """The policy's constants at theta (n,), with the exact K, which does not know gamma."""
    policy = domain_of(cell).policy().constants(theta[:, None])
    return ClosedLoopConstants.of(policy, [_constant(cell[0], cell[2], float(one)) for one in theta])


def margins(cell: Cell, theta: np.ndarray = WAY) -> pd.DataFrame:
    """theta, and the margins with the paper's constant (`paper`) and with K (`closed_loop`)."""
    mdp, constants = domain_of(cell).constants(), closed_loop_constants(cell, theta)
    paper = contraction_margin(mdp, domain_of(cell).policy().constants(theta[:, None]))
    return pd.DataFrame({"theta": theta, "paper": paper, "closed_loop": contraction_margin(mdp, constants)})


def step_sizes(cell: Cell, theta: np.ndarray, closed_loop: bool = True) -> np.ndarray:
    """Of the Lipschitz rule with K or with the paper's constant, shape (n,); zero without a positive margin."""
    mdp = domain_of(cell).constants()
    constants = domain_of(cell).policy().constants(theta[:, None])
    if closed_loop:
        constants = closed_loop_constants(cell, theta)
    can = contraction_margin(mdp, constants) > 0
    sizes = np.zeros(len(theta))
    sizes[can] = 1 / gradient_norm_lipschitz(mdp, constants.of_batch(can))
    return sizes


def gains(cell: Cell) -> np.ndarray:
    """The step with K over the paper's at the parameters of `WAY` where the paper's exists."""
    ours, paper = step_sizes(cell, WAY), step_sizes(cell, WAY, closed_loop=False)
    return ours[paper > 0] / paper[paper > 0]


def iterations_from_zero(cell: Cell) -> dict[str, int]:
    """Updates with the exact gradient from theta = 0 to within 0.01 of the optimum (-1: never), by way to step."""
    table = table_of(cell, "sss_slc")
    sizes = np.interp(table.parameters, _FINE, step_sizes(cell, _FINE), left=0, right=0)
    return {
        "with K": exact_iterations(dataclasses.replace(table, step_sizes=sizes), 0.0),
        "paper": exact_iterations(table, 0.0, limit=10_000_000),
        "AGSS": exact_iterations(table_of(cell, "agss"), 0.0),
    }


def beyond(grid: Grid) -> pd.DataFrame:
    """A row per cell: the cell, its optimum, the smallest margins on the way, and iterations from zero."""
    rows = []
    for cell in grid:
        found = margins(cell)
        rows.append(
            dict(zip(("A", "gamma", "sigma"), cell, strict=True))
            | {"optimum": table_of(cell, "agss").optimum}
            | {"margin, paper": found["paper"].min(), "margin, K": found["closed_loop"].min()}
            | {f"iterations, {name}": n for name, n in iterations_from_zero(cell).items()}
        )
    return pd.DataFrame(rows)
