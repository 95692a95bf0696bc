"""Time of one environment step with its updates: the batched engine beside Stable-Baselines3 and SBX.

    python benchmarks/engine_speed.py [--quick] [--sbx-python PATH]   # some 25 minutes; goes on after an interruption
    python benchmarks/engine_speed.py --record                        # keep the last whole run, write README's table

The programs of a case (environment, algorithm, method) run in one process on one CPU thread and take turns, so that a
busy machine hits all alike. Each has the published networks, batch sizes and update frequencies, and a replay buffer
filled by random steps. PAVE's peer is Stable-Baselines3 with the same losses by nested autograd. Times are per
environment step and run: R runs that train as one program share its time. Ratios compare CPU time, which other programs
on the machine disturb less than wall time. The last rows fill the machine: as many processes as cores, at once.

SBX runs in a process of its own and takes its turns with the others. It needs JAX, so it is looked for in the Python
named by --sbx-python or the environment variable SBX_PYTHON: sbx-rl, gymnasium[mujoco]. Without it, it is left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import NamedTuple, Protocol

import gymnasium
import numpy as np
import pandas as pd
import stable_baselines3
import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.utils import polyak_update
from torch.nn.functional import mse_loss
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from tqdm import tqdm

from paperlib.pave import pave_losses
from paperlib.pave.engine.environments import EnvironmentBatch, environment_spec, measure_backends
from paperlib.pave.engine.networks import require_fast_bfloat16
from paperlib.pave.engine.settings import (
    ALGORITHMS,
    Coefficients,
    published_coefficients,
    published_settings,
    published_steps,
)
from paperlib.pave.engine.training import Trainer, TrainingPlan
from paperlib.pave.figures.names import method_name
from paperlib.repro import paths
from paperlib.repro.provenance import provenance
from paperlib.repro.tables import to_text

RANDOM_STEPS = 500  # fill the replay buffers before the first update
CAPACITY = 100_000  # of every replay buffer; the published million holds no rows that these few steps would read
TURN = {"td3": 4, "sac": 50}  # environment steps of a turn: whole rounds of updates, and whole policy delays
MINIMUM_ROUNDS = 3
TOGETHER = 5  # runs per program in the rows that fill the machine, and in the uncompiled one
RECORDED = paths.data_folder() / "results" / "benchmarks" / "engine_speed.csv"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a benchmark measures."""

    environments: tuple[str, ...]
    runs: tuple[int, ...]
    seconds: float  # of a case, after the warm-up: no new round begins
    machine_seconds: float  # of a row that fills the machine; 0 leaves these rows out


FULL = Plan(environments=("walker", "pendulum"), runs=(1, 5, 10), seconds=50, machine_seconds=15)
QUICK = Plan(environments=("walker",), runs=(1, 5), seconds=10, machine_seconds=0)


class Case(NamedTuple):
    """What the programs that are compared train."""

    environment: str
    algorithm: str
    method: str

    @property
    def settings(self):
        return published_settings(self.algorithm, self.environment)

    @property
    def coefficients(self) -> Coefficients:
        return published_coefficients(self.method, self.algorithm, self.environment)


class Program(Protocol):
    """Something that trains: `advance` takes environment steps, with the updates that are due."""

    def advance(self, steps: int) -> None: ...


# --- the batched engine ------------------------------------------------------------------------------------------


class Engine:
    """`paperlib.pave.engine.training.Trainer`, stepped by hand so that its turns can end anywhere."""

    def __init__(self, case: Case, runs: int, *, compiled: bool, precision: str = "float32"):
        settings = dataclasses.replace(case.settings, learning_starts=RANDOM_STEPS, precision=precision)
        plan = TrainingPlan(
            case.environment,
            settings,
            seeds=tuple(range(runs)),
            coefficients=runs * (case.coefficients,),
            steps=CAPACITY,
            evaluate_every=CAPACITY,
            evaluation_episodes=0,
            final_episodes=0,
            checkpoint_every=CAPACITY,
            compiled=compiled,
        )
        self.trainer = Trainer(plan)
        # Gymnasium steps in the calling thread, as it does below Stable-Baselines3.
        self.environments = EnvironmentBatch(case.environment, plan.seeds, backend="gymnasium")
        self.observations = self.environments.reset()

    def advance(self, steps: int) -> None:
        for _ in range(steps):
            self.trainer.step += 1
            actions, result = self.trainer.act(self.environments, self.observations)
            self.trainer.store(self.observations, actions, result, result.terminated | result.truncated)
            self.trainer.learn()
            self.observations = result.observations


# --- the peers ---------------------------------------------------------------------------------------------------


SHARED_SETTINGS = ("learning_rate", "batch_size", "tau", "gamma", "train_freq", "gradient_steps")
OWN_SETTINGS = {
    "td3": ("policy_delay", "target_policy_noise", "target_noise_clip"),
    "sac": (),
}


def peer_settings(case: Case) -> dict:
    """The published settings by the names that Stable-Baselines3 and SBX share; the exploration noise comes apart."""
    names = SHARED_SETTINGS + OWN_SETTINGS[case.algorithm]
    settings = {name: getattr(case.settings, name) for name in names}
    if case.algorithm == "sac":
        settings["ent_coef"] = case.settings.entropy_coefficient
    return settings | {"learning_starts": RANDOM_STEPS, "buffer_size": CAPACITY}


class StableBaselines:
    """A Stable-Baselines3 algorithm with the published settings; method "pave" takes the subclasses below."""

    def __init__(self, case: Case):
        environment, settings = gymnasium.make(environment_spec(case.environment).gym_id), peer_settings(case)
        if case.algorithm == "td3":
            d_a, std = environment.action_space.shape, case.settings.exploration_noise_std
            settings["action_noise"] = NormalActionNoise(np.zeros(d_a), np.full(d_a, std))
        self.model = PEERS[case.algorithm, case.method](
            "MlpPolicy",
            environment,
            policy_kwargs={"net_arch": list(case.settings.hidden), "activation_fn": torch.nn.SiLU},
            device="cpu",
            seed=0,
            **settings,
        )
        self.model.coefficients = case.coefficients
        self.model.set_logger(Logger(folder=None, output_formats=[]))

    def advance(self, steps: int) -> None:
        self.model.learn(steps, reset_num_timesteps=False, log_interval=None)


def nested_pave(critic, batch, coefficients: Coefficients, state_noise: torch.Tensor, probes: torch.Tensor):
    """Both critics' values at a minibatch and PAVE's weighted losses, summed over the critics, by nested autograd."""
    actions = batch.actions.clone().requires_grad_()
    points = (batch.observations, batch.observations + state_noise, batch.next_observations)
    values = [critic(states, actions) for states in points]
    penalty = torch.zeros(())
    for of_one_critic in zip(*values, strict=True):
        here, noisy, after = (
            torch.autograd.grad(value.sum(), actions, create_graph=True)[0] for value in of_one_critic
        )
        product = torch.autograd.grad((here * probes).sum(), actions, create_graph=True)[0]
        curvature = (product * probes).sum(dim=1)
        penalty = penalty + coefficients.mpr * (noisy - here).square().mean()
        penalty = penalty + coefficients.vfc * (after - here).square().mean()
        penalty = penalty + coefficients.curv * (curvature + coefficients.delta).clamp(min=0).mean()
    return values[0], penalty


class NestedPave:
    """The critic step that the two PAVE peers share."""

    coefficients: Coefficients  # set once the model is made

    def step_critic(self, batch, target: torch.Tensor, td_scale: float) -> None:
        state_noise = self.coefficients.sigma * torch.randn_like(batch.observations)
        probes = torch.randint_like(batch.actions, 2) * 2 - 1
        values, penalty = nested_pave(self.critic, batch, self.coefficients, state_noise, probes)
        loss = td_scale * sum(mse_loss(value, target) for value in values) + penalty
        self.critic.optimizer.zero_grad()
        loss.backward()
        self.critic.optimizer.step()

    def step_actor(self, loss: torch.Tensor) -> None:
        self.actor.optimizer.zero_grad()
        loss.backward()
        self.actor.optimizer.step()


class PaveTD3(NestedPave, stable_baselines3.TD3):
    """TD3 with PAVE's losses added to the critic's."""

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        for _ in range(gradient_steps):
            self._n_updates += 1
            batch = self.replay_buffer.sample(batch_size)
            self.step_critic(batch, self.target_values(batch), td_scale=1.0)
            if self._n_updates % self.policy_delay == 0:
                states = batch.observations
                self.step_actor(-self.critic.q1_forward(states, self.actor(states)).mean())
                polyak_update(self.critic.parameters(), self.critic_target.parameters(), self.tau)
                polyak_update(self.actor.parameters(), self.actor_target.parameters(), self.tau)

    @torch.no_grad()
    def target_values(self, batch) -> torch.Tensor:
        noise = self.target_policy_noise * torch.randn_like(batch.actions)
        noise = noise.clamp(-self.target_noise_clip, self.target_noise_clip)
        next_actions = (self.actor_target(batch.next_observations) + noise).clamp(-1, 1)
        next_values = torch.minimum(*self.critic_target(batch.next_observations, next_actions))
        return batch.rewards + (1 - batch.dones) * self.gamma * next_values


class PaveSAC(NestedPave, stable_baselines3.SAC):
    """SAC with PAVE's losses added to the critic's."""

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        for _ in range(gradient_steps):
            batch = self.replay_buffer.sample(batch_size)
            self.step_critic(batch, self.target_values(batch), td_scale=0.5)
            actions, log_density = self.actor.action_log_prob(batch.observations)
            value = torch.minimum(*self.critic(batch.observations, actions))
            self.step_actor((self.ent_coef_tensor * log_density[:, None] - value).mean())
            polyak_update(self.critic.parameters(), self.critic_target.parameters(), self.tau)

    @torch.no_grad()
    def target_values(self, batch) -> torch.Tensor:
        next_actions, log_density = self.actor.action_log_prob(batch.next_observations)
        next_values = torch.minimum(*self.critic_target(batch.next_observations, next_actions))
        next_values = next_values - self.ent_coef_tensor * log_density[:, None]
        return batch.rewards + (1 - batch.dones) * self.gamma * next_values


PEERS = {
    ("td3", "base"): stable_baselines3.TD3,
    ("sac", "base"): stable_baselines3.SAC,
    ("td3", "pave"): PaveTD3,
    ("sac", "pave"): PaveSAC,
}


def check_peer(model: NestedPave) -> None:
    """Raise AssertionError unless the peer's nested autograd computes the losses of `paperlib.pave`."""
    # The buffer keeps MuJoCo's float64 observations; Stable-Baselines3's networks round them themselves.
    batch = model.replay_buffer.sample(16)
    batch = batch._replace(observations=batch.observations.float(), next_observations=batch.next_observations.float())
    c, noise, probes = model.coefficients, 0.01 * torch.randn_like(batch.observations), torch.ones_like(batch.actions)
    states = (batch.observations, batch.actions, batch.next_observations)
    losses = pave_losses(model.critic, *states, state_noise=noise, probes=probes, delta=c.delta)
    expected = c.mpr * losses.mpr.sum() + c.vfc * losses.vfc.sum() + c.curv * losses.curv.sum()
    torch.testing.assert_close(nested_pave(model.critic, batch, c, noise, probes)[1], expected)


class SBX:
    """SBX in its own Python; see `peers/sbx_turns.py`. `last` has the wall and CPU seconds of the last `advance`."""

    def __init__(self, case: Case, python: str):
        settings = peer_settings(case)
        if case.algorithm == "td3":
            settings["exploration_noise_std"] = case.settings.exploration_noise_std
        plan = {
            "algorithm": case.algorithm,
            "environment": environment_spec(case.environment).gym_id,
            "hidden": case.settings.hidden,
            "settings": settings,
        }
        command = [python, Path(__file__).parent / "peers" / "sbx_turns.py", json.dumps(plan)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, text=True, **pipes)
        self.last: dict[str, float] = {}

    def advance(self, steps: int) -> None:
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"SBX stopped with exit code {self._process.wait()}: run peers/sbx_turns.py by hand")
        self.last = json.loads(answer)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def has_sbx(python: str | None) -> bool:
    """Whether that Python can import SBX and MuJoCo's environments."""
    return python is not None and subprocess.run([python, "-c", "import sbx, mujoco"], check=False).returncode == 0


class PlainProduct:
    """Products of the size of the networks' middle layer and nothing else: the rate that this CPU gives them."""

    def __init__(self, case: Case, dtype: torch.dtype):
        left, right = torch.randn(case.settings.batch_size, case.settings.hidden[0]), torch.randn(*case.settings.hidden)
        self.left, self.right = left.to(dtype), right.to(dtype)

    def advance(self, steps: int) -> None:
        for _ in range(20 * steps):
            torch.mm(self.left, self.right)


# --- one case: turn by turn in one process -----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Contender:
    """A program to measure. `program`: "engine", "engine, uncompiled", "stable-baselines3", "sbx" or "product"."""

    program: str
    runs: int = 1
    precision: str = "float32"

    def build(self, case: Case, sbx_python: str | None) -> Program:
        if self.program == "product":
            return PlainProduct(case, torch.bfloat16 if self.precision == "mixed" else torch.float32)
        if self.program == "stable-baselines3":
            return StableBaselines(case)
        if self.program == "sbx":
            return SBX(case, sbx_python)
        return Engine(case, self.runs, compiled=self.program == "engine", precision=self.precision)


PEER = Contender("stable-baselines3")


@dataclasses.dataclass
class Record:
    """Measurements of one contender; times in seconds per environment step and run, one entry per turn."""

    warm_up: float
    wall: list[float] = dataclasses.field(default_factory=list)
    cpu: list[float] = dataclasses.field(default_factory=list)


@cache
def precisions() -> tuple[str, ...]:
    """Those that this machine trains in."""
    try:
        require_fast_bfloat16(torch.device("cpu"))
    except ValueError:
        return ("float32",)
    return ("float32", "mixed")


def contenders(case: Case, plan: Plan, sbx_python: str | None) -> list[Contender]:
    """The peers, the plain products, and the engine in every precision of this machine."""
    chosen = [PEER, *(Contender("product", precision=precision) for precision in precisions())]
    if sbx_python and case.method == "base":
        chosen.append(Contender("sbx"))
    chosen.append(Contender("engine, uncompiled", TOGETHER))
    return chosen + [Contender("engine", runs, precision) for precision in precisions() for runs in plan.runs]


class ProductFlops(TorchDispatchMode):
    """Counts the FLOPs of matrix products. (torch's FlopCounterMode hooks modules, which nested autograd rejects.)"""

    total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if function._overloadpacket in flop_registry:
            self.total += flop_registry[function._overloadpacket](*args, **kwargs, out_val=result)
        return result


def product_flops(case: Case, program: Program, runs: int) -> float:
    """FLOPs of a turn's matrix products, per environment step and run; the counter cannot see into compiled code."""
    with ProductFlops() as counter:
        program.advance(TURN[case.algorithm])
    return counter.total / TURN[case.algorithm] / runs


def take_turn(contender: Contender, program: Program, turn: int, record: Record) -> None:
    """One turn; appends its times."""
    wall, cpu = time.perf_counter(), time.process_time()
    program.advance(turn)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if isinstance(program, SBX):
        wall, cpu = program.last["wall"], program.last["cpu"]
    record.wall.append(wall / turn / contender.runs)
    record.cpu.append(cpu / turn / contender.runs)


def measure_case(case: Case, plan: Plan, sbx_python: str | None) -> list[dict]:
    """Warm up all contenders of a case, then let them take turns in rounds while there is time; the table's rows."""
    turn, programs, records, flops = TURN[case.algorithm], {}, {}, {}
    for contender in tqdm(contenders(case, plan, sbx_python), desc=f"{' '.join(case)}: warm-up", unit="program"):
        begin = time.perf_counter()
        program = programs[contender] = contender.build(case, sbx_python)
        if contender.program != "product":
            program.advance(RANDOM_STEPS)
        if contender.program in ("stable-baselines3", "engine, uncompiled"):
            flops[contender.program] = product_flops(case, program, contender.runs)
        program.advance(2 * turn)  # compiles both kinds of update
        records[contender] = Record(time.perf_counter() - begin)
    if case.method == "pave":
        check_peer(programs[PEER].model)
    flops["engine"] = flops["engine, uncompiled"]
    begin = time.perf_counter()
    for done in itertools.count():
        if done >= MINIMUM_ROUNDS and time.perf_counter() - begin > plan.seconds:
            break
        for contender, program in tqdm(programs.items(), desc=f"round {done + 1}", unit="turn", leave=False):
            take_turn(contender, program, turn, records[contender])
    for program in programs.values():
        if isinstance(program, SBX):
            program.close()
    return [_row(case, contender, records, flops) for contender in records if contender.program != "product"]


def _row(case: Case, contender: Contender, records: dict[Contender, Record], flops: dict[str, float]) -> dict:
    record, peer = records[contender], records[PEER]
    product = records[Contender("product", precision=contender.precision)]
    rate = 20 * 2 * case.settings.batch_size * np.prod(case.settings.hidden) / median(product.cpu)
    own_flops = flops.get(contender.program)
    return {
        **case._asdict(),
        **dataclasses.asdict(contender),
        "processes": 1,
        "ms": 1e3 * median(record.wall),
        "cpu_ms": 1e3 * median(record.cpu),
        "share_of_peer": median(own / other for own, other in zip(record.cpu, peer.cpu, strict=True)),
        "mflop": own_flops and own_flops / 1e6,
        "plain_gflop_per_s": rate / 1e9,
        "times_floor": own_flops and median(record.cpu) * rate / own_flops,
        "runs_per_hour": None,
        "warm_up_s": record.warm_up,
        "turns": len(record.cpu),
    }


# --- the whole machine -------------------------------------------------------------------------------------------


def fill_machine(case: Case, contender: Contender, seconds: float) -> dict:
    """As many processes as cores train at once: the row of what the machine finishes in an hour."""
    context, processes = get_context("spawn"), len(os.sched_getaffinity(0))
    barrier, queue = context.Barrier(processes), context.Queue()
    arguments = (case, contender, seconds, barrier, queue)
    workers = [context.Process(target=_train_for, args=arguments, daemon=True) for _ in range(processes)]
    for worker in workers:
        worker.start()
    speeds = [queue.get(timeout=1200) for _ in workers]
    for worker in workers:
        worker.join()
    steps_per_second = sum(speed for speed, _ in speeds)
    return {
        **case._asdict(),
        **dataclasses.asdict(contender),
        "processes": processes,
        "ms": 1e3 / steps_per_second,
        "runs_per_hour": 3600 * steps_per_second / published_steps(case.environment),
        "turns": min(turns for _, turns in speeds),
    }


def _train_for(case: Case, contender: Contender, seconds: float, barrier, queue) -> None:
    """In a worker: train for that many seconds, begun with the others; reports (steps x runs per second, turns)."""
    torch.set_num_threads(1)
    program, turn = contender.build(case, None), TURN[case.algorithm]
    program.advance(RANDOM_STEPS + 2 * turn)
    barrier.wait()
    begin, turns = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        program.advance(turn)
        turns += 1
    queue.put((turns * turn * contender.runs / (time.perf_counter() - begin), turns))


def machine_rows(case: Case, plan: Plan) -> list[dict]:
    """Peer and engine, in the fastest precision of this machine, side by side on all cores."""
    return [
        fill_machine(case, contender, plan.machine_seconds)
        for contender in (PEER, Contender("engine", TOGETHER, precisions()[-1]))
    ]


# --- reporting ---------------------------------------------------------------------------------------------------


def machine_facts() -> dict:
    """What a run's rows have in common: versions, code and processor."""
    facts = provenance("cpu", torch.float32, 1, 0.0, 0.0)
    return {key: facts[key] for key in ("versions", "code", "platform", "cpu", "cpu_cores")}


def instruction_sets() -> list[str]:
    """Those of the processor's that decide how fast a product is."""
    reported = torch.cpu.get_capabilities()
    names = ("avx2", "fma3", "avx512_f", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "sve")
    return [name for name in names if reported.get(name)]


def backend_table(runs: Sequence[int]) -> pd.DataFrame:
    """Milliseconds per environment step and run of the backends, under random actions, without any learning."""
    rows = []
    for count in tqdm(runs, desc="environments", unit="batch"):
        speeds = measure_backends("walker", count, steps=200)
        rows += [{"backend": name, "runs": count, "ms": 1e3 / speed} for name, speed in speeds.items()]
    return pd.DataFrame(rows)


LEGEND = """\
ms, cpu_ms: wall and CPU milliseconds per environment step and run, median over turns
share_of_peer: CPU time over that of stable-baselines3 with the same method (pave: by nested autograd), median of rounds
mflop: matrix products per environment step and run
plain_gflop_per_s: rate of products of the middle layer's size alone
times_floor: CPU time over what those products alone would take at that rate (mixed: all in bfloat16)
runs_per_hour: trainings of the published length that `processes` programs at once finish; ms there: of the machine
warm_up_s: random steps, two turns, and compilation"""


class Progress:
    """The rows measured so far, in build/, so that an interrupted benchmark goes on: same machine, code and plan."""

    def __init__(self, name: str, facts: dict):
        self.path, self.facts = paths.build_folder() / "benchmarks" / f"{name}.partial.json", facts
        saved = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.parts: dict[str, list[dict]] = saved["parts"] if saved.get("facts") == facts else {}

    def measured(self, part: str, measure: Callable[[], list[dict]]) -> list[dict]:
        """The rows of a part, measured unless they have been."""
        if part not in self.parts:
            self.parts[part] = measure()
            content = {"facts": self.facts, "parts": self.parts}
            paths.write_atomically(self.path, json.dumps(content, default=float))
        return self.parts[part]

    def finish(self) -> None:
        self.path.unlink(missing_ok=True)


def run(plan: Plan, sbx_python: str | None) -> pd.DataFrame:
    """Every part of the plan that is not measured yet, and the whole table."""
    name = "engine_speed--quick" if plan == QUICK else "engine_speed"
    progress, rows = Progress(name, machine_facts() | {"plan": repr(plan), "sbx": bool(sbx_python)}), []
    cases = [
        Case(environment, algorithm, method)
        for environment in plan.environments
        for algorithm in ALGORITHMS
        for method in ("base", "pave")
    ]
    for case in cases:
        rows += progress.measured(" ".join(case), lambda case=case: measure_case(case, plan, sbx_python))
    for case in cases:
        if plan.machine_seconds and case.environment == "walker":
            rows += progress.measured(f"{' '.join(case)}, all cores", lambda case=case: machine_rows(case, plan))
    progress.finish()
    return pd.DataFrame(rows)


def save(name: str, table: pd.DataFrame, facts: dict) -> None:
    """The table as CSV and where it comes from as JSON beside it."""
    path = paths.tables_folder() / f"bench--{name}.csv"
    paths.write_atomically(path, table.to_csv(index=False))
    paths.write_atomically(path.with_suffix(".json"), json.dumps(facts, indent=2) + "\n")
    print(f"\n{to_text(table)}\n\nsaved: {path}")


# --- README ------------------------------------------------------------------------------------------------------

README_SECTION = re.compile(r"(?<=<!-- engine_speed: begin -->\n).*(?=<!-- engine_speed: end -->)", re.DOTALL)


def readme_section(table: pd.DataFrame, facts: dict) -> str:
    """README's account of a recorded run: CPU time over the peer's and over the floor's, and runs per hour."""
    single = table[table["processes"] == 1]
    runs = sorted(single.loc[single["program"] == "engine", "runs"].unique())
    lines = [
        f"One run recorded in `data/results/benchmarks/engine_speed.csv`: {facts['cpu_cores']} cores of {facts['cpu']} "
        + f"({', '.join(facts['instruction_sets'])}), torch {facts['versions']['torch']}, one thread. CPU time per "
        + "step and run as a share of the peer's and, in brackets, as a multiple of its matrix products alone, at the "
        + "rate of a plain product. The peer is Stable-Baselines3, for PAVE by nested autograd.",
        "",
        "| | " + " | ".join("1 run" if r == 1 else f"{r} runs" for r in runs) + " | peer, ms | SBX, 1 run |",
        "| --- |" + (len(runs) + 2) * " --- |",
    ]
    for (environment, algorithm, method), case in single.groupby(["environment", "algorithm", "method"], sort=False):
        lines += _readme_rows(f"{environment.title()}, {algorithm.upper()} {method_name(method)}", case, runs)
    machine = table[table["processes"] > 1]
    if len(machine):
        lines += ["", "Trainings of the published length that the whole machine finishes in an hour:", ""]
        lines += ["| | Stable-Baselines3, one per core | engine, 5 runs per core |", "| --- | --- | --- |"]
    for (environment, algorithm, method), case in machine.groupby(["environment", "algorithm", "method"], sort=False):
        speeds = case.set_index("program")["runs_per_hour"]
        cells = " | ".join(f"{speeds[program]:.2f}" for program in ("stable-baselines3", "engine"))
        lines.append(f"| {environment.title()}, {algorithm.upper()} {method_name(method)} | {cells} |")
    return "\n".join(lines) + "\n"


def _readme_rows(name: str, case: pd.DataFrame, runs: Sequence[int]) -> list[str]:
    """One row per precision, and one for the uncompiled engine."""
    peer, sbx = (case[case["program"] == program] for program in ("stable-baselines3", "sbx"))
    ends = f"{peer['cpu_ms'].iloc[0]:.1f} | " + (f"{sbx['share_of_peer'].iloc[0]:.2f}" if len(sbx) else "")
    rows = []
    engine = case[case["program"].str.startswith("engine")]
    for (program, precision), some in engine.groupby(["program", "precision"], sort=False):
        cells = {row.runs: f"{row.share_of_peer:.2f} ({row.times_floor:.1f})" for row in some.itertuples()}
        remarks = program.removeprefix("engine") + (f", {precision}" if precision != "float32" else "")
        rows.append(f"| {name}{remarks} | " + " | ".join(cells.get(r, "") for r in runs) + f" | {ends} |")
    return rows


def write_readme() -> None:
    """Put the recorded run's table into README.md."""
    readme = paths.project_folder() / "README.md"
    table, facts = pd.read_csv(RECORDED), json.loads(RECORDED.with_suffix(".json").read_text())
    text = README_SECTION.sub(lambda match: readme_section(table, facts), readme.read_text())
    paths.write_atomically(readme, text)


def record() -> None:
    """Keep the last whole run as the recorded one."""
    source = paths.tables_folder() / "bench--engine_speed.csv"
    for suffix in (".csv", ".json"):
        paths.write_atomically(RECORDED.with_suffix(suffix), source.with_suffix(suffix).read_text())
    write_readme()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="Walker2d alone, 1 and 5 runs, fewer rounds, one process")
    parser.add_argument("--record", action="store_true", help="keep the last whole run and write README's table")
    parser.add_argument("--sbx-python", default=os.environ.get("SBX_PYTHON"), help="a Python that has SBX")
    options = parser.parse_args()
    if options.record:
        record()
        return
    plan, sbx_python = QUICK if options.quick else FULL, options.sbx_python
    if not has_sbx(sbx_python):
        sbx_python = None
        print("SBX is left out: no Python that has it is named by --sbx-python or SBX_PYTHON", file=sys.stderr)
    torch.set_num_threads(1)

    table = run(plan, sbx_python)
    facts = machine_facts() | {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "instruction_sets": instruction_sets(),
        "threads": torch.get_num_threads(),
        "stable_baselines3": metadata.version("stable-baselines3"),
        "steps_per_turn": TURN,
    }
    save("engine_speed--quick" if options.quick else "engine_speed", table, facts)
    print(LEGEND)
    if not options.quick:
        save("environment_backends", backend_table(plan.runs), facts)


if __name__ == "__main__":
    main()
