"""The published settings on Stable-Baselines3 itself: an independent check of the engine.

The authors trained with Stable-Baselines3 (Raffin et al., JMLR 2021), so its own TD3 and SAC with their settings are
the nearest thing to the released code. The peer's runs start their final episodes where the engine's runs of the same
seed do, and keep the same tables. They are the experiment "peer" of `paperlib train` and `paperlib record`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import gymnasium
import numpy as np
from torch import nn

from paperlib.pave.engine.checkpoints import TrainedNetworks, networks_to_bytes
from paperlib.pave.engine.environments import environment_definition, environment_names, fastest_backend
from paperlib.pave.engine.evaluation import play_episodes
from paperlib.pave.engine.record_contents import NETWORKS_FILE, final_tables
from paperlib.pave.engine.settings import (
    ALGORITHMS,
    AlgorithmSettings,
    Coefficients,
    published_coefficients,
    published_seeds,
    published_settings,
    published_steps,
)
from paperlib.pave.engine.streams import derive_seed
from paperlib.pave.sb3 import with_pave
from paperlib.repro import recording
from paperlib.repro.provenance import provenance
from paperlib.repro.store import Record, RunStore
from paperlib.repro.workers import side_by_side

_SHARED = (
    *("learning_rate", "buffer_size", "learning_starts", "batch_size"),
    *("tau", "gamma", "train_freq", "gradient_steps"),
)


@dataclasses.dataclass(frozen=True)
class PeerRun:
    """One run of the peer with the published settings; `method` is "base" or "pave"."""

    environment: str
    algorithm: str
    method: str
    seed: int
    steps: int
    final_episodes: int = 10

    experiment = "peer"

    @property
    def label(self) -> str:
        """As in "pendulum td3 base, seed 178132"."""
        return f"{self.environment} {self.algorithm} {self.method}, seed {self.seed}"

    def spec(self) -> dict:
        """What names the run in the store."""
        coefficients = published_coefficients(self.method, self.algorithm, self.environment)
        return {
            "experiment": self.experiment,
            "environment": self.environment,
            "method": self.method,
            "seed": self.seed,
            "settings": published_settings(self.algorithm, self.environment).named(),
            "coefficients": coefficients.named(),
            "budget": {"steps": self.steps, "final_episodes": self.final_episodes},
            "trained_by": f"stable-baselines3 {metadata.version('stable-baselines3')}",
        }


def peer_runs() -> list[PeerRun]:
    """Five runs of every environment, algorithm and method at the published budget."""
    return [
        PeerRun(environment, algorithm, method, seed, published_steps(environment))
        for environment in environment_names()
        for algorithm in ALGORITHMS
        for method in ("base", "pave")
        for seed in published_seeds()
    ]


def train_peers(runs: Sequence[PeerRun], store: RunStore, workers: int = 1) -> list[Record]:
    """The records of the runs, in order; those that the store lacks are trained first, `workers` at a time."""
    side_by_side(_train_run, [(run, store) for run in runs], store.root, workers=workers)
    return recording.records_of(runs, store)


def _train_run(run: PeerRun, store: RunStore) -> None:
    with store.claim_missing([run.spec()]) as missing:
        if missing:
            _train_and_save(run, store)


def _train_and_save(run: PeerRun, store: RunStore) -> None:
    started = time.perf_counter()
    networks = train_peer(run.algorithm, run.method, run.environment, run.seed, run.steps)
    starts = [derive_seed(run.seed, "final evaluation", e) for e in range(run.final_episodes)]
    (episodes,) = play_episodes(networks.act, run.environment, [starts], backend=fastest_backend(run.environment))
    seconds = time.perf_counter() - started
    store.save(
        run.spec(),
        final_tables(networks, episodes),
        provenance=provenance("cpu", "float32", 1, seconds, run.steps / seconds),
        files={NETWORKS_FILE: networks_to_bytes(networks)},
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


def report() -> str:
    """How many runs of the peer are recorded."""
    runs = peer_runs()
    recorded = len(runs) - len(recording.not_recorded(runs))
    return f"Stable-Baselines3 with the published settings: {recorded} of {len(runs)} recorded"


CAMPAIGN = recording.Campaign(("peer",), lambda experiment: peer_runs(), train_peers, report)
