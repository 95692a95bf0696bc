"""Times of the step-size rules and of collecting the samples (the paper's Table 1), on the machine at hand.

python benchmarks/step_size_speed.py            # writes data/results/benchmarks/step_size_speed.{csv,json}
"""

import json
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from paperlib.lipschitz.step_sizes import mss_mlc, sss_slc
from paperlib.notebooks.nb13_step_size_rules.algorithm1 import local_solver_guarantee
from paperlib.notebooks.nb13_step_size_rules.operation_counts import (
    collect_samples,
    polynomial_size,
    recursive_steps,
)
from paperlib.repro import paths
from paperlib.repro.provenance import provenance

DIMENSIONS = (2, 3, 10, 21, 66, 100, 1000, 10_000, 100_000, 1_000_000)
DEGREES = (1, 5, 10)
ROUNDS = 7  # each through all tasks, so that a busy spell of the machine shows as spread
LARGEST = {"recursion from the prose": 66, "SciPy SLSQP": 100}
RULES: dict[str, Callable] = {
    "SSS-SLC": sss_slc,
    "MSS-MLC": mss_mlc,
    "recursion from the prose": recursive_steps,
    "SciPy SLSQP": local_solver_guarantee,
}


def seconds(function: Callable, budget: float = 0.1) -> float:
    """Median time of one call, of as many as fit into the budget, at least 3."""
    times, started = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - started < budget:
        begun = time.perf_counter()
        function()
        times.append(time.perf_counter() - begun)
    return float(np.median(times))


def measure() -> pd.DataFrame:
    """A row per task and number of parameters."""
    rows = []
    for d in DIMENSIONS:
        g, lipschitz = np.random.default_rng(0).random((2, d)) + 0.1
        for name, rule in RULES.items():
            if d <= LARGEST.get(name, d):
                rows.append({"task": name, "d": d, "seconds": seconds(lambda rule=rule, g=g, b=lipschitz: rule(g, b))})
    for degree in DEGREES:
        collecting = seconds(lambda degree=degree: collect_samples(degree))
        rows.append({"task": "collecting the samples", "d": polynomial_size(degree), "seconds": collecting})
    return pd.DataFrame(rows)


def main() -> None:
    """Measure, print and record."""
    started = time.perf_counter()
    table = pd.concat([measure() for _ in range(ROUNDS)], ignore_index=True)
    medians = table.pivot_table(index="d", columns="task", values="seconds", aggfunc="median")
    print(medians.to_string(float_format="%.2e"))
    folder = paths.data_folder() / "results" / "benchmarks"
    where_from = provenance("cpu", "float64", 1, time.perf_counter() - started, 0.0)
    paths.write_atomically(folder / "step_size_speed.csv", table.to_csv(index=False))
    paths.write_atomically(folder / "step_size_speed.json", json.dumps(where_from, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
