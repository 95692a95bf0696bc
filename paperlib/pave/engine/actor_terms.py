"""The actor-side baselines CAPS, GRAD and ASAP: terms added to the actor's loss, as in the published settings.

Every function takes deterministic actions in [-1, 1] of shape (R, B, d_a), and returns one unweighted term per run,
(R,): the mean over batch and action dimensions, as torch.nn.functional.mse_loss takes it. TERMS says to the engine
where a term reads the policy; ASAP's predictor, a network of its own, is the engine's (`actor_critic`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from paperlib.pave.engine.replay import Minibatch

_GRAD_OFFSET = 1e-4  # keeps GRAD's weight finite where two actions coincide


def _half_mse(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return 0.5 * (a - b).square().mean(dim=(1, 2))


def caps_temporal(actions: torch.Tensor, next_actions: torch.Tensor) -> torch.Tensor:
    """CAPS: 0.5 mse(pi(s), pi(s'))."""
    return _half_mse(actions, next_actions)


def caps_spatial(actions: torch.Tensor, noisy_actions: torch.Tensor) -> torch.Tensor:
    """CAPS: 0.5 mse(pi(s), pi(s + e)), e normal."""
    return _half_mse(actions, noisy_actions)


def grad_temporal(
    previous_actions: torch.Tensor, actions: torch.Tensor, next_actions: torch.Tensor, has_previous: torch.Tensor
) -> torch.Tensor:
    """GRAD: second difference of the actions, weighted down where the action moves far in two steps.

    mean(0.5 (2 pi(s) - pi(s') - pi(s_prev))^2 * w), w = tanh((1 / (pi(s') - pi(s_prev) + 1e-4))^2) held constant.
    Rows with has_previous = 0, (R, B), contribute nothing.
    """
    weight = (next_actions - previous_actions + _GRAD_OFFSET).reciprocal().square().tanh().detach()
    curvature = (2 * actions - next_actions - previous_actions).square()
    return (0.5 * curvature * weight * has_previous[..., None]).mean(dim=(1, 2))


def asap_spatial(next_actions: torch.Tensor, target_prediction: torch.Tensor) -> torch.Tensor:
    """ASAP: 0.5 mse(pi(s'), target_predictor(s)), the target held constant."""
    return _half_mse(next_actions, target_prediction.detach())


def asap_predictor(prediction: torch.Tensor, next_actions: torch.Tensor) -> torch.Tensor:
    """ASAP: 0.5 mse(predictor(s), pi(s')), pi(s') held constant."""
    return _half_mse(prediction, next_actions.detach())


Weights = Mapping[str, torch.Tensor]
"""The coefficients by name, (R,) each."""


class ActorTerm(NamedTuple):
    """A term that reads the policy at s, at s' and at one more state.

    weights: the coefficients that make it, by name; it is computed where one of them is not zero.
    at(batch, noise, c): the third state, (R, B, d_s); noise is standard normal, (R, B, d_s), and None unless `noisy`.
    value(c, here, after, there, batch): the weighted term, (R,), from the actions at s, s' and the third state.
    noisy: whether it draws noise. previous: whether it reads the states before s, which the replay buffer then finds.
    """

    weights: tuple[str, ...]
    at: Callable[[Minibatch, torch.Tensor | None, Weights], torch.Tensor]
    value: Callable[[Weights, torch.Tensor, torch.Tensor, torch.Tensor, Minibatch], torch.Tensor]
    noisy: bool = False
    previous: bool = False


TERMS = {
    "caps": ActorTerm(
        weights=("caps_temporal", "caps_spatial"),
        at=lambda batch, noise, c: batch.states + noise * c["caps_sigma"][:, None, None],
        value=lambda c, here, after, near, batch: (
            c["caps_temporal"] * caps_temporal(here, after) + c["caps_spatial"] * caps_spatial(here, near)
        ),
        noisy=True,
    ),
    "grad": ActorTerm(
        weights=("grad_temporal",),
        at=lambda batch, noise, c: batch.previous_states,
        value=lambda c, here, after, before, batch: (
            c["grad_temporal"] * grad_temporal(before, here, after, batch.has_previous)
        ),
        previous=True,
    ),
}
"""By name; a run uses those that its coefficients have weights of."""

_ELSEWHERE = ("pave", "asap", "gp")
"""Names of the terms that are not here."""


def register(name: str, term: ActorTerm) -> None:
    """Make a term of one's own known under a name; its weights are then coefficients like those of CAPS, 0 by default.

    An experiment whose file names the module that calls this (`methods_in`) may use them. ValueError where the name
    stands for another term, or one of its weights belongs to one.
    """
    taken = {weight for other, one in TERMS.items() if other != name for weight in one.weights}
    if name in TERMS or name in _ELSEWHERE or taken.intersection(term.weights):
        raise ValueError(f"the term {name!r}, or one of its weights {', '.join(term.weights)}, is there already")
    TERMS[name] = term
