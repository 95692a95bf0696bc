"""Step-size experiments: what a file under data/experiments asks for, and running what the run store lacks.

A file names a domain, cells (parameters of the domain, the constants that the rules are given, `rules` where it is not
all of them, and `paper`, a budget of its own at that profile), rules, the start of the ascent, a seed, the baseline of
the gradient estimates, and for each profile the runs, episodes, steps, iterations, recorded and audited iterations.
Rules of one cell run side by side on the same random numbers.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
import time
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from paperlib.lipschitz.constants import NotAContraction, contraction_margin
from paperlib.lipschitz.rules import RULES
from paperlib.lipschitz.simulation.ascent import Ascent, Problem, ascend, recorded_iterations
from paperlib.lipschitz.simulation.domains import Domain, MassSpringDamper, ShipSteering
from paperlib.lipschitz.simulation.gpomdp import SimulatedReturns
from paperlib.repro.code_revision import code_revision
from paperlib.repro.definitions import load_definition, without_defaults
from paperlib.repro.progress import Progress
from paperlib.repro.provenance import provenance
from paperlib.repro.recording import records_of
from paperlib.repro.store import Record, RunStore
from paperlib.repro.workers import side_by_side

DOMAINS: dict[str, type[Domain]] = {"mass_spring_damper": MassSpringDamper, "ship_steering": ShipSteering}
KIND = "step_sizes"
_SHARED = ("start", "seed", "baseline")


@dataclasses.dataclass(frozen=True)
class StepSizeRun:
    """All runs of one rule on one cell of an experiment.

    transition: L_P as assumed, in place of the derived one. metric_rate: measure states in the Lyapunov metric in which
    the flow contracts at this rate, and derive all constants there. start: every component of the first parameters.
    baseline: one of `gpomdp.BASELINES`. audit_every: see `Ascent`.
    """

    experiment: str
    domain: str
    cell: str
    rule: str
    parameters: dict
    transition: float | None
    metric_rate: float | None
    start: float
    runs: int
    episodes: int
    steps: int
    iterations: int
    recorded: int
    seed: int
    baseline: str
    audit_every: int = 1

    def spec(self) -> dict:
        """What names the runs in the store; a field that is added with a default renames none."""
        return without_defaults(self) | {"code": _code()}

    @property
    def label(self) -> str:
        """As in "c1, agss"."""
        return f"{self.cell}, {self.rule}"

    def problem(self) -> Problem:
        """The domain with the constants that the rules are given."""
        domain = DOMAINS[self.domain](**self.parameters)
        returns = _returns(domain, self.episodes, self.steps, self.seed, self.baseline)
        if self.metric_rate is not None:
            metric = domain.lyapunov_metric(self.metric_rate)
            return Problem(returns, domain.constants_in(metric), domain.policy(metric))
        constants = domain.constants()
        if self.transition is not None:
            constants = dataclasses.replace(constants, transition=self.transition)
        return Problem(returns, constants, domain.policy())


@lru_cache(maxsize=1)
def _returns(domain: Domain, episodes: int, steps: int, seed: int, baseline: str) -> SimulatedReturns:
    """One object for all rules of a cell, which so draw their random numbers once; they are large, so only the last."""
    return SimulatedReturns(domain, episodes, steps, seed, baseline)


@cache
def _code() -> str:
    return code_revision(sys.modules[__name__])


def load_step_sizes(name: str, profile: str) -> list[StepSizeRun]:
    """What data/experiments/<name>.yaml asks for at a profile: a run of each rule on each cell.

    FileNotFoundError or ValueError if there is no such file or profile, or it is no step-size experiment; ValueError
    on a rule that is not one, impossible parameters, and NotAContraction if a cell has no positive margin at the start.
    """
    definition = load_definition(name, KIND, profile)
    named = itertools.chain(definition["rules"], *(cell.get("rules", ()) for cell in definition["cells"].values()))
    if unknown := set(named) - set(RULES):
        raise ValueError(f"{name}.yaml asks for unknown rules: {', '.join(sorted(unknown))}")
    budget = definition["profiles"][profile] | {name: definition[name] for name in _SHARED}
    asked = [
        StepSizeRun(
            name, definition["domain"], cell, rule, values["parameters"], values.get("transition"),
            values.get("metric_rate"), **budget | values.get(profile, {}),
        )
        for cell, values in definition["cells"].items()
        for rule in values.get("rules", definition["rules"])
    ]  # fmt: skip
    for run in asked:
        _require_margin(run)
    return asked


def _require_margin(run: StepSizeRun) -> None:
    problem = run.problem()
    constants = problem.policy.constants(np.full(problem.policy.features.dimension, run.start))
    margin = float(contraction_margin(problem.mdp, constants))
    if margin <= 0:
        raise NotAContraction(
            f"{run.experiment}, cell {run.cell}: the contraction margin at theta = {run.start:g} is {margin:.4g}; "
            f"L_P = {problem.mdp.transition:.4g} must be below {1 / problem.mdp.discount:.4g}"
        )


def run_step_sizes(asked: Sequence[StepSizeRun], store: RunStore, *, workers: int = 1) -> list[Record]:
    """The records of what is asked, one each in order; what the store lacks is run first, `workers` cells at a time.

    Interrupted runs go on from their last checkpoint. Tables: see `paperlib.lipschitz.simulation.ascent.Ascent.result`.
    """
    cells: dict[str, list[StepSizeRun]] = {}
    for run in asked:
        if store.find(run.spec()) is None:
            cells.setdefault(run.cell, []).append(run)
    side_by_side(run_cell, [(runs, store) for runs in cells.values()], store.root, workers=workers)
    return records_of(asked, store)


def run_cell(runs: Sequence[StepSizeRun], store: RunStore) -> None:
    """Run rules of one cell side by side and save those that the store lacks by the time it is their turn."""
    with store.claim_missing([run.spec() for run in runs]) as missing:
        todo = [run for run in runs if run.spec() in missing]
        if not todo:
            return
        started, folders = time.perf_counter(), [store.work_folder(run.spec()) for run in todo]
        one, updates = todo[0], sum(run.iterations for run in todo)
        label = f"{one.experiment} {one.cell}: {len(todo)} rules x {one.runs} runs"
        ascents = [_ascent(run, folder) for run, folder in zip(todo, folders, strict=True)]
        results = ascend(ascents, Progress(label, updates, folders[0]))
        seconds = (time.perf_counter() - started) / len(todo)
        transitions = one.runs * one.episodes * one.steps * one.iterations
        where_from = provenance("cpu", "float64", one.runs, seconds, transitions / seconds)
        for run, result in zip(todo, results, strict=True):
            store.save(run.spec(), result._asdict(), provenance=where_from)


def _ascent(run: StepSizeRun, folder: Path) -> Ascent:
    problem = run.problem()
    return Ascent(
        problem,
        run.rule,
        np.full((run.runs, problem.policy.features.dimension), run.start),
        run.iterations,
        record_at=recorded_iterations(run.iterations, run.recorded),
        audit_every=run.audit_every,
        work_folder=folder,
    )
