"""What is recorded of PAVE's experiments: which runs, which of their networks, and what is still to be trained.

What counts as recorded: `paperlib.repro.recording`. The tables say which code revision a run is from.
"""

from __future__ import annotations

import json

import pandas as pd
import torch

from paperlib.pave.engine.record_contents import NETWORKS_FILE, kept_networks
from paperlib.pave.engine.settings import published_seeds
from paperlib.pave.experiments import Run, group_runs, load_experiment, train
from paperlib.repro import paths, recording
from paperlib.repro.progress import notes
from paperlib.repro.recording import find_records, not_recorded, recorded
from paperlib.repro.store import Record, RunStore

WITH_NETWORKS = frozenset({"published"})
"""Experiments whose records keep networks, for the surfaces of notebook 08 and the noise of notebook 09."""

Cell = tuple[str, str, str, int]


def paper_runs(experiment: str) -> list[Run]:
    """What an experiment asks for at the published budget."""
    return load_experiment(experiment, "paper")


def cell_of(run: Run) -> Cell:
    """Environment, algorithm, method and seed of a run."""
    return run.environment, run.algorithm, run.method, run.seed


def _kept_files(record: Record) -> dict[str, bytes]:
    environment, method, seed = (record.spec[name] for name in ("environment", "method", "seed"))
    wanted = record.spec["experiment"] in WITH_NETWORKS and seed == published_seeds()[0]
    if not wanted or NETWORKS_FILE not in record.contents:
        return {}
    return {NETWORKS_FILE: kept_networks(record.file(NETWORKS_FILE), environment, method)}


EXPERIMENTS = ("published", "tenth", "ablations", "combination", "critic_side", "sensitivity", "precision")
"""Experiments that are recorded, all but `tenth` at the published budget."""


def train_missing(experiment: str, store: RunStore) -> None:
    """Train what is neither recorded nor in the store, on a GPU; without one, say what it would take instead."""
    runs = paper_runs(experiment)
    found = find_records(runs, recording.results(), store)
    missing = [run for run, record in zip(runs, found, strict=True) if record is None]
    if missing and torch.cuda.is_available():
        train(missing, store, workers=min(4, len(group_runs(missing))))
    elif missing:
        print(without_gpu(experiment, missing))


def without_gpu(experiment: str, missing: list[Run]) -> str:
    """What training these runs takes, and how to train one cell of them without a GPU."""
    run = missing[0]
    cell = f"environment={run.environment} algorithm={run.algorithm} method={run.method}"
    return (
        f"{len(missing)} runs of {experiment} are neither recorded nor trained, and there is no GPU. "
        f"They would take {core_hours(missing)}. One cell: paperlib train {experiment} {cell}"
    )


def core_hours(runs: list[Run]) -> str:
    """What training these runs takes at the measured rates: five runs to a program, on one core of the CPU named.

    The rates are those that `make bench` measured on this machine, else the recorded ones. Environments without a rate
    count as Walker2d; methods as Base, or as PAVE where they have a term of PAVE's.
    """
    here = paths.tables_folder() / "bench--engine_speed.csv"
    recorded_rates = paths.data_folder() / "results" / "benchmarks" / "engine_speed.csv"
    rates = pd.read_csv(here if here.is_file() else recorded_rates)
    wanted = {"program": "engine", "runs": 5, "precision": "float32", "processes": 1}
    for name, value in wanted.items():
        rates = rates[rates[name] == value]
    milliseconds = rates.set_index(["environment", "algorithm", "method"])["ms"]

    def of(run: Run) -> float:
        method = "pave" if "pave" in run.coefficients.terms() else "base"
        cell = run.environment, run.algorithm, method
        return run.budget.steps * milliseconds[cell if cell in milliseconds else ("walker", *cell[1:])]

    hours = sum(map(of, runs)) / 3.6e6
    cpu = "this machine's CPU" if here.is_file() else json.loads(recorded_rates.with_suffix(".json").read_text())["cpu"]
    return f"about {hours:,.0f} hours on one core of {cpu}, by measured rates"


def report() -> str:
    """The grid of recorded, running and missing cells with the hours that these take."""
    parts = []
    for experiment in EXPERIMENTS:
        missing = not_recorded(paper_runs(experiment))
        parts.append(f"{experiment}, at {_budget(experiment)}: recorded of wanted\n{grid(experiment).to_string()}")
        if missing:
            parts.append(f"{len(missing)} runs missing: {core_hours(missing)}")
    running = [note["label"] for note in notes(paths.runs_folder()) if note["label"].endswith("runs")]
    if running:
        parts.append("under way or interrupted: " + "; ".join(running))
    return "\n".join(parts)


def _budget(experiment: str) -> str:
    return "a tenth of the published budget" if experiment == "tenth" else "the published budget"


def grid(experiment: str) -> pd.DataFrame:
    """Recorded of wanted runs, as "3 of 5": a row per algorithm and method, a column per environment."""
    runs = paper_runs(experiment)
    rows = [
        {
            "algorithm": run.algorithm,
            "method": run.method,
            "environment": run.environment,
            "recorded": record is not None,
        }
        for run, record in zip(runs, recorded(runs), strict=True)
    ]
    counts = pd.DataFrame(rows).groupby(["algorithm", "method", "environment"], sort=False)["recorded"]
    words = counts.sum().astype(str) + " of " + counts.count().astype(str)
    return words.unstack("environment")[list(dict.fromkeys(run.environment for run in runs))]


CAMPAIGN = recording.Campaign(
    EXPERIMENTS, paper_runs, lambda runs, store, workers: train(runs, store, workers=workers), report, _kept_files
)
