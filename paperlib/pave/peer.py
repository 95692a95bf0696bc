"""The published settings on Stable-Baselines3 itself: an independent check of the engine.

The authors trained with Stable-Baselines3 (Raffin et al., JMLR 2021), so its own TD3 and SAC with their settings are
the nearest thing to the released code. The peer's runs are evaluated by the same protocol as the engine's.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from torch import nn

from paperlib.pave.checkpoints import TrainedNetworks
from paperlib.pave.environments import environment_definition
from paperlib.pave.sb3 import with_pave
from paperlib.pave.settings import AlgorithmSettings, Coefficients, published_coefficients, published_settings

_SHARED = (
    *("learning_rate", "buffer_size", "learning_starts", "batch_size"),
    *("tau", "gamma", "train_freq", "gradient_steps"),
)


def train_peer(algorithm: str, method: str, environment: str, seed: int, steps: int) -> TrainedNetworks:
    """The networks of Stable-Baselines3's "td3" or "sac" after `steps` environment steps, with published settings.

    method: "base", the algorithm itself, or "pave", the algorithm with the losses by nested autograd.
    """
    coefficients = published_coefficients(method, algorithm, environment)
    model = peer(published_settings(algorithm, environment), coefficients, environment, seed)
    model.learn(steps)
    description = {"environment": environment, "algorithm": algorithm, "method": method, "seed": seed, "steps": steps}
    return networks_of(model, description | {"trained_by": "stable-baselines3"})


def peer(settings: AlgorithmSettings, coefficients: Coefficients, environment: str, seed: int) -> Any:
    """An untrained Stable-Baselines3 model, SiLU in actor and critics, on the CPU; PAVE's terms are all it can add."""
    import stable_baselines3  # a development dependency

    if coefficients.terms() - {"pave"}:
        raise ValueError(f"the peer has no terms but PAVE's, asked for {', '.join(sorted(coefficients.terms()))}")
    algorithm, added = getattr(stable_baselines3, settings.algorithm.upper()), {}
    if coefficients.terms():
        algorithm, added = with_pave(algorithm), {"pave": coefficients}
    definition = environment_definition(environment)
    task = gymnasium.make(definition.gym_id, **definition.gym_kwargs)
    return algorithm(
        "MlpPolicy",
        task,
        policy_kwargs={"net_arch": list(settings.hidden), "activation_fn": nn.SiLU},
        seed=seed,
        device="cpu",
        **{name: getattr(settings, name) for name in _SHARED},
        **_own_settings(settings, task.action_space.shape[0]),
        **added,
    )


def _own_settings(settings: AlgorithmSettings, action_dim: int) -> dict[str, Any]:
    """What only one of the two algorithms takes."""
    if settings.algorithm == "sac":
        return {"ent_coef": settings.entropy_coefficient}
    from stable_baselines3.common.noise import NormalActionNoise

    return {
        "policy_delay": settings.policy_delay,
        "target_policy_noise": settings.target_policy_noise,
        "target_noise_clip": settings.target_noise_clip,
        "action_noise": NormalActionNoise(np.zeros(action_dim), np.full(action_dim, settings.exploration_noise_std)),
    }


def networks_of(model: Any, description: dict) -> TrainedNetworks:
    """A Stable-Baselines3 model's networks in this library's form: the actor without its tanh, critics of (s, a)."""
    mean = model.actor.mu  # TD3's whole actor with its tanh, SAC's last layer
    actor = mean[:-1] if isinstance(mean, nn.Sequential) else nn.Sequential(*model.actor.latent_pi, mean)
    critics = (model.critic.qf0, model.critic.qf1)
    return TrainedNetworks(actor, critics, model.action_space.shape[0], description)
