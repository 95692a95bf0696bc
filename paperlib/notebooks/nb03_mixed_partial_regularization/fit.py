"""Critics trained on from the same weights to the same TD targets, with and without MPR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from paperlib.notebooks.shared.fits import Weights, halving_weight, td_targets, train_on
from paperlib.notebooks.shared.transitions import Transitions, replay_transitions
from paperlib.pave.critic_geometry import mixed_hessian
from paperlib.pave.engine.checkpoints import TrainedNetworks
from paperlib.pave.engine.settings import published_coefficients
from paperlib.pave.example_critics import NetworkCritic

_TRAINING_ROWS, _HELD_OUT_ROWS = 500, 250
_EPISODES = 12


@dataclass(frozen=True, eq=False)
class Fits:
    """`table`: one row per weight of MPR, as multiple of the published one: environment, multiple, td, mean_square (of
    ||H_sa||_F, training states), held_out_rms and held_out_sup (of ||H_sa||_F, held-out states)."""

    table: pd.DataFrame

    def multiple_that_halves_the_mean(self) -> float:
        """Smallest multiple with which the mean square on training states is at most half of that without MPR.

        Errors as `halving_weight`.
        """
        multiples = self.table["multiple"].tolist()
        return multiples[halving_weight(multiples, self.table["mean_square"].tolist())]

    def sup_ratio(self, multiple: float) -> float:
        """sup ||H_sa||_F over held-out states with MPR at this multiple, over that without."""
        return float(self._row(multiple)["held_out_sup"] / self._row(0.0)["held_out_sup"])

    def _row(self, multiple: float) -> pd.Series:
        rows = self.table[self.table["multiple"] == multiple]
        if rows.empty:
            raise ValueError(f"no fit with multiple {multiple}; there are {list(self.table['multiple'])}")
        return rows.iloc[0]


def fit_with_mpr(networks: TrainedNetworks, environment: str, multiples: Sequence[float], updates: int) -> Fits:
    """Train copies of the first critic on, one per weight of MPR: `multiples` of the published one (0: plain TD).

    They differ in that weight only; see `paperlib.notebooks.shared.fits`.
    """
    if 0.0 not in multiples:
        raise ValueError(f"multiples must include 0, the critic without MPR; they are {list(multiples)}")
    training = replay_transitions(networks, environment, _TRAINING_ROWS, episodes=_EPISODES)
    held_out = replay_transitions(networks, environment, _HELD_OUT_ROWS, episodes=_EPISODES, first_seed=1000)
    published = published_coefficients("pave", "td3", environment).mpr
    weights = [Weights(mpr=published * multiple) for multiple in multiples]
    critics = train_on(networks, environment, training, weights, updates=updates)
    targets = td_targets(networks, environment, training)
    rows = []
    for multiple, critic in zip(multiples, critics, strict=True):
        seen, unseen = (_frobenius(critic, data) for data in (training, held_out))
        with torch.no_grad():
            errors = critic(training.states, training.actions) - targets
        row = {"environment": environment, "multiple": float(multiple), "td": errors.square().mean().item()}
        row |= {"mean_square": seen.square().mean().item()}
        row |= {"held_out_rms": unseen.square().mean().sqrt().item(), "held_out_sup": unseen.max().item()}
        rows.append(row)
    return Fits(pd.DataFrame(rows))


def _frobenius(critic: NetworkCritic, data: Transitions) -> torch.Tensor:
    return torch.linalg.matrix_norm(mixed_hessian(critic, data.states, data.actions))
