"""The six control tasks of the PAVE experiments, and others that Gymnasium knows, stepped in lockstep.

R training runs each own one environment, and all R take a step together. Two backends do the stepping: Gymnasium's
vector API, and EnvPool where it is installed. Both start the next episode inside the step that ends the last one, so
no reset step reaches the caller, and both report the true successor of every action, also at an episode's end.

What is the same and what differs between the backends (checked in ``tests/test_environments.py``):

* Observations, rewards and limits follow the same law. From the same state and actions the MuJoCo tasks agree to
  float64 rounding and Pendulum to float32 rounding; Ant's contacts amplify that rounding within some tens of steps.
* The random streams differ: one seed gives different start states on the two, so the backend is part of what
  determines a run.
* LunarLander's state cannot be set in EnvPool, which has Box2D 2.4 where Gymnasium has 2.3 and divides the terrain's
  running mean by 3 where Gymnasium multiplies by 0.33. Free fall, reward formula and limits agree; contacts are only
  known to agree in distribution.
"""

from __future__ import annotations

import functools
import importlib.util
import operator
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from paperlib.pave.engine.settings import environments as environment_rows

BACKENDS = ("gymnasium", "envpool")

# EnvPool keeps its seeds in 32-bit signed integers; the same range holds for both backends.
SEED_LIMIT = 2**31


@dataclass(frozen=True)
class EnvironmentDefinition:
    """How one task is made by each backend; no `envpool_id` where EnvPool has none of the kind."""

    gym_id: str
    gym_kwargs: Mapping[str, Any]
    envpool_id: str | None


def environment_names() -> tuple[str, ...]:
    """The tasks of data/environments.yaml."""
    return tuple(environment_rows())


def environment_definition(key: str) -> EnvironmentDefinition:
    """How task ``key`` is made: from its row of data/environments.yaml, else as Gymnasium makes the id ``key``.

    Raises:
        KeyError: there is no such row, and Gymnasium has no such id.
    """
    if key not in (known := environment_rows()):
        try:
            return EnvironmentDefinition(gymnasium.spec(key).id, {}, None)
        except (gymnasium.error.Error, ModuleNotFoundError) as error:
            names = ", ".join(known)
            raise KeyError(f"unknown environment {key!r}; known: {names}, and Gymnasium's ids ({error})") from None
    row = known[key]
    return EnvironmentDefinition(row["id"], row.get("kwargs", {}), row.get("envpool"))


@dataclass(frozen=True, eq=False)
class EnvironmentSpec:
    """Sizes and limits of one task, as Gymnasium reports them.

    ``action_low`` and ``action_high`` are read-only float32 arrays of shape ``(action_dim,)`` in environment units.
    """

    key: str
    gym_id: str
    kwargs: Mapping[str, Any]
    observation_dim: int
    action_dim: int
    action_low: np.ndarray
    action_high: np.ndarray
    max_episode_steps: int


class StepResult(NamedTuple):
    """One step of all R runs. The two observation arrays may be the same object: read them, do not write to them."""

    next_observations: np.ndarray
    """(R, d_s) float32: the successor of the action, also at an episode's end."""
    rewards: np.ndarray
    """(R,) float32, as the task defines them."""
    terminated: np.ndarray
    """(R,) bool: the task ended the episode, and the successor has no value."""
    truncated: np.ndarray
    """(R,) bool: the step limit was reached; true beside ``terminated`` where both happen at once."""
    observations: np.ndarray
    """(R, d_s) float32: where each run acts next, the first state of a new episode where the last one ended."""


@functools.cache
def environment_spec(key: str) -> EnvironmentSpec:
    """Sizes and limits of task ``key``, read from Gymnasium once per process.

    Raises:
        KeyError: unknown task.
        ValueError: its observations or actions are no vectors, its actions unbounded, or its episodes without a limit.
    """
    definition = environment_definition(key)
    with warnings.catch_warnings():
        # Box2D's generated bindings warn while they are imported, and crash the process if that warning is an error.
        warnings.filterwarnings("ignore", message="builtin type [sS]wig", category=DeprecationWarning)
        environment = gymnasium.make(definition.gym_id, **definition.gym_kwargs)
    try:
        _require_vectors_and_limits(key, environment)
        (observation_dim,) = environment.observation_space.shape
        (action_dim,) = environment.action_space.shape
        low = environment.action_space.low.astype(np.float32)
        high = environment.action_space.high.astype(np.float32)
        max_episode_steps = environment.spec.max_episode_steps
    finally:
        environment.close()
    low.flags.writeable = False
    high.flags.writeable = False
    return EnvironmentSpec(
        key, definition.gym_id, definition.gym_kwargs, observation_dim, action_dim, low, high, max_episode_steps
    )


def _require_vectors_and_limits(key: str, environment: gymnasium.Env) -> None:
    spaces = {"observations": environment.observation_space, "actions": environment.action_space}
    for name, space in spaces.items():
        if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
            raise ValueError(f"{key}: {name} must be vectors of real numbers, and are {space}")
    if not environment.action_space.is_bounded():
        raise ValueError(f"{key}: actions must be bounded, and are {environment.action_space}")
    if environment.spec is None or environment.spec.max_episode_steps is None:
        raise ValueError(f"{key}: episodes need a limit; register the environment with max_episode_steps")


def fastest_backend(key: str) -> str:
    """The backend that ``auto`` stands for: EnvPool if it is installed and has the task, else Gymnasium.

    Never a timing at run time, because start states depend on the backend. `measure_backends` on two cores: with 5 runs
    EnvPool does 1.2 (Pendulum) to 2.0 (LunarLander, Ant) times the steps of Gymnasium, with 10 runs 1.6 to 2.7. A
    single run gains nothing (0.6 to 1.0): handing work to a thread costs about as much as a step.

    Raises:
        KeyError: unknown task.
    """
    has_task = environment_definition(key).envpool_id is not None
    return "envpool" if has_task and "envpool" in installed_backends() else "gymnasium"


def installed_backends() -> tuple[str, ...]:
    """The members of ``BACKENDS`` that can be used here; Gymnasium always can."""
    return BACKENDS if importlib.util.find_spec("envpool") else ("gymnasium",)


class EnvironmentBatch:
    """R environments of one task, one per training run, that step together.

    What a run sees depends on its own seed and actions only: not on R, on its place in the batch, on the other runs,
    or on the number of threads.

    Args:
        key: a task of the settings file.
        seeds: one integer in [0, 2**31) per run; their number is R.
        backend: ``gymnasium``, ``envpool`` or ``auto`` (see ``fastest_backend``). The one in use is ``self.backend``.
        num_threads: the most threads EnvPool may use, by default as many as this process has cores. Gymnasium's
            backend always steps in the calling thread.

    Raises:
        KeyError: unknown task.
        ValueError: unknown backend, no seeds, a seed out of range, or a thread count below one.
        gymnasium.error.DependencyNotInstalled: the task's simulator (MuJoCo or Box2D) is not installed.
        ModuleNotFoundError: EnvPool is asked for and not installed.
    """

    def __init__(self, key: str, seeds: Sequence[int], *, backend: str = "gymnasium", num_threads: int | None = None):
        self.spec = environment_spec(key)
        self.backend = _resolve_backend(key, backend)
        self._seeds = _checked_seeds(seeds)
        self.runs = len(self._seeds)
        self._started = False
        self._closed = False
        threads = _thread_count(num_threads, self.runs)
        self._stepper: _Stepper = (
            _EnvPoolStepper(self.spec, threads)
            if self.backend == "envpool"
            else _GymnasiumStepper(self.spec, self.runs)
        )

    def reset(self, seeds: Sequence[int] | None = None) -> np.ndarray:
        """Cuts all episodes, re-seeds every run and starts new episodes.

        Nothing of the past survives a reset: the streams after it depend on the seeds alone.

        Args:
            seeds: R new seeds; by default the seeds the batch was last given.

        Returns:
            (R, d_s) float32, the first observations.

        Raises:
            ValueError: a seed is out of range or the number of seeds is not R.
            RuntimeError: the batch is closed.
        """
        if self._closed:
            raise RuntimeError(f"{self.spec.gym_id}: the batch is closed")
        if seeds is not None:
            checked = _checked_seeds(seeds)
            if len(checked) != self.runs:
                raise ValueError(f"{self.spec.gym_id}: {self.runs} runs need as many seeds, got {len(checked)}")
            self._seeds = checked
        observations = self._stepper.reset(self._seeds)
        self._started = True
        return observations

    def step(self, actions: np.ndarray) -> StepResult:
        """Applies one action per run.

        Args:
            actions: (R, d_a) in environment units, within the task's bounds; rounded to float32.

        Raises:
            RuntimeError: ``reset`` has not been called, or the batch is closed.
            ValueError: wrong shape, or an action that is out of bounds or not finite; the message names the run.
        """
        if not self._started:
            raise RuntimeError(f"{self.spec.gym_id}: " + ("the batch is closed" if self._closed else "reset it first"))
        return self._stepper.step(self._checked_actions(actions))

    def close(self) -> None:
        """Frees the environments; the batch cannot be used afterwards."""
        self._started = False
        self._closed = True
        self._stepper.close()

    def _checked_actions(self, actions: np.ndarray) -> np.ndarray:
        actions = np.asarray(actions, dtype=np.float32)
        shape = (self.runs, self.spec.action_dim)
        if actions.shape != shape:
            raise ValueError(f"{self.spec.gym_id}: actions must have shape {shape}, got {actions.shape}")
        # A NaN fails both comparisons, so one pass finds every bad entry.
        allowed = (actions >= self.spec.action_low) & (actions <= self.spec.action_high)
        if not allowed.all():
            run, component = np.argwhere(~allowed)[0]
            raise ValueError(
                f"{self.spec.gym_id}: action component {component} of run {run} is {actions[run, component]}, outside "
                f"[{self.spec.action_low[component]}, {self.spec.action_high[component]}]"
            )
        return actions


def measure_backends(key: str, runs: int, steps: int, *, rounds: int = 5) -> dict[str, float]:
    """Environment steps per second, all runs together, of every installed backend under uniform random actions.

    The backends take turns, ``steps`` lockstep steps a turn, so that a busy machine slows both alike; the figure is
    the median turn.

    Raises:
        KeyError: unknown task.
        ValueError: ``runs``, ``steps`` or ``rounds`` is below one.
    """
    if min(runs, steps, rounds) < 1:
        raise ValueError(f"runs, steps and rounds must be at least 1, got {runs}, {steps}, {rounds}")
    spec = environment_spec(key)
    actions = np.random.default_rng(0).uniform(spec.action_low, spec.action_high, size=(steps, runs, spec.action_dim))
    batches = {name: EnvironmentBatch(key, range(runs), backend=name) for name in installed_backends()}
    seconds: dict[str, list[float]] = {name: [] for name in batches}
    for batch in batches.values():
        batch.reset()
    for _ in range(rounds):
        for name, batch in batches.items():
            start = time.perf_counter()
            for step_actions in actions:
                batch.step(step_actions)
            seconds[name].append(time.perf_counter() - start)
    for batch in batches.values():
        batch.close()
    return {name: runs * steps / float(np.median(turns)) for name, turns in seconds.items()}


class _Stepper(Protocol):
    """What a backend does; seeds and actions come checked."""

    def reset(self, seeds: list[int]) -> np.ndarray: ...

    def step(self, actions: np.ndarray) -> StepResult: ...

    def close(self) -> None: ...


class _GymnasiumStepper:
    """Gymnasium's serial vector environment, which resets a finished one within the same step."""

    def __init__(self, spec: EnvironmentSpec, runs: int):
        self._vector = gymnasium.make_vec(
            spec.gym_id,
            num_envs=runs,
            vectorization_mode="sync",
            # Observations are cast, hence copied, here: a second copy inside Gymnasium would be wasted.
            vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP, "copy": False},
            **spec.kwargs,
        )

    def reset(self, seeds: list[int]) -> np.ndarray:
        observations, _ = self._vector.reset(seed=seeds)
        return np.array(observations, dtype=np.float32)

    def step(self, actions: np.ndarray) -> StepResult:
        raw, rewards, terminated, truncated, infos = self._vector.step(actions)
        observations = np.array(raw, dtype=np.float32)
        next_observations = observations
        ended = terminated | truncated
        if ended.any():
            next_observations = observations.copy()
            next_observations[ended] = np.stack(infos["final_obs"][ended])
        return StepResult(next_observations, rewards.astype(np.float32), terminated, truncated, observations)

    def close(self) -> None:
        self._vector.close()


class _EnvPoolStepper:
    """EnvPool with one seed per environment; finished environments are reset by number before the step returns."""

    def __init__(self, spec: EnvironmentSpec, num_threads: int):
        self._task_id = environment_definition(spec.key).envpool_id
        self._max_episode_steps = spec.max_episode_steps
        self._num_threads = num_threads
        self._pool: Any = None

    def reset(self, seeds: list[int]) -> np.ndarray:
        import envpool

        # EnvPool takes seeds only when a pool is made; making one costs milliseconds and leaves no state behind.
        # At its own step limit it reports a fall as a truncation alone, where Gymnasium reports both, so its limit is
        # put out of reach and the count of steps decides.
        with warnings.catch_warnings():
            # EnvPool hands Gymnasium float64 bounds for float32 spaces; +-1, +-8 and +-inf lose nothing by the cast.
            warnings.filterwarnings("ignore", message=".*precision lowered by casting")
            self._pool = envpool.make(
                self._task_id,
                env_type="gymnasium",
                num_envs=len(seeds),
                seed=seeds,
                num_threads=self._num_threads,
                max_episode_steps=self._max_episode_steps + 1,
            )
            observations, _ = self._pool.reset()
        return observations.astype(np.float32, copy=False)

    def step(self, actions: np.ndarray) -> StepResult:
        raw, rewards, terminated, _, info = self._pool.step(actions)
        next_observations = raw.astype(np.float32, copy=False)
        truncated = info["elapsed_step"] >= self._max_episode_steps
        observations = next_observations
        ended = np.flatnonzero(terminated | truncated)
        if ended.size:
            first_observations, reset_info = self._pool.reset(ended)
            observations = next_observations.copy()
            observations[reset_info["env_id"]] = first_observations
        return StepResult(next_observations, rewards, terminated, truncated, observations)

    def close(self) -> None:
        # A pool has no close of its own: its threads end when the last reference goes.
        self._pool = None


def _resolve_backend(key: str, backend: str) -> str:
    if backend == "auto":
        return fastest_backend(key)
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; known: {', '.join(BACKENDS)}, auto")
    if backend not in installed_backends():
        raise ModuleNotFoundError(f"backend {backend!r} was asked for, but the package {backend} is not installed")
    return backend


def _checked_seeds(seeds: Sequence[int]) -> list[int]:
    try:
        checked = [operator.index(seed) for seed in seeds]
    except TypeError as error:
        raise ValueError(f"seeds must be a sequence of integers, got {seeds!r}") from error
    if not checked:
        raise ValueError("at least one run, hence one seed, is needed")
    for run, seed in enumerate(checked):
        if not 0 <= seed < SEED_LIMIT:
            raise ValueError(f"seed of run {run} must be in [0, 2**31), got {seed}")
    return checked


def _thread_count(num_threads: int | None, runs: int) -> int:
    if num_threads is None:
        # The cores this process may use, which in a container are fewer than the machine's; macOS does not tell.
        num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if num_threads < 1:
        raise ValueError(f"num_threads must be at least 1, got {num_threads}")
    return min(num_threads, runs)
