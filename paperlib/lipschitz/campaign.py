"""Recorded step-size experiments: what they are at the paper's budgets, and how they are made.

What counts as recorded: `paperlib.repro.recording`.
"""

from __future__ import annotations

from paperlib.lipschitz.experiments import StepSizeRun, load_step_sizes, run_step_sizes
from paperlib.lipschitz.lqg_experiment import LQGCell, load_lqg, run_lqg
from paperlib.repro import paths, recording
from paperlib.repro.recording import NotRecorded, find_records, recorded
from paperlib.repro.store import Record, RunStore

Run = StepSizeRun | LQGCell
EXPERIMENTS = ("lqg", "mass_spring_damper", "ship_steering")


def paper_runs(experiment: str) -> list[Run]:
    """What an experiment asks for at the paper's budget."""
    return load_lqg("paper") if experiment == "lqg" else load_step_sizes(experiment, "paper")


def make(runs: list[Run], store: RunStore, workers: int = 1) -> list[Record]:
    """The records of runs of one experiment, in order; what the store lacks is run first."""
    run_them = run_lqg if runs and isinstance(runs[0], LQGCell) else run_step_sizes
    return run_them(runs, store, workers=workers)


def recorded_or_run(experiment: str, profile: str, *, workers: int = 1) -> list[Record]:
    """The records of an experiment at the paper's budget; at profile `paper` what neither data/results nor the run
    store holds is run.

    NotRecorded at other profiles if some are missing.
    """
    runs = paper_runs(experiment)
    if profile != "paper":
        have = recorded(runs)
        if missing := have.count(None):
            missing_of = f"{missing} of {len(runs)} runs of {experiment}"
            raise NotRecorded(f"{missing_of} are not recorded; PROFILE=paper makes them")
        return have
    store = RunStore(paths.runs_folder())
    have = find_records(runs, recording.results(), store)
    made = iter(make([run for run, record in zip(runs, have, strict=True) if record is None], store, workers))
    return [record or next(made) for record in have]


def report() -> str:
    """How much of each experiment is recorded."""
    lines = ["step-size experiments at the paper's budgets, recorded under data/results"]
    for experiment in EXPERIMENTS:
        records = recorded(paper_runs(experiment))
        lines.append(f"  {experiment}: {sum(record is not None for record in records)} of {len(records)}")
    return "\n".join(lines)


CAMPAIGN = recording.Campaign(EXPERIMENTS, paper_runs, make, report)
