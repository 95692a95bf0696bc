"""What the mixed Hessian costs in the published environments, built or by MPR's difference."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import torch
from torch import Tensor

from paperlib.notebooks.shared.work import Bench
from paperlib.pave.critic_geometry import Critic, mixed_hessian
from paperlib.pave.engine.environments import environment_spec

ENVIRONMENTS = ("pendulum", "reacher", "lunar", "hopper", "walker", "ant")
Loss = Callable[[Critic, Tensor, Tensor, Tensor], Tensor]


def entrywise_hessian(critic: Critic, states: Tensor, actions: Tensor) -> Tensor:
    """The mixed Hessian by d_a d_s separate backward passes, one per entry: what quadratic work would be."""
    rows = [mixed_hessian(critic, states, actions) for _ in range(states.shape[1])]
    return torch.stack([row[:, :, j] for j, row in enumerate(rows)], dim=2)


def cost_per_environment(difference: Loss, exact: Loss) -> pd.DataFrame:
    """For each published environment: dimensions, work of both losses in action gradients, and their ratio."""
    rows = []
    for environment in ENVIRONMENTS:
        spec = environment_spec(environment)
        bench = Bench(spec.observation_dim, spec.action_dim)
        work = {"difference": bench.loss_work(difference), "exact": bench.loss_work(exact)}
        sizes = {"environment": environment, "d_s": spec.observation_dim, "d_a": spec.action_dim}
        rows.append(sizes | work | {"ratio": work["exact"] / work["difference"]})
    return pd.DataFrame(rows)
