"""Recorded step-size experiments: what they are at the paper's budgets, and the command line.

    python -m paperlib.lipschitz.recording           # keep what the run store has finished
    python -m paperlib.lipschitz.recording --show    # only show what is recorded

What counts as recorded: `paperlib.repro.recording`.
"""

from __future__ import annotations

import argparse

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
    make = run_lqg if experiment == "lqg" else run_step_sizes
    made = iter(make([run for run, record in zip(runs, have, strict=True) if record is None], store, workers=workers))
    return [record or next(made) for record in have]


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
    with recording.a_reader_may_leave():
        for experiment in () if arguments.show else EXPERIMENTS:
            for run in recording.record_finished(paper_runs(experiment), RunStore(arguments.source)):
                print("recorded", experiment, run.name)
        print(status_report())


if __name__ == "__main__":
    main()
