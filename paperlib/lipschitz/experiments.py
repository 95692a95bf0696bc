"""Step-size experiments: what a file under data/experiments asks for, and running what the run store lacks.

A file names a domain, cells (parameters of the domain and the constants that the rules are given), rules, a seed, and
for each profile the runs, episodes, steps, iterations and recorded iterations.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from importlib import import_module
from multiprocessing import get_context

import numpy as np
import yaml

from paperlib.lipschitz.ascent import RULES, Problem, ascend, recorded_iterations
from paperlib.lipschitz.constants import NotAContraction, contraction_margin
from paperlib.lipschitz.domains import Domain, MassSpringDamper, ShipSteering
from paperlib.lipschitz.gpomdp import SimulatedReturns
from paperlib.repro import paths
from paperlib.repro.progress import Progress, quiet, show_notes
from paperlib.repro.provenance import provenance
from paperlib.repro.store import Record, RunStore, code_revision

DOMAINS: dict[str, type[Domain]] = {"mass_spring_damper": MassSpringDamper, "ship_steering": ShipSteering}
KIND = "step_sizes"
_MODULES_THAT_DETERMINE_A_RUN = ("ascent", "constants", "domains", "gpomdp", "policies", "step_sizes")


@dataclasses.dataclass(frozen=True)
class StepSizeRun:
    """All runs of one rule on one cell of an experiment.

    transition: L_P as assumed, in place of the derived one. metric_rate: measure states in the Lyapunov metric in which
    the flow contracts at this rate, and derive all constants there.
    """

    experiment: str
    domain: str
    cell: str
    rule: str
    parameters: dict
    transition: float | None
    metric_rate: float | None
    runs: int
    episodes: int
    steps: int
    iterations: int
    recorded: int
    seed: int

    def spec(self) -> dict:
        """What names the runs in the store."""
        return dataclasses.asdict(self) | {"code": _code()}

    def problem(self) -> Problem:
        """The domain with the constants that the rules are given."""
        domain = DOMAINS[self.domain](**self.parameters)
        returns = SimulatedReturns(domain, self.episodes, self.steps, self.seed)
        if self.metric_rate is not None:
            metric = domain.lyapunov_metric(self.metric_rate)
            return Problem(returns, domain.constants_in(metric), domain.policy(metric))
        constants = domain.constants()
        if self.transition is not None:
            constants = dataclasses.replace(constants, transition=self.transition)
        return Problem(returns, constants, domain.policy())


@cache
def _code() -> str:
    return code_revision(*(import_module(f"paperlib.lipschitz.{name}") for name in _MODULES_THAT_DETERMINE_A_RUN))


def load_step_sizes(name: str, profile: str) -> list[StepSizeRun]:
    """What data/experiments/<name>.yaml asks for at a profile: a run of each rule on each cell.

    FileNotFoundError or ValueError if there is no such file or profile, or it is no step-size experiment; ValueError
    on a rule that is not one, impossible parameters, and NotAContraction if a cell has no positive margin at theta = 0.
    """
    file = paths.data_folder() / "experiments" / f"{name}.yaml"
    if not file.exists():
        raise FileNotFoundError(f"no experiment {name!r} in {file.parent}")
    definition = yaml.safe_load(file.read_text())
    if definition.get("kind") != KIND:
        raise ValueError(f"{file.name} is no step-size experiment")
    if profile not in definition["profiles"]:
        raise ValueError(f"{file.name} has no profile {profile!r}, only {', '.join(definition['profiles'])}")
    if unknown := set(definition["rules"]) - set(RULES):
        raise ValueError(f"{file.name} asks for unknown rules: {', '.join(sorted(unknown))}")
    budget = definition["profiles"][profile] | {"seed": definition["seed"]}
    asked = [
        StepSizeRun(
            name, definition["domain"], cell, rule, values["parameters"], values.get("transition"),
            values.get("metric_rate"), **budget,
        )
        for cell, values in definition["cells"].items()
        for rule in definition["rules"]
    ]  # fmt: skip
    for run in asked:
        _require_margin(run)
    return asked


def _require_margin(run: StepSizeRun) -> None:
    problem = run.problem()
    constants = problem.policy.constants(np.zeros(problem.policy.features.dimension))
    margin = float(contraction_margin(problem.mdp, constants))
    if margin <= 0:
        raise NotAContraction(
            f"{run.experiment}, cell {run.cell}: the contraction margin at theta = 0 is {margin:.4g}; "
            f"L_P = {problem.mdp.transition:.4g} must be below {1 / problem.mdp.discount:.4g}"
        )


def run_step_sizes(asked: Sequence[StepSizeRun], store: RunStore, *, workers: int = 1) -> list[Record]:
    """The records of what is asked, in order; what the store lacks is run first, `workers` at a time.

    Interrupted runs go on from their last checkpoint. Tables: `trace` and `runs`, see `paperlib.lipschitz.ascent`.
    """
    missing = [run for run in asked if store.find(run.spec()) is None]
    if workers > 1 and len(missing) > 1:
        with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_quiet_worker) as pool:
            futures = [pool.submit(run_one, run, store) for run in missing]
            try:
                show_notes(store.root, until=lambda: all(future.done() for future in futures))
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    else:
        for run in missing:
            run_one(run, store)
    return [store.find(run.spec()) for run in asked]


def _quiet_worker() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    quiet()


def run_one(run: StepSizeRun, store: RunStore) -> None:
    """Run one rule on one cell and save it, unless the store has it by the time it is this one's turn."""
    with store.claim_missing([run.spec()]) as missing:
        if not missing:
            return
        folder, started, problem = store.work_folder(run.spec()), time.perf_counter(), run.problem()
        result = ascend(
            problem,
            run.rule,
            np.zeros((run.runs, problem.policy.features.dimension)),
            run.iterations,
            record_at=recorded_iterations(run.iterations, run.recorded),
            work_folder=folder,
            progress=Progress(f"{run.experiment} {run.cell} {run.rule}, {run.runs} runs", run.iterations, folder),
        )
        seconds = time.perf_counter() - started
        transitions = run.runs * run.episodes * run.steps * run.iterations
        where_from = provenance("cpu", "float64", run.runs, seconds, transitions / seconds)
        store.save(run.spec(), {"trace": result.trace, "runs": result.runs}, provenance=where_from)
        shutil.rmtree(folder, ignore_errors=True)
