"""Recorded runs: those kept under data/results, with their tables, provenance and a few networks.

    python -m paperlib.pave.recording published          # keep what the run store has finished
    python -m paperlib.pave.recording --show published   # which cells are recorded, with how many runs
    python -m paperlib.pave.recording --train pendulum td3 base published   # train one cell first, on any machine

A recorded run keeps the code revision it was trained with. It stays valid when the engine is made faster, which its
trace and parity tests guard; the tables say which revision a run is from.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pandas as pd
import torch

from paperlib.pave.experiments import Run, group_runs, load_experiment, train
from paperlib.pave.settings import published_seeds
from paperlib.repro import paths
from paperlib.repro.progress import notes
from paperlib.repro.store import Record, RunStore

NETWORKS_KEPT = {
    (environment, method) for environment in ("walker", "lunar", "pendulum") for method in ("base", "pave")
}
"""Environments and methods whose first seed's networks are kept, for the surfaces of notebook 08."""

Cell = tuple[str, str, str, int]


def results() -> RunStore:
    """The store of recorded runs."""
    return RunStore(paths.data_folder() / "results", committed=True)


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


EXPERIMENTS = ("published", "ablations", "combination", "critic_side", "sensitivity")
"""Experiments that are recorded at the published budget."""

AIMED_RATE = 650.0
"""Locksteps per second that one H200-class GPU is to reach with 25 runs; not measured yet."""


def train_missing(experiment: str, store: RunStore) -> None:
    """Train what is neither recorded nor in the store, on a GPU; without one, say what it would take instead."""
    missing = not_recorded(load_experiment(experiment, "paper"), experiment)
    missing = [run for run in missing if store.find(run.spec()) is None]
    if missing and torch.cuda.is_available():
        train(missing, store, workers=min(4, len(group_runs(missing))))
    elif missing:
        print(without_gpu(experiment, missing))


def without_gpu(experiment: str, missing: list[Run]) -> str:
    """What training these runs takes, and how to train one cell of them without a GPU."""
    run = missing[0]
    cell = f"{run.environment} {run.algorithm} {run.method}"
    return (
        f"{len(missing)} runs of {experiment} are neither recorded nor trained, and there is no GPU. "
        f"On one they would take about {gpu_hours(missing):.1f} h at the aimed {AIMED_RATE:.0f} locksteps per second "
        "(not measured). One cell on this machine, in hours: "
        f"python -m paperlib.pave.recording --train {cell} {experiment}"
    )


def gpu_hours(runs: list[Run]) -> float:
    """Estimate at the aimed rate: runs of one environment and algorithm take their steps together."""
    steps = {(run.environment, run.algorithm): run.budget.steps for run in runs}
    return sum(steps.values()) / AIMED_RATE / 3600


def train_cell(experiment: str, environment: str, algorithm: str, method: str, store: RunStore) -> None:
    """Train one cell at the published budget; ValueError if the experiment has no such cell."""
    runs = [
        run
        for run in load_experiment(experiment, "paper")
        if (run.environment, run.algorithm, run.method) == (environment, algorithm, method)
    ]
    if not runs:
        raise ValueError(f"{experiment} has no cell {environment} {algorithm} {method}")
    train(runs, store)


def status_report() -> str:
    """The grid of recorded, running and missing cells with the estimated GPU hours, for `paperlib status`."""
    parts = []
    for experiment in EXPERIMENTS:
        missing = not_recorded(load_experiment(experiment, "paper"), experiment)
        running = [note["label"] for note in notes(paths.runs_folder()) if note["label"].endswith("runs")]
        parts.append(f"{experiment}, at the published budget: recorded of wanted\n{grid(experiment).to_string()}")
        if missing:
            hours = f"about {gpu_hours(missing):.1f} GPU hours at the aimed {AIMED_RATE:.0f} locksteps per second"
            parts.append(f"{len(missing)} runs missing, {hours} (not measured)")
    if running:
        parts.append("under way or interrupted: " + "; ".join(running))
    return "\n".join(parts)


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
    parser.add_argument(
        "--train", nargs=3, metavar=("ENVIRONMENT", "ALGORITHM", "METHOD"), help="train this cell first; hours on a CPU"
    )
    arguments = parser.parse_args()
    if arguments.train:
        train_cell(arguments.experiment, *arguments.train, RunStore(arguments.source))
    if not arguments.show:
        for cell in record_finished(arguments.experiment, RunStore(arguments.source)):
            print("recorded", *cell)
    print(grid(arguments.experiment).to_string())


if __name__ == "__main__":
    main()
