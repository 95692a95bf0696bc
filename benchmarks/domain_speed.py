"""Simulated transitions per second of the domains, gradient estimate included, beside two plain ways to do it.

    python benchmarks/domain_speed.py [--processes 2]     # writes data/results/benchmarks/domain_speed.{csv,json}

ours: `SimulatedReturns`, many runs at once: one rule alone, or the five rules of a cell side by side, which share an
iteration's random numbers, as an experiment does; in one process, or in several, a cell each. NumPy loop: one run at a
time, all its episodes as one array, the same estimator. Gymnasium loop: one episode at a time, one step at a time, no
gradient at all.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Callable
from multiprocessing import get_context

import numpy as np
import pandas as pd

from paperlib.lipschitz.simulation.domain_environments import DomainEnvironment
from paperlib.lipschitz.simulation.domains import C1, LQG, Domain, MassSpringDamper, ShipSteering
from paperlib.lipschitz.simulation.gpomdp import SimulatedReturns, gradient_estimate
from paperlib.repro import paths
from paperlib.repro.provenance import provenance

RUNS, EPISODES, RULES = 100, 500, 5
DOMAINS: dict[str, tuple[Domain, int]] = {
    "LQG": (LQG(0.4), 50),
    "mass-spring-damper": (MassSpringDamper(**C1), 50),
    "ship steering": (ShipSteering(0.01, math.pi / 2), 30),
}
"""Each domain with the steps of an episode."""


def rate(work: Callable[[], int], seconds: float = 3.0) -> float:
    """Transitions per second: the median of the calls that fit into some seconds, after one to warm up."""
    work()
    rates, started = [], time.perf_counter()
    while len(rates) < 3 or time.perf_counter() - started < seconds:
        begun = time.perf_counter()
        transitions = work()
        rates.append(transitions / (time.perf_counter() - begun))
    return float(np.median(rates))


def ours(domain: Domain, steps: int, rules: int) -> Callable[[], int]:
    """One gradient estimate of all runs for every rule, from the random numbers of a new iteration."""
    returns, iterations = SimulatedReturns(domain, EPISODES, steps, seed=0), itertools.count()
    theta = np.zeros((RUNS, domain.features.dimension))

    def work() -> int:
        iteration = next(iterations)
        for _ in range(rules):
            returns.estimate(theta, iteration)
        return rules * RUNS * EPISODES * steps

    return work


def _rate_of_a_cell(name: str) -> float:
    return rate(ours(*DOMAINS[name], RULES))


def numpy_loop(domain: Domain, steps: int) -> Callable[[], int]:
    """One run."""
    generator, theta = np.random.default_rng(0), np.zeros((1, domain.features.dimension))

    def work() -> int:
        start = domain.start(generator, (1, EPISODES))
        gradient_estimate(domain, theta, start, generator.standard_normal((steps, 1, EPISODES)))
        return EPISODES * steps

    return work


def gymnasium_loop(domain: Domain, steps: int) -> Callable[[], int]:
    """Ten episodes."""
    environment, generator = DomainEnvironment(domain, steps=steps), np.random.default_rng(0)

    def work() -> int:
        for _ in range(10):
            environment.reset(seed=0)
            for _ in range(steps):
                environment.step(generator.standard_normal(1))
        return 10 * steps

    return work


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2, help="processes side by side (default 2)")
    processes, started = parser.parse_args().processes, time.perf_counter()
    rows = []
    for name, (domain, steps) in DOMAINS.items():
        ways = {
            "ours, one rule": ours(domain, steps, 1),
            f"ours, {RULES} rules side by side": ours(domain, steps, RULES),
            "NumPy loop": numpy_loop(domain, steps),
            "Gymnasium loop, no gradient": gymnasium_loop(domain, steps),
        }
        rows += [{"domain": name, "way": way, "transitions_per_second": rate(work)} for way, work in ways.items()]
        with get_context("spawn").Pool(processes) as pool:
            together = sum(pool.map(_rate_of_a_cell, [name] * processes))
        rows.append(
            {"domain": name, "way": f"ours, {RULES} rules, {processes} processes", "transitions_per_second": together}
        )
    table = pd.DataFrame(rows)
    print(table.pivot(index="way", columns="domain", values="transitions_per_second").to_string(float_format="%.3g"))
    folder = paths.data_folder() / "results" / "benchmarks"
    where_from = provenance("cpu", "float64", RUNS, time.perf_counter() - started, 0.0)
    paths.write_atomically(folder / "domain_speed.csv", table.to_csv(index=False))
    paths.write_atomically(folder / "domain_speed.json", json.dumps(where_from, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
