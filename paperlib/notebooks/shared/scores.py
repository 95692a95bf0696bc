"""Scores by cell, of recorded runs or as printed, so that one formula serves both; and the verdicts on them.

Cells are (environment, method), or (environment, method, step) during training, of one algorithm and one measure. The
scores of a cell are an array over runs where they are recorded, and a number where they are printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from paperlib.pave.records.printed_tables import ENVIRONMENTS, METHODS
from paperlib.pave.records.scores import NotRecorded, RecordedRuns, resampled, where_recorded
from paperlib.repro.notebook import Notebook
from paperlib.repro.statistics import mean_interval

ACTOR_SIDE = ("caps", "grad", "asap")


class Scores(Protocol):
    """What a formula reads: recorded scores, or a dict of printed ones."""

    def __getitem__(self, cell: tuple, /) -> np.ndarray | float: ...


class RecordedScores:
    """A measure of each run, (seeds,), by cell; NotRecorded for a cell that is not there."""

    def __init__(self, runs: RecordedRuns, algorithm: str, measure: str, units: str = "environment"):
        self._runs, self._algorithm, self._measure, self._units = runs, algorithm, measure, units

    def __getitem__(self, cell: tuple[str, str]) -> np.ndarray:
        environment, method = cell
        return self._runs.scores(environment, self._algorithm, method, self._measure, self._units)


class RecordedDuringTraining:
    """A measure of each run, (seeds,), by environment, method and a step of training that was evaluated."""

    def __init__(self, runs: RecordedRuns, algorithm: str, measure: str):
        self._runs, self._algorithm, self._measure = runs, algorithm, measure

    def __getitem__(self, cell: tuple[str, str, int]) -> np.ndarray:
        environment, method, step = cell
        records = self._runs.runs(environment, self._algorithm, method)
        tables = [record.table("evaluations").set_index("step") for record in records]
        if step not in tables[0].index:
            raise NotRecorded([(environment, self._algorithm, f"{method} at step {step}")])
        return np.array([table.loc[step, self._measure] for table in tables])


def of_cells(scores: Scores, cells: Iterable[tuple]) -> list[np.ndarray | float]:
    """The scores of these cells; NotRecorded naming all that are missing."""
    found, missing = [], []
    for cell in cells:
        try:
            found.append(scores[cell])
        except NotRecorded as error:
            missing.append(error)
    if missing:
        raise NotRecorded((cell for error in missing for cell in error.cells), lacking=missing[0].lacking)
    return found


def over_runs(scores: np.ndarray | float) -> dict[str, float] | float:
    """{mean, low, high} of scores over runs; a printed number as it is."""
    if np.ndim(scores) == 0:
        return float(scores)
    interval = mean_interval(scores, seed=0)
    return {name: interval[name] for name in ("mean", "low", "high")}


# Formulas: means over runs, or printed


def ratio(scores: Scores, environment: str, method: str, other: str) -> float:
    """Mean of a method over that of another one."""
    one, two = of_cells(scores, [(environment, method), (environment, other)])
    return float(np.mean(one) / np.mean(two))


def difference(scores: Scores, environment: str, method: str, other: str) -> float:
    """Mean of a method minus that of another one."""
    one, two = of_cells(scores, [(environment, method), (environment, other)])
    return float(np.mean(one) - np.mean(two))


def over_lowest(
    scores: Scores, environment: str, method: str = "pave", others: Iterable[str] | None = None
) -> dict[str, float] | float:
    """A method's mean over the lowest of the others' means, {mean, low, high} over runs, or as printed.

    others: all of the five but the method, unless given.
    """
    chosen = [m for m in METHODS if m != method] if others is None else others
    groups = of_cells(scores, [(environment, m) for m in (method, *chosen)])
    if np.ndim(groups[0]) == 0:
        return float(groups[0] / min(groups[1:]))
    return resampled(np.stack(groups, axis=1), lambda drawn: drawn[:, 0].mean() / drawn[:, 1:].mean(axis=0).min())


def largest_difference(values: Mapping[tuple, float], first: Mapping[tuple, float]) -> float:
    """Largest relative difference between printed values and those that were printed first, over the cells of both."""
    return max(abs(values[cell] / first[cell] - 1) for cell in values.keys() & first.keys())


# Runs of all methods


def complete_settings(runs: RecordedRuns) -> list[list[tuple[str, str, str]]]:
    """The five cells of each environment and algorithm whose methods are all recorded; NotRecorded if there is none."""
    settings = [[(e, a, m) for m in METHODS] for e in ENVIRONMENTS for a in ("td3", "sac")]
    complete = [cells for cells in settings if all(runs.has(*cell) for cell in cells)]
    if not complete:
        runs.require(cell for cells in settings for cell in cells)
    return complete


def run_table(
    runs: RecordedRuns, cells: Iterable[tuple[str, str, str]], measures: Iterable[str], units: str = "scaled"
) -> pd.DataFrame:
    """A row per run of these cells: environment, algorithm, method, seed, smoothness and measures at these actions."""
    parts = []
    for environment, algorithm, method in cells:
        cell = {"environment": environment, "algorithm": algorithm, "method": method, "seed": runs.seeds}
        scores = {q: runs.scores(environment, algorithm, method, q, units) for q in ("smoothness", *measures)}
        parts.append(pd.DataFrame(cell | scores))
    return pd.concat(parts, ignore_index=True)


# Recorded beside printed


def beside_print(
    recorded: Mapping[str, Scores], printed: Mapping[str, Mapping[tuple, float]], environment: str
) -> dict[str, dict[str, float] | None]:
    """Per printed cell of an environment and measure, ours beside it as the check `mean_agrees` takes them.

    recorded, printed: scores by measure. Where no deviation is printed, the printed mean's error is taken to be ours.
    """
    cells = {
        ", ".join([*map(str, cell[1:]), measure]): (measure, cell)
        for measure, values in printed.items()
        for cell in values
        if cell[0] == environment
    }

    def beside(case: str) -> dict[str, float]:
        measure, cell = cells[case]
        scores = recorded[measure][cell]
        error = float(scores.std(ddof=1) / np.sqrt(len(scores)))
        return over_runs(scores) | {"printed": float(printed[measure][cell]), "printed_error": error}

    return where_recorded(cells, beside)


def decide(
    notebook: Notebook,
    claim: str,
    artefact: str | Path,
    formula: Callable[..., Any],
    *arguments: Any,
    corrected: Callable[..., Any] | None = None,
    broken: Callable[..., Any] | None = None,
) -> str:
    """The verdict on a claim from formula(*arguments), or "not run" with the cells that are not recorded.

    corrected, broken: the correction's formula, and one made wrong on purpose, of the same arguments.
    """
    try:
        measured = formula(*arguments)
        rest = {name: of(*arguments) for name, of in (("corrected", corrected), ("broken", broken)) if of is not None}
    except NotRecorded as missing:
        return notebook.not_run(claim, reason=str(missing))
    return notebook.verdict(claim, measured, artefact=artefact, **rest)
