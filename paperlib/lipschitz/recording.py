"""Recorded step-size experiments: runs at the paper's budgets, kept under data/results with their provenance.

    python -m paperlib.lipschitz.recording           # keep what the run store has finished
    python -m paperlib.lipschitz.recording --show    # only show what is recorded

A recorded run keeps the code revision it was made with, and stays valid when the code is made faster.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence

from paperlib.lipschitz.experiments import StepSizeRun, load_step_sizes, run_step_sizes
from paperlib.lipschitz.lqg_experiment import LQGCell, load_lqg, run_lqg
from paperlib.repro import paths
from paperlib.repro.store import Record, RunStore

Run = StepSizeRun | LQGCell
EXPERIMENTS = ("lqg", "mass_spring_damper", "ship_steering")


class NotRecorded(LookupError):
    """Runs at the paper's budget that are not recorded, and how to make them."""


def paper_runs(experiment: str) -> list[Run]:
    """What an experiment asks for at the paper's budget."""
    return load_lqg("paper") if experiment == "lqg" else load_step_sizes(experiment, "paper")


def recorded(runs: Sequence[Run]) -> list[Record | None]:
    """The record of each run, None where there is none; of several the latest."""
    store = RunStore(paths.data_folder() / "results", committed=True)
    found = sorted(store.records(runs[0].experiment), key=lambda record: record.provenance["date"])
    by_spec = {_without_code(record.spec): record for record in found}
    return [by_spec.get(_without_code(run.spec())) for run in runs]


def _without_code(spec: dict) -> str:
    return json.dumps({name: value for name, value in spec.items() if name != "code"}, sort_keys=True)


def recorded_or_run(experiment: str, profile: str, *, workers: int = 1) -> list[Record]:
    """The records of an experiment at the paper's budget; at profile `paper` what is not recorded is run.

    NotRecorded at other profiles if some are missing.
    """
    runs = paper_runs(experiment)
    have = recorded(runs)
    missing = [run for run, record in zip(runs, have, strict=True) if record is None]
    if missing and profile != "paper":
        raise NotRecorded(
            f"{len(missing)} of {len(runs)} runs of {experiment} are not recorded; PROFILE=paper makes them"
        )
    if missing:
        run = run_lqg if experiment == "lqg" else run_step_sizes
        made = iter(run(missing, RunStore(paths.runs_folder()), workers=workers))
        have = [record or next(made) for record in have]
    return have


def record_finished(experiment: str, source: RunStore) -> Iterator[Run]:
    """Keep the finished runs of `source` that are not recorded yet; yields them as they are written."""
    runs, target = paper_runs(experiment), RunStore(paths.data_folder() / "results", committed=True)
    finished = {_without_code(record.spec): record for record in source.records(experiment)}
    for run, have in zip(runs, recorded(runs), strict=True):
        record = finished.get(_without_code(run.spec()))
        if have is None and record is not None:
            tables = {name: record.table(name) for name in record.column_types}
            target.save(record.spec, tables, provenance=record.provenance)
            yield run


def status_report() -> str:
    """How much of each experiment is recorded, for `paperlib status`."""
    lines = ["step-size experiments at the paper's budgets, recorded under data/results"]
    for experiment in EXPERIMENTS:
        records = recorded(paper_runs(experiment))
        lines.append(f"  {experiment}: {sum(record is not None for record in records)} of {len(records)}")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m paperlib.lipschitz.recording", description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="source", default=paths.runs_folder(), help="run store (default build/runs)")
    parser.add_argument("--show", action="store_true", help="only show what is recorded")
    arguments = parser.parse_args()
    for experiment in EXPERIMENTS:
        if not arguments.show:
            for run in record_finished(experiment, RunStore(arguments.source)):
                print("recorded", experiment, run.name)
    print(status_report())


if __name__ == "__main__":
    main()
