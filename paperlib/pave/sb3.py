"""PAVE for Stable-Baselines3: its TD3 and SAC, and subclasses of them, with the three losses added to the critic's.

    from paperlib.pave.sb3 import with_pave
    model = with_pave(TD3)("MlpPolicy", "Pendulum-v1", pave=published_coefficients("pave", "td3", "pendulum"),
                           policy_kwargs={"activation_fn": torch.nn.SiLU})

Stable-Baselines3's own `train()` runs unchanged. The gradient of PAVE's losses at its minibatch joins that of the TD
loss before each step of the critic's optimiser.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch

from paperlib.pave.engine.settings import Coefficients, published_coefficients
from paperlib.pave.losses import pave_losses

__all__ = ["Coefficients", "published_coefficients", "with_pave"]


@cache
def with_pave(algorithm: type) -> type:
    """A subclass of `algorithm`, Stable-Baselines3's TD3 or SAC or a subclass of one, that trains with PAVE.

    Its constructor also takes `pave`, the weights lambda_1 to lambda_3 with sigma and delta. The critic needs a smooth
    activation, such as SiLU, and observations that are vectors. Actions in the replay buffer are scaled to [-1, 1], as
    the losses need them. Weights are relative to Stable-Baselines3's TD loss: the sum of two mean squared errors in
    TD3, half of it in SAC, as for the published weights. VFC compares the two states of a sample, which with `n_steps`
    are n steps apart. The terms, unweighted and summed over the critics, are logged as train/pave_mpr, train/pave_vfc
    and train/pave_curv. Save, load, continued training and callbacks work as for the algorithm itself;
    `load(path, pave=weights)` goes on with PAVE from a model saved without it.

    Raises TypeError for other algorithms; the constructor ValueError without weights or for observations that are no
    vectors; training NoCurvatureError for a critic without second derivatives, and RuntimeError if the algorithm's
    train() does not step its critic once per minibatch, which PAVE's gradient relies on.
    """
    from stable_baselines3 import SAC, TD3  # an extra

    if not (isinstance(algorithm, type) and issubclass(algorithm, TD3 | SAC)):
        raise TypeError(f"PAVE needs an actor and a critic Q(s, a): TD3, SAC or a subclass of one, not {algorithm}")

    class WithPave(algorithm):
        """The algorithm with PAVE's critic losses."""

        def __init__(self, *arguments: Any, pave: Coefficients | None = None, **settings: Any):
            self.pave = pave
            super().__init__(*arguments, **settings)

        def _setup_model(self) -> None:
            if self.pave is None:
                raise ValueError("PAVE needs its weights: pass pave=Coefficients(mpr=..., vfc=..., curv=...)")
            if len(self.observation_space.shape or ()) != 1:
                raise ValueError(f"PAVE needs observations that are vectors, and these are {self.observation_space}")
            super()._setup_model()

        def train(self, gradient_steps: int, batch_size: int = 64) -> None:
            """The algorithm's own updates, with PAVE's gradient in each step of the critic."""
            terms: dict[str, list[float]] = defaultdict(list)
            with _pave_in_each_critic_step(self, terms):
                super().train(gradient_steps, batch_size)
            for name, values in terms.items():
                self.logger.record(f"train/pave_{name}", float(np.mean(values)))

    WithPave.__name__ = WithPave.__qualname__ = f"Pave{algorithm.__name__}"
    return WithPave


@contextmanager
def _pave_in_each_critic_step(model: Any, terms: dict[str, list[float]]) -> Iterator[None]:
    """Add PAVE's gradient at the minibatch last drawn to the critic's before its optimiser steps.

    RuntimeError unless every minibatch meets one step of that optimiser: the algorithm would train without PAVE, or
    with another batch than its own.
    """
    sample = model.replay_buffer.sample
    drawn: list[Any] = []

    def remember(*arguments: Any, **settings: Any) -> Any:
        drawn.append(sample(*arguments, **settings))
        return drawn[-1]

    def add_gradient(*_: Any) -> None:
        if len(drawn) != 1:
            raise RuntimeError(f"{len(drawn)} minibatches were drawn for one step of the critic, not one")
        losses = _losses(model, drawn.pop())
        weights = (model.pave.mpr, model.pave.vfc, model.pave.curv)
        penalty = sum(weight * loss for weight, loss in zip(weights, losses.values(), strict=True))
        penalty.backward(inputs=list(model.critic.parameters()))
        for name, loss in losses.items():
            terms[name].append(loss.item())

    model.replay_buffer.sample = remember
    hook = model.critic.optimizer.register_step_pre_hook(add_gradient)
    try:
        yield
        if drawn:
            raise RuntimeError("a minibatch was drawn, but critic.optimizer did not step: PAVE had no part in training")
    finally:
        hook.remove()
        del model.replay_buffer.sample  # the class's own method is in force again


def _plain_networks(critic: Any) -> Any:
    """The critic's networks, whose losses may have a closed form, where it does nothing but pass its inputs to them."""
    from stable_baselines3.common.policies import ContinuousCritic
    from stable_baselines3.common.torch_layers import FlattenExtractor

    plain = type(critic) is ContinuousCritic and type(critic.features_extractor) is FlattenExtractor
    return tuple(critic.q_networks) if plain else critic


def _losses(model: Any, batch: Any) -> dict[str, torch.Tensor]:
    """PAVE's losses at a minibatch, each summed over the critics."""
    # MuJoCo's observations are float64 in the replay buffer; the networks read float32.
    states, next_states = (x.to(batch.actions.dtype) for x in (batch.observations, batch.next_observations))
    losses = pave_losses(
        _plain_networks(model.critic),
        states,
        batch.actions,
        next_states,
        state_noise=model.pave.sigma * torch.randn_like(states),
        probes=torch.randint_like(batch.actions, 2) * 2 - 1,
        delta=model.pave.delta,
    )
    return {name: loss.sum() for name, loss in losses._asdict().items()}
