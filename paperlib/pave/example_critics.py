"""The critics on which the theory is checked: two with everything known, random networks, and networks from training.

Each is a `torch.nn.Module` called as `critic(states (B, d_s), actions (B, d_a)) -> (B,)`, in float64.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from paperlib.pave.engine.checkpoints import TrainedNetworks, networks_from_bytes
from paperlib.pave.engine.settings import published_settings
from paperlib.repro import paths
from paperlib.repro.store import RunStore

RECORDED_EXPERIMENT = "theory_critics"


class QuadraticCritic(nn.Module):
    """Q(s, a) = -a'Ca/2 + a'Bs + a'b, with C symmetric positive definite: every derivative is constant.

    Args:
        curvature: C, (d_a, d_a). coupling: B, (d_a, d_s). offset: b, (d_a,), zero unless given.
    """

    def __init__(self, curvature: Tensor, coupling: Tensor, offset: Tensor | None = None):
        super().__init__()
        d_a = coupling.shape[0]
        if curvature.shape != (d_a, d_a):
            raise ValueError(f"curvature is {tuple(curvature.shape)}, coupling {tuple(coupling.shape)}: sizes differ")
        if not torch.allclose(curvature, curvature.mT) or torch.linalg.eigvalsh(curvature).min() <= 0:
            raise ValueError("curvature must be symmetric positive definite")
        self.curvature = nn.Parameter(curvature.double())
        self.coupling = nn.Parameter(coupling.double())
        self.offset = nn.Parameter((torch.zeros(d_a) if offset is None else offset).double())

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """Values, (B,)."""
        linear = states @ self.coupling.mT + self.offset
        return (actions * (linear - 0.5 * actions @ self.curvature)).sum(dim=1)

    def maximiser(self, states: Tensor) -> Tensor:
        """a*(s) = C^{-1}(Bs + b), (B, d_a)."""
        return torch.linalg.solve(self.curvature, (states @ self.coupling.mT + self.offset).mT).mT

    def policy_jacobian(self, states: Tensor) -> Tensor:
        """C^{-1}B at every state, (B, d_a, d_s)."""
        return torch.linalg.solve(self.curvature, self.coupling).expand(len(states), -1, -1)


class ConcaveCritic(nn.Module):
    """Q(s, a) = -sum_i (k_i(s) u_i^2 / 2 + c u_i^4 / 4), u = a - m(s): concave, not quadratic, its maximiser known.

    m(s) = 0.8 tanh(Ws) stays inside the box [-1, 1]; the curvature at the maximiser, k(s) = 0.5 + softplus(Vs), depends
    on the state.

    Args:
        d_s, d_a: dimensions. quartic: c >= 0. seed: of the random W and V.
    """

    def __init__(self, d_s: int, d_a: int, *, quartic: float = 1.0, seed: int = 0):
        super().__init__()
        if quartic < 0:
            raise ValueError(f"quartic is {quartic}: below 0 the critic is not concave")
        generator = torch.Generator().manual_seed(seed)
        self.quartic = quartic
        self.location = nn.Parameter(torch.randn(d_a, d_s, generator=generator, dtype=torch.float64) / d_s**0.5)
        self.stiffness = nn.Parameter(torch.randn(d_a, d_s, generator=generator, dtype=torch.float64) / d_s**0.5)

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """Values, (B,)."""
        u = actions - self.maximiser(states)
        return -(0.5 * self.curvatures(states) * u.square() + 0.25 * self.quartic * u.pow(4)).sum(dim=1)

    def maximiser(self, states: Tensor) -> Tensor:
        """a*(s) = m(s), (B, d_a)."""
        return 0.8 * torch.tanh(states @ self.location.mT)

    def curvatures(self, states: Tensor) -> Tensor:
        """k(s), (B, d_a): minus the diagonal action Hessian at the maximiser."""
        return 0.5 + nn.functional.softplus(states @ self.stiffness.mT)

    def policy_jacobian(self, states: Tensor) -> Tensor:
        """dm/ds, (B, d_a, d_s)."""
        return (0.8 - self.maximiser(states).square() / 0.8)[:, :, None] * self.location


class NetworkCritic(nn.Module):
    """A copy of a multilayer perceptron that reads (s, a), as Q(states, actions)."""

    def __init__(self, layers: nn.Sequential):
        super().__init__()
        self.layers = copy.deepcopy(layers).double()

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """Values, (B,)."""
        return self.layers(torch.cat([states, actions], dim=1)).squeeze(1)


def random_network(
    d_s: int, d_a: int, *, hidden: Sequence[int] | None = None, seed: int = 0, activation: type[nn.Module] = nn.SiLU
) -> NetworkCritic:
    """A freshly initialised critic, by default with SiLU and TD3's published hidden layers (400, 300)."""
    hidden = published_settings("td3", "pendulum").hidden if hidden is None else hidden
    widths = [d_s + d_a, *hidden, 1]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for inputs, outputs in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Linear(inputs, outputs), activation()]
    return NetworkCritic(nn.Sequential(*layers[:-1]))


def trained_networks() -> dict[tuple[str, str], TrainedNetworks]:
    """(environment, method) to the networks recorded in data/results/theory_critics: small ones, TD3, Base and PAVE.

    `NetworkCritic(networks.critics[0])` is a critic for the functions of `critic_geometry`. How they were trained:
    data/experiments/theory_critics.yaml; when, with which versions: `record.json` beside each.

    Raises FileNotFoundError where the records are missing or damaged.
    """
    records = list(RunStore(paths.data_folder() / "results", committed=True).records(RECORDED_EXPERIMENT))
    if not records:
        raise FileNotFoundError(f"no records of {RECORDED_EXPERIMENT} in data/results: check them out again")
    return {
        (record.spec["environment"], record.spec["method"]): networks_from_bytes(record.file("networks.pt"))
        for record in records
    }
