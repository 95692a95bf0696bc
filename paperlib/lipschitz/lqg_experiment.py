"""The experiment of Table 2: what data/experiments/lqg.yaml asks for, and running what the run store lacks."""

from __future__ import annotations

import dataclasses
import itertools
import sys
import time
from collections.abc import Sequence
from functools import cache

import pandas as pd

from paperlib.lipschitz.constants import NotAContraction
from paperlib.lipschitz.simulation.domains import LQG
from paperlib.lipschitz.simulation.lqg_iterations import (
    StepTable,
    estimated_iterations,
    exact_iterations,
    horizon,
    tabulate,
)
from paperlib.repro.code_revision import code_revision
from paperlib.repro.definitions import load_definition
from paperlib.repro.progress import Progress
from paperlib.repro.provenance import provenance
from paperlib.repro.recording import records_of
from paperlib.repro.store import Record, RunStore
from paperlib.repro.workers import side_by_side

KIND = "lqg_iterations"


@dataclasses.dataclass(frozen=True)
class LQGCell:
    """All runs of all rules on one LQG.

    longest: updates of the exact ascent beyond which a rule's runs are stopped at `limit_over_lipschitz` times the
    slowest run of the Lipschitz rule. truncated: see `Domain`. baseline: one of `gpomdp.BASELINES`.
    """

    experiment: str
    rules: tuple[str, ...]
    a: float
    discount: float
    standard_deviation: float
    start: float
    tolerance: float
    runs: int
    episodes: int
    longest: int
    limit_over_lipschitz: float
    seed: int
    truncated: bool
    baseline: str

    def spec(self) -> dict:
        """What names the cell in the store."""
        return dataclasses.asdict(self) | {"rules": list(self.rules), "code": _code()}

    def domain(self) -> LQG:
        """The LQG of the cell."""
        limits = {"truncated": self.truncated}
        return LQG(self.a, discount=self.discount, standard_deviation=self.standard_deviation, **limits)

    @property
    def label(self) -> str:
        """As in "A = 0.1, gamma = 0.9, sigma = 0.5"."""
        return f"A = {self.a:g}, gamma = {self.discount:g}, sigma = {self.standard_deviation:g}"


@cache
def _code() -> str:
    return code_revision(sys.modules[__name__])


def load_lqg(profile: str) -> list[LQGCell]:
    """The cells of the grid at a profile.

    ValueError on an unknown profile; NotAContraction if a cell has no positive margin at the start.
    """
    definition = load_definition("lqg", KIND, profile)
    budget = dict(definition["profiles"][profile])
    grid = itertools.product(*(budget.pop(name) for name in ("a", "discount", "standard_deviation")))
    named = ("start", "tolerance", "limit_over_lipschitz", "seed", "truncated", "baseline")
    shared = {name: definition[name] for name in named} | budget
    cells = [LQGCell("lqg", tuple(definition["rules"]), *values, **shared) for values in grid]
    for cell in cells:
        _require_margin(cell)
    return cells


def _require_margin(cell: LQGCell) -> None:
    margin = 1 - cell.discount * abs(cell.a) * (1 + abs(cell.start))
    if margin <= 0:
        raise NotAContraction(f"{cell.label}: the contraction margin at the start {cell.start:g} is {margin:.4g}")


def run_lqg(cells: Sequence[LQGCell], store: RunStore, *, workers: int = 1) -> list[Record]:
    """The records of the cells, one each in order; what the store lacks is run first, `workers` cells at a time.

    Table `runs`: rule, run, iterations (-1: not within `limit`), limit.
    """
    missing = [cell for cell in cells if store.find(cell.spec()) is None]
    side_by_side(_run_cell, [(cell, store) for cell in missing], store.root, workers=workers)
    return records_of(cells, store)


def _run_cell(cell: LQGCell, store: RunStore) -> None:
    with store.claim_missing([cell.spec()]) as missing:
        if not missing:
            return
        started, rows, done = time.perf_counter(), [], 0
        for rule in cell.rules:
            table = tabulate(cell.domain(), rule)
            limit = _limit(cell, table, rows)
            for run in range(cell.runs):
                iterations = _one_run(cell, rule, run, table, limit, store)
                rows.append({"rule": rule, "run": run, "iterations": iterations, "limit": limit})
                done += limit if iterations < 0 else iterations
        seconds = time.perf_counter() - started
        transitions = done * cell.episodes * horizon(cell.discount)
        where_from = provenance("cpu", "float64", 1, seconds, transitions / seconds)
        store.save(cell.spec(), {"runs": pd.DataFrame(rows)}, provenance=where_from)


def _limit(cell: LQGCell, table: StepTable, rows: list[dict]) -> int:
    """Of the runs of a rule: generous, or what is needed to see that they are slower than those before."""
    exact = exact_iterations(table, cell.start, cell.tolerance)
    if exact <= cell.longest or not rows:
        return 10 * max(exact, 1000)
    return int(cell.limit_over_lipschitz * max(row["iterations"] for row in rows))


def _one_run(cell: LQGCell, rule: str, run: int, table: StepTable, limit: int, store: RunStore) -> int:
    folder = store.work_folder(cell.spec())
    progress = Progress(f"lqg {cell.label}, {rule}, run {run + 1} of {cell.runs}", limit, folder)
    return estimated_iterations(
        cell.domain(),
        table,
        cell.start,
        episodes=cell.episodes,
        seed=(cell.seed, run),
        tolerance=cell.tolerance,
        limit=limit,
        baseline=cell.baseline,
        progress=progress,
    )
