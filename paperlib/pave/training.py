"""Training: R runs act, store and learn in lockstep, are evaluated on the way, and can be stopped at any moment."""

from __future__ import annotations

import dataclasses
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from paperlib.pave.actor_critic import DIAGNOSTICS
from paperlib.pave.checkpoints import TrainedNetworks, networks_to_bytes
from paperlib.pave.environments import EnvironmentBatch, environment_spec
from paperlib.pave.evaluation import ACTION_UNITS, critic_geometry, episode_table, play_episodes, to_environment_units
from paperlib.pave.machine import use_full_float32
from paperlib.pave.replay import ReplayBuffer
from paperlib.pave.sac import SAC
from paperlib.pave.settings import AlgorithmSettings, Coefficients
from paperlib.pave.streams import RandomStreams, derive_seed
from paperlib.pave.td3 import TD3

CHECKPOINT_FILE = "checkpoint.pt"
AGENTS = {"td3": TD3, "sac": SAC}


@dataclasses.dataclass(frozen=True)
class TrainingPlan:
    """What a batch of runs shares, and the seed and coefficients in which they differ.

    Every `checkpoint_every` environment steps all episodes are cut (as at a time limit), the environments are re-seeded
    and everything is saved: simulators cannot be saved mid-episode, and cutting in all runs alike makes a resumed run
    equal an uninterrupted one.
    """

    environment: str
    settings: AlgorithmSettings
    seeds: tuple[int, ...]
    coefficients: tuple[Coefficients, ...]
    steps: int
    evaluate_every: int
    evaluation_episodes: int
    final_episodes: int
    checkpoint_every: int
    backend: str = "gymnasium"
    device: str = "cpu"
    dtype: str = "float32"
    compiled: bool = False
    captured: bool = False

    def __post_init__(self):
        if len(self.seeds) != len(self.coefficients) or not self.seeds:
            raise ValueError(
                f"{len(self.seeds)} seeds and {len(self.coefficients)} coefficients: a run has one of each"
            )
        for name in ("evaluate_every", "checkpoint_every"):
            if (every := getattr(self, name)) % self.settings.train_freq:
                raise ValueError(f"{name} = {every} is no multiple of train_freq = {self.settings.train_freq}")
        if self.captured and torch.device(self.device).type != "cuda":
            raise ValueError(f"captured = True needs a CUDA device, device is {self.device!r}")
        if self.steps % self.evaluate_every:
            raise ValueError(f"steps = {self.steps} is no multiple of evaluate_every = {self.evaluate_every}")


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """One run: its tables, its networks, and the environment step at which it diverged, if it did.

    Tables: `evaluations` (a row per evaluation: mean return and smoothness, critic geometry at scaled actions, losses),
    `training_episodes` (exploring policy), and for a run that finished `episodes` and `geometry` (final evaluation).
    """

    seed: int
    tables: dict[str, pd.DataFrame]
    networks: bytes | None
    diverged_at_step: int | None


class Trainer:
    """Trains the runs of a plan; with a work folder, from the last checkpoint there."""

    def __init__(self, plan: TrainingPlan, work_folder: Path | None = None):
        self.plan, self.work_folder = plan, work_folder
        self.spec = environment_spec(plan.environment)
        self.device, self.dtype = torch.device(plan.device), getattr(torch, plan.dtype)
        self.streams = RandomStreams(plan.seeds, device=self.device, dtype=self.dtype)
        dims = self.spec.observation_dim, self.spec.action_dim
        agent = AGENTS[plan.settings.algorithm]
        switches = {"compiled": plan.compiled, "captured": plan.captured}
        self.agent = agent(plan.settings, plan.coefficients, *dims, self.streams, **switches)
        capacity = min(plan.settings.buffer_size, plan.steps)
        self.replay = ReplayBuffer(len(plan.seeds), capacity, *dims, device=self.device, dtype=self.dtype)
        self.streams.discard()
        self.step, self.seconds = 0, 0.0
        self.evaluations: list[dict] = []
        self.training_episodes: list[dict] = []

    # --- the loop --------------------------------------------------------------------------------------------

    def run(self, progress: Callable[[int], None] = lambda step: None) -> list[TrainingResult]:
        """Train to the end and return one result per run. `progress` is told the environment step now and then."""
        plan = self.plan
        use_full_float32()
        self._resume()
        progress(self.step)
        started = time.perf_counter() - self.seconds
        environments = EnvironmentBatch(plan.environment, self._environment_seeds(), backend=plan.backend)
        observations = environments.reset()
        returns, lengths = np.zeros(environments.runs), np.zeros(environments.runs, dtype=int)
        while self.step < plan.steps and not self._all_diverged():
            self.step += 1
            cut = self.step % plan.checkpoint_every == 0
            actions, result = self._act(environments, observations)
            ended = result.terminated | result.truncated
            self._store(observations, actions, result, ended | cut)
            self._learn()
            observations = result.observations
            returns += result.rewards
            lengths += 1
            if ended.any():
                self._log_episodes(np.flatnonzero(ended), returns, lengths)
            if self.step % plan.evaluate_every == 0:
                self._evaluate()
                progress(self.step)
            if cut and self.step < plan.steps:
                observations = environments.reset(self._environment_seeds())
                returns[:], lengths[:] = 0, 0
                self.seconds = time.perf_counter() - started
                self._save()
        environments.close()
        results = self._results()
        self.seconds = time.perf_counter() - started
        return results

    def _act(self, environments: EnvironmentBatch, observations: np.ndarray):
        """One environment step of every run: the scaled actions taken, on the device, and what came of them."""
        if self.step <= self.plan.settings.learning_starts:
            uniform = self.streams.uniform("warm-up", self.spec.action_dim).to(self.dtype)
            actions = self.agent.add_exploration_noise(2 * uniform - 1)
        else:
            actions = self.agent.explore(self._tensor(observations))
        # A diverged run goes on with zeros: its record ends where it diverged, and the others must not stop.
        actions = torch.nan_to_num(actions)
        scaled = actions.cpu().numpy()
        return actions, environments.step(to_environment_units(scaled, self.spec.action_low, self.spec.action_high))

    def _store(self, observations, actions, result, ended) -> None:
        tensors = (result.rewards, result.next_observations, result.terminated, ended)
        rewards, next_observations, terminated, ended = map(self._tensor, tensors)
        self.replay.add(self._tensor(observations), actions, rewards, next_observations, terminated, ended)

    def _learn(self) -> None:
        s = self.plan.settings
        if self.step <= s.learning_starts or self.step % s.train_freq:
            return
        self.agent.environment_step.fill_(self.step)
        for _ in range(s.gradient_steps):
            uniforms = self.streams.uniform("minibatch", s.batch_size)
            batch = self.replay.sample(uniforms, previous=self.agent.needs_previous_states)
            self.agent.update(batch, self.agent.draw_noise(batch))

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(array, device=self.device).to(self.dtype)

    def _environment_seeds(self) -> list[int]:
        index = self.step // self.plan.checkpoint_every
        return [derive_seed(seed, "environment", index) for seed in self.plan.seeds]

    # --- records ---------------------------------------------------------------------------------------------

    def _log_episodes(self, ended: np.ndarray, returns: np.ndarray, lengths: np.ndarray) -> None:
        for run in ended:
            row = {"run": int(run), "step": self.step, "return": float(returns[run]), "length": int(lengths[run])}
            self.training_episodes.append(row)
        returns[ended], lengths[ended] = 0, 0

    def _play(self, purpose: str, episodes: int):
        seeds = [[derive_seed(seed, purpose, e) for e in range(episodes)] for seed in self.plan.seeds]
        return play_episodes(
            self.agent.deterministic_actions,
            self.plan.environment,
            seeds,
            backend=self.plan.backend,
            device=self.device,
            dtype=self.dtype,
        )

    def _evaluate(self) -> None:
        """A row per healthy run: mean return and smoothness, critic geometry, the last update's losses."""
        episodes = self._play("evaluation", self.plan.evaluation_episodes)
        diagnostics = self.agent.diagnostics.cpu().tolist()
        for run in self._healthy():
            table = episode_table(episodes[run])
            geometry = critic_geometry(self.agent.critic.unstack(2 * run), episodes[run], action_units="scaled")
            self.evaluations.append(
                {"run": run, "step": self.step}
                | {name: float(table[name].mean()) for name in ("return", "smoothness")}
                | geometry
                | dict(zip(DIAGNOSTICS, diagnostics[run], strict=True))
            )

    def _results(self) -> list[TrainingResult]:
        episodes = self._play("final evaluation", self.plan.final_episodes)
        healthy, diverged_at = set(self._healthy()), self.agent.diverged_at.tolist()
        results = []
        for run, seed in enumerate(self.plan.seeds):
            logs = {"evaluations": self.evaluations, "training_episodes": self.training_episodes}
            tables = {name: rows for name, log in logs.items() if len(rows := _rows_of(run, log))}
            if run not in healthy:
                results.append(TrainingResult(seed, tables, None, diverged_at[run]))
                continue
            networks = self._networks(run)
            tables["episodes"] = episode_table(episodes[run])
            geometry = {u: critic_geometry(networks.critics[0], episodes[run], action_units=u) for u in ACTION_UNITS}
            tables["geometry"] = pd.DataFrame([{"action_units": u} | row for u, row in geometry.items()])
            results.append(TrainingResult(seed, tables, networks_to_bytes(networks), None))
        return results

    def _networks(self, run: int) -> TrainedNetworks:
        critics = (self.agent.critic.unstack(2 * run), self.agent.critic.unstack(2 * run + 1))
        description = {
            "environment": self.plan.environment,
            "algorithm": self.plan.settings.algorithm,
            "seed": self.plan.seeds[run],
            "steps": self.plan.steps,
            "coefficients": dataclasses.asdict(self.plan.coefficients[run]),
        }
        return TrainedNetworks(self.agent.actor.unstack(run), critics, self.spec.action_dim, description)

    def _healthy(self) -> list[int]:
        self.agent.mark_diverged_networks()
        return [run for run, step in enumerate(self.agent.diverged_at.tolist()) if step < 0]

    def _all_diverged(self) -> bool:
        return self.step % self.plan.evaluate_every == 0 and not self._healthy()

    # --- checkpoints -----------------------------------------------------------------------------------------

    @property
    def _checkpoint(self) -> Path | None:
        return self.work_folder / CHECKPOINT_FILE if self.work_folder else None

    def _save(self) -> None:
        """Write the state of all runs, in one piece: a reader finds the old checkpoint or the new one."""
        self.streams.discard()
        if self._checkpoint is None:
            return
        state = {
            "plan": dataclasses.asdict(self.plan),
            "agent": self.agent.state_dict(),
            "replay": self.replay.state_dict(),
            "streams": self.streams.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "evaluations": self.evaluations,
            "training_episodes": self.training_episodes,
        }
        self.work_folder.mkdir(parents=True, exist_ok=True)
        temporary = self._checkpoint.with_suffix(".partial")
        with open(temporary, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._checkpoint)

    def _resume(self) -> None:
        """Go on from the checkpoint, if there is one that can be read and belongs to this plan."""
        if self._checkpoint is None or not self._checkpoint.exists():
            return
        try:
            state = torch.load(self._checkpoint, map_location=self.device, weights_only=True)
        except Exception as error:  # torch raises whatever the damaged bytes lead to
            warnings.warn(f"checkpoint {self._checkpoint} cannot be read ({error}); training starts anew", stacklevel=2)
            return
        if state["plan"] != dataclasses.asdict(self.plan):
            raise ValueError(f"checkpoint {self._checkpoint} belongs to another plan: remove it or use another folder")
        self.agent.load_state_dict(state["agent"])
        self.replay.load_state_dict(state["replay"])
        self.streams.load_state_dict(state["streams"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.evaluations, self.training_episodes = state["evaluations"], state["training_episodes"]


def _rows_of(run: int, rows: list[dict]) -> pd.DataFrame:
    return pd.DataFrame([{k: v for k, v in row.items() if k != "run"} for row in rows if row["run"] == run])
