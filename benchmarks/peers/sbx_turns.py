"""SBX (Stable-Baselines3 on JAX) as a contender of `engine_speed.py`, run by the Python of an environment of its own.

It reads one number of environment steps per line, takes them with the updates that are due, and answers with their wall
and CPU seconds. The argument is a JSON object: algorithm, environment, hidden and the algorithm's settings.
"""

import json
import os
import sys
import time

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import gymnasium
import jax
import numpy as np
import sbx
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.noise import NormalActionNoise


def build(plan: dict):
    environment, settings = gymnasium.make(plan["environment"]), plan["settings"]
    if "exploration_noise_std" in settings:
        d_a, std = environment.action_space.shape, settings.pop("exploration_noise_std")
        settings["action_noise"] = NormalActionNoise(np.zeros(d_a), np.full(d_a, std))
    model = getattr(sbx, plan["algorithm"].upper())(
        "MlpPolicy",
        environment,
        policy_kwargs={"net_arch": plan["hidden"], "activation_fn": jax.nn.silu},
        seed=0,
        **settings,
    )
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def main() -> None:
    if hasattr(os, "sched_setaffinity"):  # one core, as the others have one thread
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    model = build(json.loads(sys.argv[1]))
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        model.learn(int(line), reset_num_timesteps=False, log_interval=None)
        print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}), flush=True)


if __name__ == "__main__":
    main()
