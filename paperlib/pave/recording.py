"""Recorded runs: those kept under data/results, with their tables, provenance and a few networks.

    python -m paperlib.pave.recording published          # keep what the run store has finished
    python -m paperlib.pave.recording --show published   # which cells are recorded, with how many runs

A recorded run keeps the code revision it was trained with. It stays valid when the engine is made faster, which its
trace and parity tests guard; the tables say which revision a run is from.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pandas as pd

from paperlib.pave.experiments import Run, load_experiment
from paperlib.pave.settings import published_seeds
from paperlib.repro import paths
from paperlib.repro.store import Record, RunStore

NETWORKS_KEPT = {
    (environment, method) for environment in ("walker", "lunar", "pendulum") for method in ("base", "pave")
}
"""Environments and methods whose first seed's networks are kept, for the surfaces of notebook 08."""

Cell = tuple[str, str, str, int]


def results() -> RunStore:
    """The store of recorded runs."""
    return RunStore(paths.data_folder() / "results")


def cell_of(record: Record) -> Cell:
    """Environment, algorithm, method and seed of a record."""
    spec = record.spec
    return spec["environment"], spec["settings"]["algorithm"], spec["method"], spec["seed"]


def recorded(experiment: str) -> dict[Cell, Record]:
    """The recorded runs of an experiment by cell; of two of one cell the later one."""
    found = sorted(results().records(experiment), key=lambda record: record.provenance["date"])
    return {cell_of(record): record for record in found}


def record_finished(experiment: str, source: RunStore) -> Iterator[Cell]:
    """Keep the finished runs of `source` that are not recorded yet; yields their cells as they are written."""
    have, target = recorded(experiment), results()
    for record in source.records(experiment):
        if cell_of(record) in have:
            continue
        tables = {name: record.table(name) for name in record.column_types}
        target.save(
            record.spec,
            tables,
            provenance=record.provenance,
            diverged_at_step=record.diverged_at_step,
            files=_kept_files(record),
        )
        yield cell_of(record)


def _kept_files(record: Record) -> dict[str, bytes]:
    environment, _, method, seed = cell_of(record)
    keep = (environment, method) in NETWORKS_KEPT and seed == published_seeds()[0]
    return {"networks.pt": record.file("networks.pt")} if keep and "networks.pt" in record.contents else {}


def not_recorded(runs: list[Run], experiment: str) -> list[Run]:
    """The runs of an experiment whose cell is not recorded."""
    have = recorded(experiment)
    return [run for run in runs if (run.environment, run.algorithm, run.method, run.seed) not in have]


def grid(experiment: str, profile: str = "paper") -> pd.DataFrame:
    """Recorded of wanted runs, as "3 of 5": a row per algorithm and method, a column per environment."""
    runs, have = load_experiment(experiment, profile), recorded(experiment)
    rows = [
        {
            "algorithm": run.algorithm,
            "method": run.method,
            "environment": run.environment,
            "recorded": (run.environment, run.algorithm, run.method, run.seed) in have,
        }
        for run in runs
    ]
    counts = pd.DataFrame(rows).groupby(["algorithm", "method", "environment"], sort=False)["recorded"]
    words = counts.sum().astype(str) + " of " + counts.count().astype(str)
    return words.unstack("environment")[list(dict.fromkeys(run.environment for run in runs))]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m paperlib.pave.recording", description=__doc__.splitlines()[0])
    parser.add_argument("experiment", help="name of a file under data/experiments")
    parser.add_argument("--from", dest="source", default=paths.runs_folder(), help="run store (default build/runs)")
    parser.add_argument("--show", action="store_true", help="only show what is recorded")
    arguments = parser.parse_args()
    if not arguments.show:
        for cell in record_finished(arguments.experiment, RunStore(arguments.source)):
            print("recorded", *cell)
    print(grid(arguments.experiment).to_string())


if __name__ == "__main__":
    main()
