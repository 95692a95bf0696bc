"""Training: R runs act, store and learn in lockstep, are evaluated on the way, and can be stopped at any moment."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
import torch

from paperlib.pave.critic_geometry import NoCurvatureError, NotFiniteError
from paperlib.pave.engine.actor_critic import DIAGNOSTICS
from paperlib.pave.engine.checkpoints import TrainedNetworks, networks_to_bytes
from paperlib.pave.engine.environments import EnvironmentBatch, environment_spec
from paperlib.pave.engine.evaluation import (
    critic_geometry,
    episode_table,
    play_episodes,
    to_environment_units,
    unweighted_losses,
)
from paperlib.pave.engine.machine import use_full_float32
from paperlib.pave.engine.record_contents import final_tables, rounded
from paperlib.pave.engine.replay import ReplayBuffer
from paperlib.pave.engine.sac import SAC
from paperlib.pave.engine.settings import AlgorithmSettings, Coefficients
from paperlib.pave.engine.streams import RandomStreams, derive_seed
from paperlib.pave.engine.td3 import TD3
from paperlib.repro import sealed_file
from paperlib.repro.code_revision import code_revision

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


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingResult:
    """One run: its tables, its networks, and the environment step at which it diverged, if it did.

    Tables: `evaluations` (a row per evaluation: mean return and smoothness, critic geometry at scaled actions, losses),
    `training_episodes` (exploring policy), and for a run that finished those of `record_contents.final_tables`.
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
        self._begin()

    def _begin(self) -> None:
        """The state before the first step."""
        plan = self.plan
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
        with closing(environments):
            self._train(environments, started, progress)
        results = self._results()
        self.seconds = time.perf_counter() - started
        return results

    def _train(self, environments: EnvironmentBatch, started: float, progress: Callable[[int], None]) -> None:
        """Act, store and learn until the last step, or until every run has diverged."""
        plan = self.plan
        observations = environments.reset()
        returns, lengths = np.zeros(environments.runs), np.zeros(environments.runs, dtype=int)
        while self.step < plan.steps and not self._all_diverged():
            self.step += 1
            cut = self.step % plan.checkpoint_every == 0
            actions, result = self.act(environments, observations)
            ended = result.terminated | result.truncated
            self.store(observations, actions, result, ended | cut)
            self.learn()
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

    def act(self, environments: EnvironmentBatch, observations: np.ndarray):
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

    def store(self, observations, actions, result, ended) -> None:
        """Add a step of every run to its replay buffer; `ended` cuts episodes where the environment did not."""
        tensors = (result.rewards, result.next_observations, result.terminated, ended)
        rewards, next_observations, terminated, ended = map(self._tensor, tensors)
        self.replay.add(self._tensor(observations), actions, rewards, next_observations, terminated, ended)

    def learn(self) -> None:
        """The round of updates that is due at this step, if any."""
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
        """A row per healthy run: mean return and smoothness, critic geometry, the last update's losses and others."""
        episodes = self._play("evaluation", self.plan.evaluation_episodes)
        diagnostics = self.agent.diagnostics.cpu().tolist()
        unweighted = unweighted_losses(self.agent.critic, self.replay, self.plan.seeds, self.step)
        for run in self._healthy():
            table = episode_table(episodes[run])
            critic = self.agent.critic.unstack(2 * run)
            geometry = self._or_diverged(run, partial(critic_geometry, critic, episodes[run], action_units="scaled"))
            if geometry is None or self._or_diverged(run, partial(dict, unweighted[run])) is None:
                continue
            self.evaluations.append(
                {"run": run, "step": self.step}
                | {name: float(table[name].mean()) for name in ("return", "smoothness")}
                | geometry
                | dict(zip(DIAGNOSTICS, diagnostics[run], strict=True))
                | unweighted[run]
            )

    def _or_diverged(self, run: int, measure: Callable[[], dict]) -> dict | None:
        """Numbers or tables measured on a run's critic, or None where it has no geometry: then it has diverged here.

        A critic driven far out, where SiLU is a line to rounding, has no curvature left, though its weights are finite.
        """
        try:
            found = measure()
            if all(np.isfinite(_floats(value)).all() for value in found.values()):
                return found
            reason = "what is measured of its critic is not finite"
        except (NoCurvatureError, NotFiniteError, torch.linalg.LinAlgError) as error:
            reason = str(error)
        self.agent.diverged_at[run] = self.step
        seed = self.plan.seeds[run]
        warnings.warn(f"the run of seed {seed} diverged at step {self.step}: {reason}", stacklevel=2)
        return None

    def _results(self) -> list[TrainingResult]:
        episodes = self._play("final evaluation", self.plan.final_episodes)
        finals = {
            run: self._or_diverged(run, partial(final_tables, self._networks(run), episodes[run]))
            for run in self._healthy()
        }
        healthy, diverged_at = set(self._healthy()), self.agent.diverged_at.tolist()
        results = []
        for run, seed in enumerate(self.plan.seeds):
            logs = {"evaluations": self.evaluations, "training_episodes": self.training_episodes}
            tables = {name: rows for name, log in logs.items() if len(rows := _rows_of(run, log))}
            if run not in healthy:
                results.append(TrainingResult(seed, tables, None, diverged_at[run]))
                continue
            networks = self._networks(run)
            tables |= finals[run]
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
            "agent": self.agent.state_dict(),
            "replay": self.replay.state_dict(),
            "streams": self.streams.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "evaluations": self.evaluations,
            "training_episodes": self.training_episodes,
        }
        sealed_file.write(self._checkpoint, self._about(), lambda file: torch.save(state, file))

    def _resume(self) -> None:
        """Go on from the checkpoint, if there is one of this plan, code and machine; another one is set aside."""
        if self._checkpoint is not None:
            sealed_file.read(self._checkpoint, self._about(), self._restore)

    def _about(self) -> dict:
        """What decides the numbers from here on."""
        plan = json.loads(json.dumps(dataclasses.asdict(self.plan)))
        return {"kind": "training", "plan": plan, "code": _code()}

    def _restore(self, file: BinaryIO) -> None:
        state = torch.load(file, map_location="cpu", weights_only=True)
        try:
            self.agent.load_state_dict(state["agent"])
            self.replay.load_state_dict(state["replay"])
            self.streams.load_state_dict(state["streams"])
            self.step, self.seconds = state["step"], state["seconds"]
            self.evaluations, self.training_episodes = state["evaluations"], state["training_episodes"]
        except BaseException:
            self._begin()
            raise


@cache
def _code() -> str:
    return code_revision(sys.modules[__name__])


def _floats(measured: float | pd.DataFrame) -> np.ndarray:
    return measured.select_dtypes("floating").to_numpy() if isinstance(measured, pd.DataFrame) else np.array(measured)


def _rows_of(run: int, rows: list[dict]) -> pd.DataFrame:
    return rounded(pd.DataFrame([{k: v for k, v in row.items() if k != "run"} for row in rows if row["run"] == run]))
