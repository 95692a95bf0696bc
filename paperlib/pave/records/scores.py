"""Recorded runs as scores: what claims about methods and environments are measured from, or what they still lack.

A cell is an environment, an algorithm and a method. It counts as recorded with all its seeds; a claim that needs a cell
which is not gets no number in its place, but the list of what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from paperlib.pave.engine.checkpoints import TrainedNetworks, networks_from_bytes
from paperlib.pave.engine.record_contents import with_gaps
from paperlib.pave.engine.settings import published_seeds
from paperlib.pave.records.campaign import Cell, cell_of, paper_runs, train_missing
from paperlib.repro import paths, recording
from paperlib.repro.statistics import bootstrap_interval, mean_interval, probability_of_improvement
from paperlib.repro.store import Record, RunStore

FROM_EPISODES = ("return", "smoothness")
FROM_POLICY = ("action_sd", "action_sd_largest", "actor_jacobian_median", "actor_jacobian_95", "actor_jacobian_sup")


class NotRecorded(recording.NotRecorded):
    """Cells that a measure needs and that are not recorded with all their seeds, or not with what it needs."""

    def __init__(self, cells: Iterable[tuple[str, str, str]], lacking: str = ""):
        self.cells, self.lacking = sorted(set(cells)), lacking
        names = [" ".join(cell) for cell in self.cells]
        shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        reason = f"recorded before {lacking} was kept, to be run again" if lacking else "not run at this budget"
        super().__init__(f"{reason}: {shown}")


class RecordedRuns:
    """The runs of an experiment by cell.

    records: by (environment, algorithm, method, seed). seeds: those a cell needs.
    """

    def __init__(self, records: Mapping[Cell, Record], seeds: Iterable[int] | None = None):
        self._records, self.seeds = dict(records), tuple(seeds or published_seeds())

    def has(self, environment: str, algorithm: str, method: str) -> bool:
        """Whether the cell is recorded with all its seeds."""
        return all((environment, algorithm, method, seed) in self._records for seed in self.seeds)

    def require(self, cells: Iterable[tuple[str, str, str]]) -> None:
        """NotRecorded naming those of the cells that are missing."""
        if missing := [cell for cell in cells if not self.has(*cell)]:
            raise NotRecorded(missing)

    def runs(self, environment: str, algorithm: str, method: str) -> list[Record]:
        """The records of a cell in the order of the seeds; NotRecorded if it is not complete."""
        self.require([(environment, algorithm, method)])
        return [self._records[environment, algorithm, method, seed] for seed in self.seeds]

    def scores(
        self, environment: str, algorithm: str, method: str, measure: str, units: str = "environment"
    ) -> np.ndarray:
        """A measure of each run, shape (seeds,): "return" or "smoothness" averaged over the final episodes, a column of
        `policy`, or one of the final geometry at actions in these units.

        Bounds that exist at no visited state are infinite. NotRecorded where the record does not hold the measure.
        """
        cell = environment, algorithm, method
        if measure in FROM_EPISODES:
            return np.array([record.table("episodes")[measure].mean() for record in self.runs(*cell)])
        if measure in FROM_POLICY:
            return np.array([table[measure].item() for table in self._tables(cell, "policy")])
        tables = [table.set_index("action_units") for table in self._tables(cell, "geometry")]
        if measure not in tables[0].columns:
            raise NotRecorded([cell], lacking=measure)
        return np.array([with_gaps(table).fillna(np.inf).loc[units, measure] for table in tables])

    def _tables(self, cell: tuple[str, str, str], name: str) -> list[pd.DataFrame]:
        try:
            return [record.table(name) for record in self.runs(*cell)]
        except KeyError:
            raise NotRecorded([cell], lacking=name) from None

    def visited(self, environment: str, algorithm: str, method: str, units: str = "scaled") -> pd.DataFrame:
        """The visited states kept of all runs of a cell, with their seed; NaN where a column is not defined.

        Units that are the same numbers are kept once, as "scaled".
        """
        parts = zip(self.seeds, self._tables((environment, algorithm, method), "visited"), strict=True)
        table = pd.concat([with_gaps(table).assign(seed=seed) for seed, table in parts], ignore_index=True)
        return table[table["action_units"] == (units if units in set(table["action_units"]) else "scaled")]

    def point(self, environment: str, algorithm: str, method: str) -> tuple[np.ndarray, np.ndarray]:
        """State (d_s,) and scaled action (d_a,) in the middle of the first seed's first final episode."""
        table = self._tables((environment, algorithm, method), "point")[0].set_index("of")["value"]
        return table.loc[["state"]].to_numpy(), table.loc[["action"]].to_numpy()

    def has_networks(self, environment: str, algorithm: str, method: str) -> bool:
        """Whether the networks of the cell's first seed are kept."""
        record = self._records.get((environment, algorithm, method, self.seeds[0]))
        return record is not None and "networks.pt" in record.contents

    def networks(self, environment: str, algorithm: str, method: str) -> TrainedNetworks:
        """The networks of the cell's first seed; NotRecorded if they are not kept."""
        if not self.has_networks(environment, algorithm, method):
            raise NotRecorded([(environment, algorithm, f"{method} with its networks")])
        return networks_from_bytes(self._records[environment, algorithm, method, self.seeds[0]].file("networks.pt"))

    def episodes(self, environment: str, algorithm: str, method: str) -> pd.DataFrame:
        """The final episodes of all runs of a cell, with their seed."""
        records = zip(self.seeds, self.runs(environment, algorithm, method), strict=True)
        return pd.concat([record.table("episodes").assign(seed=seed) for seed, record in records], ignore_index=True)

    def evaluations(self, algorithm: str | None = None) -> pd.DataFrame:
        """Learning curves of all complete cells: environment, algorithm, method, seed and the columns recorded."""
        parts = []
        for (environment, of, method, seed), record in self._records.items():
            if self.has(environment, of, method) and algorithm in (None, of):
                cell = {"environment": environment, "algorithm": of, "method": method, "seed": seed}
                parts.append(with_gaps(record.table("evaluations")).assign(**cell))
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    def interval(self, environment: str, algorithm: str, method: str, measure: str) -> dict[str, float]:
        """{mean, low, high, runs} of a measure over runs."""
        return mean_interval(self.scores(environment, algorithm, method, measure), seed=0)

    def below(
        self, environment: str, algorithm: str, method: str, other: str, measure: str, units: str = "environment"
    ) -> dict[str, float]:
        """Probability that a run of a method has a lower value than one of the other, with its 95 % interval."""
        self.require([(environment, algorithm, m) for m in (method, other)])
        one, two = _finite_ranks(*(self.scores(environment, algorithm, m, measure, units) for m in (method, other)))
        return probability_of_improvement(-one, -two, seed=0)

    def above(
        self, environment: str, algorithm: str, method: str, other: str, measure: str, units: str = "environment"
    ) -> dict[str, float]:
        """Probability that a run of a method has a higher value than one of the other, with its 95 % interval."""
        self.require([(environment, algorithm, m) for m in (method, other)])
        one, two = _finite_ranks(*(self.scores(environment, algorithm, m, measure, units) for m in (method, other)))
        return probability_of_improvement(one, two, seed=0)


def resampled(scores: np.ndarray, statistic: Callable[[np.ndarray], float]) -> dict[str, float]:
    """{mean, low, high} of a statistic of scores (runs, groups), runs being drawn anew within each group.

    The statistic may be biased under drawing, as a minimum is; the interval is made to hold what was measured.
    """
    found = bootstrap_interval(scores, statistic, seed=0)
    value = found["estimate"]
    return {"mean": value, "low": min(found["low"], value), "high": max(found["high"], value)}


def where_recorded(keys: Iterable[str], measure: Callable[[str], Any]) -> dict[str, Any]:
    """A measure by case, None where it is not recorded; NotRecorded if no case is."""
    found, missing = {}, []
    for key in keys:
        try:
            found[key] = measure(key)
        except NotRecorded as error:
            found[key] = None
            missing.append(error)
    if len(missing) == len(found):
        lacking = {error.lacking for error in missing}
        cells = (cell for error in missing for cell in error.cells)
        raise NotRecorded(cells, lacking=lacking.pop() if len(lacking) == 1 else "")
    return found


def _finite_ranks(*groups: np.ndarray) -> list[np.ndarray]:
    """The groups with infinite values put above all finite ones, which changes no comparison."""
    finite = np.concatenate(groups)[np.isfinite(np.concatenate(groups))]
    above = finite.max() + 1 if len(finite) else 0.0
    return [np.where(np.isfinite(group), group, above) for group in groups]


def recorded_runs(experiment: str = "published", profile: str = "quick") -> RecordedRuns:
    """The runs kept under data/results; at profile `paper` also those of the run store, which lacking ones join first.

    Without a GPU nothing is trained, and it is said what it would take.
    """
    stores = [recording.results()]
    if profile == "paper":
        stores.append(RunStore(paths.runs_folder()))
        train_missing(experiment, stores[1])
    runs = paper_runs(experiment)
    found = zip(runs, recording.find_records(runs, *stores), strict=True)
    return RecordedRuns({cell_of(run): record for run, record in found if record is not None})
