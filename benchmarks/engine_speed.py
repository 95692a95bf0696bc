"""Time of one environment step with its updates on Walker2d-v5: the batched engine beside Stable-Baselines3.

All programs run in one process on one CPU thread and take turns, so that a busy machine hits all alike. Each has the
published networks, batch sizes and update frequencies, and a replay buffer filled by random steps. PAVE's peer is
Stable-Baselines3 with the same losses by nested autograd. Times are per environment step and run: R runs that train as
one program share its time. Ratios compare CPU time, which other programs on the machine disturb less than wall time.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import time
from collections.abc import Sequence
from importlib import metadata
from statistics import median
from typing import Protocol

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
from paperlib.pave.environments import EnvironmentBatch, measure_backends
from paperlib.pave.settings import ALGORITHMS, Coefficients, published_coefficients, published_settings
from paperlib.pave.training import Trainer, TrainingPlan
from paperlib.repro import paths
from paperlib.repro.provenance import provenance
from paperlib.repro.tables import to_text

ENVIRONMENT = "walker"
RANDOM_STEPS = 500  # fill the replay buffers before the first update
CAPACITY = 100_000  # of every replay buffer; the published million holds no rows that these few steps would read
TURN = {"td3": 4, "sac": 50}  # environment steps of a turn: whole rounds of updates, and whole policy delays
MINIMUM_ROUNDS = 3


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a benchmark measures."""

    runs: tuple[int, ...]
    compiled: tuple[bool, ...]
    seconds: float  # no new round begins after this many seconds, warm-up included


FULL = Plan(runs=(1, 5, 10), compiled=(False, True), seconds=280)
QUICK = Plan(runs=(1, 5), compiled=(False,), seconds=75)


class Program(Protocol):
    """Something that trains: `advance` takes environment steps, with the updates that are due."""

    def advance(self, steps: int) -> None: ...


# --- the batched engine ------------------------------------------------------------------------------------------


class Engine:
    """`paperlib.pave.training.Trainer`, stepped by hand so that its turns can end anywhere."""

    def __init__(self, algorithm: str, method: str, runs: int, compiled: bool):
        settings = dataclasses.replace(published_settings(algorithm, ENVIRONMENT), learning_starts=RANDOM_STEPS)
        plan = TrainingPlan(
            ENVIRONMENT,
            settings,
            seeds=tuple(range(runs)),
            coefficients=runs * (published_coefficients(method, algorithm, ENVIRONMENT),),
            steps=CAPACITY,
            evaluate_every=CAPACITY,
            evaluation_episodes=0,
            final_episodes=0,
            checkpoint_every=CAPACITY,
            compiled=compiled,
        )
        self.trainer = Trainer(plan)
        # Gymnasium steps in the calling thread, as it does below Stable-Baselines3.
        self.environments = EnvironmentBatch(ENVIRONMENT, plan.seeds, backend="gymnasium")
        self.observations = self.environments.reset()

    def advance(self, steps: int) -> None:
        for _ in range(steps):
            self.trainer.step += 1
            actions, result = self.trainer._act(self.environments, self.observations)
            self.trainer._store(self.observations, actions, result, result.terminated | result.truncated)
            self.trainer._learn()
            self.observations = result.observations


# --- the peers ---------------------------------------------------------------------------------------------------


class StableBaselines:
    """A Stable-Baselines3 algorithm with the published settings; `method` "pave" takes the subclasses below."""

    def __init__(self, algorithm: str, method: str):
        settings = published_settings(algorithm, ENVIRONMENT)
        shared = ("learning_rate", "batch_size", "tau", "gamma", "train_freq", "gradient_steps")
        self.model = PEERS[algorithm, method](
            "MlpPolicy",
            gymnasium.make("Walker2d-v5"),
            learning_starts=RANDOM_STEPS,
            buffer_size=CAPACITY,
            policy_kwargs={"net_arch": list(settings.hidden), "activation_fn": torch.nn.SiLU},
            device="cpu",
            seed=0,
            **{name: getattr(settings, name) for name in shared},
            **getattr(self, f"_{algorithm}_settings")(settings),
        )
        self.model.set_logger(Logger(folder=None, output_formats=[]))

    @staticmethod
    def _td3_settings(settings) -> dict:
        d_a = gymnasium.spec("Walker2d-v5").make().action_space.shape
        return {
            "policy_delay": settings.policy_delay,
            "target_policy_noise": settings.target_policy_noise,
            "target_noise_clip": settings.target_noise_clip,
            "action_noise": NormalActionNoise(np.zeros(d_a), np.full(d_a, settings.exploration_noise_std)),
        }

    @staticmethod
    def _sac_settings(settings) -> dict:
        return {"ent_coef": settings.entropy_coefficient}

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

    coefficients: Coefficients

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

    coefficients = published_coefficients("pave", "td3", ENVIRONMENT)

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

    coefficients = published_coefficients("pave", "sac", ENVIRONMENT)

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


class PlainProduct:
    """Products of the size of the networks' middle layer and nothing else: the rate that this CPU gives them."""

    def __init__(self, algorithm: str):
        settings = published_settings(algorithm, ENVIRONMENT)
        self.left, self.right = torch.randn(settings.batch_size, settings.hidden[0]), torch.randn(*settings.hidden)

    def advance(self, steps: int) -> None:
        for _ in range(20 * steps):
            torch.mm(self.left, self.right)


# --- measuring ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Contender:
    """A program to measure, by name. `program` is "engine", "stable-baselines3" or "matrix product"."""

    algorithm: str
    method: str
    program: str
    runs: int = 1
    compiled: bool = False

    @property
    def is_peer(self) -> bool:
        return self.program == "stable-baselines3"

    def build(self) -> Program:
        if self.program == "engine":
            return Engine(self.algorithm, self.method, self.runs, self.compiled)
        return StableBaselines(self.algorithm, self.method) if self.is_peer else PlainProduct(self.algorithm)


@dataclasses.dataclass
class Record:
    """Measurements of one contender; times in seconds, one entry per turn."""

    flops: float  # of its matrix products, per environment step and run
    warm_up: float
    wall: list[float] = dataclasses.field(default_factory=list)
    cpu: list[float] = dataclasses.field(default_factory=list)


def contenders(plan: Plan) -> list[Contender]:
    """Peer before engine, so that an eager engine's FLOPs are known before its compiled twin needs them."""
    chosen = []
    for algorithm in ALGORITHMS:
        chosen.append(Contender(algorithm, "", "matrix product"))
        for method in ("base", "pave"):
            chosen.append(Contender(algorithm, method, "stable-baselines3"))
            # The engine compiles PAVE's loss only: a compiled Base would be the same program again.
            for compiled in plan.compiled if method == "pave" else (False,):
                chosen += [Contender(algorithm, method, "engine", runs, compiled) for runs in plan.runs]
    return chosen


class ProductFlops(TorchDispatchMode):
    """Counts the FLOPs of matrix products. (torch's FlopCounterMode hooks modules, which nested autograd rejects.)"""

    total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if function._overloadpacket in flop_registry:
            self.total += flop_registry[function._overloadpacket](*args, **kwargs, out_val=result)
        return result


def warm_up(contender: Contender, known_flops: dict[tuple, float]) -> tuple[Program, Record]:
    """Fill the replay buffer, take one turn with updates, and count the FLOPs of the turn where they are not known.

    FLOPs per run are the same however many runs train together, and the counter cannot see into compiled code.
    """
    begin = time.perf_counter()
    program, turn = contender.build(), TURN[contender.algorithm]
    if contender.method:
        program.advance(RANDOM_STEPS)
    kind = (contender.algorithm, contender.method, contender.program)
    if kind in known_flops:
        program.advance(turn)
    else:
        with ProductFlops() as counter:
            program.advance(turn)
        known_flops[kind] = counter.total / turn / contender.runs
    if contender.is_peer and contender.method == "pave":
        check_peer(program.model)
    return program, Record(known_flops[kind], time.perf_counter() - begin)


def take_turn(contender: Contender, program: Program, record: Record) -> None:
    """One turn; appends its times per environment step and run."""
    turn = TURN[contender.algorithm]
    wall, cpu = time.perf_counter(), time.process_time()
    program.advance(turn)
    record.wall.append((time.perf_counter() - wall) / turn / contender.runs)
    record.cpu.append((time.process_time() - cpu) / turn / contender.runs)


def measure(plan: Plan) -> dict[Contender, Record]:
    """Warm up all contenders, then let them take turns in rounds while there is time."""
    begin, known_flops, programs, records = time.perf_counter(), {}, {}, {}
    for contender in tqdm(contenders(plan), desc="warm-up", unit="program"):
        programs[contender], records[contender] = warm_up(contender, known_flops)
    for done in itertools.count():
        if done >= MINIMUM_ROUNDS and time.perf_counter() - begin > plan.seconds:
            return records
        for contender, program in tqdm(programs.items(), desc=f"round {done + 1}", unit="turn", leave=False):
            take_turn(contender, program, records[contender])


# --- reporting ---------------------------------------------------------------------------------------------------


def speed_table(records: dict[Contender, Record]) -> pd.DataFrame:
    """One row per contender: medians over the turns, ratios within rounds."""
    return pd.DataFrame([_row(contender, records) for contender in records if contender.method])


def _row(contender: Contender, records: dict[Contender, Record]) -> dict:
    record = records[contender]
    peer = records[Contender(contender.algorithm, contender.method, "stable-baselines3")]
    product = records[Contender(contender.algorithm, "", "matrix product")]
    rate, plain_rate = record.flops / median(record.cpu), product.flops / median(product.cpu)
    return {
        "algorithm": contender.algorithm,
        "method": contender.method,
        "program": contender.program,
        "runs": contender.runs,
        "compiled": contender.compiled,
        "ms": 1e3 * median(record.wall),
        "cpu_ms": 1e3 * median(record.cpu),
        "cpu_ms_best": 1e3 * min(record.cpu),
        "share_of_peer": median(own / other for own, other in zip(record.cpu, peer.cpu, strict=True)),
        "mflop": record.flops / 1e6,
        "gflop_per_s": rate / 1e9,
        "plain_gflop_per_s": plain_rate / 1e9,
        "product_share": rate / plain_rate,
        "warm_up_s": record.warm_up,
        "turns": len(record.cpu),
    }


def backend_table(runs: Sequence[int]) -> pd.DataFrame:
    """Milliseconds per environment step and run of the backends, under random actions, without any learning."""
    rows = []
    for count in tqdm(runs, desc="environments", unit="batch"):
        speeds = measure_backends(ENVIRONMENT, count, steps=200)
        rows += [{"backend": name, "runs": count, "ms": 1e3 / speed} for name, speed in speeds.items()]
    return pd.DataFrame(rows)


LEGEND = """\
ms, cpu_ms: wall and CPU milliseconds per environment step and run, median over turns (cpu_ms_best: the best turn)
share_of_peer: CPU time over that of stable-baselines3 with the same method (pave: by nested autograd), median of rounds
mflop: matrix products per environment step and run; gflop_per_s: how fast they were done, all else included;
plain_gflop_per_s: products of the middle layer's size alone, so product_share of the time is out of an engine's reach
warm_up_s: random steps, one turn, and compilation"""


def save(name: str, table: pd.DataFrame, facts: dict) -> None:
    """The table as CSV and where it comes from as JSON beside it."""
    path = paths.tables_folder() / f"bench--{name}.csv"
    paths.write_atomically(path, table.to_csv(index=False))
    paths.write_atomically(path.with_suffix(".json"), json.dumps(facts, indent=2) + "\n")
    print(f"\n{to_text(table)}\n\nsaved: {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1 and 5 runs, nothing compiled, fewer rounds")
    plan = QUICK if parser.parse_args().quick else FULL
    torch.set_num_threads(1)

    begin = time.perf_counter()
    records = measure(plan)
    environments = backend_table(plan.runs)
    seconds = time.perf_counter() - begin
    steps = sum(TURN[c.algorithm] * c.runs * len(r.cpu) for c, r in records.items() if c.method)
    facts = provenance("cpu", torch.float32, max(plan.runs), seconds, steps / seconds) | {
        "environment": ENVIRONMENT,
        "threads": torch.get_num_threads(),
        "stable_baselines3": metadata.version("stable-baselines3"),
        "steps_per_turn": TURN,
    }
    save("engine_speed", speed_table(records), facts)
    print(LEGEND)
    save("environment_backends", environments, facts)
    print(f"ms: per environment step and run; EnvPool may use all cores\n{seconds:.0f} s in all")


if __name__ == "__main__":
    main()
