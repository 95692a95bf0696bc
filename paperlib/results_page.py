"""RESULTS.md, and the counts in README.md, from recorded tables; `make results` writes them, a test tells of drift."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from paperlib.lipschitz import campaign as step_sizes
from paperlib.notebooks.nb14_lqg import records as lqg_records
from paperlib.notebooks.nb14_lqg import steps as lqg_steps
from paperlib.notebooks.shared import ascents as ascent_records
from paperlib.pave.figures.names import environment_name
from paperlib.pave.records import campaign as training
from paperlib.pave.records import printed_tables
from paperlib.pave.records.scores import RecordedRuns, recorded_runs
from paperlib.repro import paths, publishing, verdicts
from paperlib.repro.catalogue import load_catalogue
from paperlib.repro.recording import not_recorded, recorded
from paperlib.repro.store import Record

TITLE = "# Results\n"

HEAD = """## How to read the tables

Written by `make results` from the tables under `data/results`; do not edit. Every number is measured unless it says
*printed*; no run is left out, and a cell that is not recorded says *not run*. Verdicts on single claims are on the
scoreboard (`notebooks/18_scoreboard.ipynb`).

**Requirements.** The environment of the README (`requirements.lock`); recorded training used the versions named in
the `record.json` beside each table.

**Command.** `make reproduce PROFILE=paper` makes what is not recorded: training needs a GPU (without one it says how to
train a single cell), the step-size experiments take a CPU.

**Known differences from the papers.**

- PAVE: runs that differ in seed or coefficients train as one program, with one compiled or captured update; random
  numbers therefore differ from the released code's, distributions do not. GRAD and ASAP have no previous state at an
  episode's first step, where the released code takes the last state of the episode before; the term is masked there.
- PAVE: the printed standard deviations pool episodes and runs. Intervals here are over runs.
- Step sizes: actions beyond the limits are applied, and paid for, as the nearest admissible ones. The printed
  transition constants of the mass-spring-damper hold in no norm (c1) or not in the Euclidean one (c2). The ship is
  simulated without the stray factor omega of the printed equation, unless "as printed" is said. LQG: action bound,
  start and episodes are not printed; here |a| <= 2, theta = -0.5, 20 episodes.
"""

RUNS_OF = {
    "published": "runs of PAVE's Tables 1 and 2",
    "tenth": "runs of these tables at a tenth of the steps",
    "ablations": "runs of the factorial of its three losses",
    "critic_side": "runs with other critic regularisers",
    "combination": "runs of CAPS and PAVE together",
    "sensitivity": "runs of the sweeps of its coefficients",
    "precision": "runs of PAVE in mixed precision",
    "lqg": "cells of LQG",
    "mass_spring_damper": "of the mass-spring-damper",
    "ship_steering": "of ship steering",
}
"""What is counted of each experiment."""


def page() -> str:
    """The whole file."""
    return "\n".join([TITLE, f"{recorded_share()}\n", *_verdicts(), HEAD, *_pave(), *_step_sizes(), ""])


def recorded_share() -> str:
    """One sentence: how much of each experiment is recorded, at the papers' budgets unless it says otherwise."""
    wanted: dict[str, Sequence[Any]] = {name: training.paper_runs(name) for name in training.EXPERIMENTS}
    wanted |= {name: step_sizes.paper_runs(name) for name in step_sizes.EXPERIMENTS}
    shares = [f"{len(runs) - len(not_recorded(runs))} of {len(runs)} {RUNS_OF[name]}" for name, runs in wanted.items()]
    return f"Recorded at the papers' budgets: {', '.join(shares)}."


def _verdicts() -> Iterable[str]:
    yield "## Verdicts\n"
    yield "What the claims' verdicts rest on, counted apart; only the first two rows are evidence.\n"
    yield _markdown(verdicts_by_basis()) + "\n"


def verdicts_by_basis() -> pd.DataFrame:
    """Published verdicts: a row for each thing that they rest on, a column per verdict."""
    board = publishing.published_verdicts()
    return verdicts.bases(board).rename(columns={"basis": "rests on"})


def _markdown(table: pd.DataFrame) -> str:
    """A pipe table; cells as they are."""
    rows = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


# PAVE


def _pave() -> Iterable[str]:
    runs, printed = recorded_runs(), printed_tables.return_and_smoothness()
    for number, algorithm in ((1, "td3"), (2, "sac")):
        for measure in ("return", "smoothness"):
            better = "higher" if measure == "return" else "lower"
            yield f"## PAVE, Table {number} ({algorithm.upper()}): {measure}, {better} is better\n"
            yield "Printed mean ± deviation; below it ours: mean over runs [95 % interval over runs] (runs).\n"
            yield _markdown(_metric_table(runs, printed, algorithm, measure)) + "\n"
    yield "Learning curves, spectra and both readings of the deviations: `notebooks/07_return_and_smoothness.ipynb`"
    yield "(lines are means over runs, bands 95 % bootstrap intervals); geometry of the critics: notebook 08.\n"
    yield "### Training times\n"
    yield _markdown(_training_times()) + "\n"


def _metric_table(runs: RecordedRuns, printed: pd.DataFrame, algorithm: str, measure: str) -> pd.DataFrame:
    rows = []
    for environment in printed_tables.ENVIRONMENTS:
        here = printed[(printed["algorithm"] == algorithm) & (printed["environment"] == environment)].set_index(
            "method"
        )
        row = {"environment": environment_name(environment)}
        for method in printed_tables.METHODS:
            value = here.loc[method]
            ours = "not run"
            if runs.has(environment, algorithm, method):
                found = runs.interval(environment, algorithm, method, measure)
                digits = 1 if measure == "return" else 3
                low, high, mean = (f"{found[name]:.{digits}f}" for name in ("low", "high", "mean"))
                ours = f"**{mean}** [{low}, {high}] ({found['runs']})"
            row[method] = f"{value[f'{measure}_mean']:g} ± {value[f'{measure}_std']:g}<br>{ours}"
        rows.append(row)
    return pd.DataFrame(rows)


def _training_times() -> pd.DataFrame:
    """A row per recorded cell; its runs train together, so they share one wall time."""
    rows, runs = {}, training.paper_runs("published")
    for run, record in zip(runs, recorded(runs), strict=True):
        if record is None:
            continue
        found, cell = record.provenance, (run.environment, run.algorithm, run.method)
        rows[cell] = dict(zip(("environment", "algorithm", "method"), cell, strict=True)) | {
            "runs together": found["batch_of_runs"],
            "wall time": f"{found['wall_time_s'] / 60:.0f} min",
            "environment steps/s, all runs": f"{found['steps_per_second']:.0f}",
            "hardware": f"{found['device']}, {found['cpu']}, {found['cpu_cores']} cores",
            "date": found["date"][:10],
        }
    return pd.DataFrame([row for _, row in sorted(rows.items())])


# Step sizes


def _step_sizes() -> Iterable[str]:
    yield "## Step sizes, Table 2: iterations on LQG to within 0.01 of the optimal parameter\n"
    yield "The numbers of Table 2 are not in our copy of the paper. GPOMDP: mean over 10 runs [95 % interval].\n"
    records = _recorded("lqg")
    yield _markdown(lqg_records.table_two(lqg_records.runs_table(records), lqg_steps.iterations())) + "\n"
    for experiment, title in (
        ("mass_spring_damper", "Figs. 2 and 3: mass-spring-damper"),
        ("ship_steering", "Figs. 4 and 5: ship steering"),
    ):
        records = _recorded(experiment)
        yield f"## Step sizes, {title}\n"
        yield "The curves are not in our copy of the paper. Mean over runs ± its standard error.\n"
        yield _markdown(_ascent_table(records)) + "\n"
    yield "Curves (means over runs; shading: 95 % interval of the mean; bars in Fig. 4: standard deviation over runs): "
    yield "`notebooks/14_lqg.ipynb`, `15_mass_spring_damper.ipynb`, `16_ship_steering.ipynb`.\n"
    yield "### Times of the step-size experiments\n"
    yield "On one core each, other programs beside; of an interrupted cell only the part after the interruption.\n"
    yield _markdown(_step_size_times()) + "\n"


def _recorded(experiment: str) -> list[Record]:
    return [record for record in recorded(step_sizes.paper_runs(experiment)) if record is not None]


def _ascent_table(records: list) -> pd.DataFrame:
    ascents = ascent_records.Ascents(records)
    cells = list(dict.fromkeys(record.spec["cell"] for record in records))
    table = ascent_records.summary(ascents, cells)
    sizes = {cell: ascents.spec(cell) for cell in cells}
    budget = [f"{sizes[c]['runs']} x {sizes[c]['iterations']:,}" for c in table["cell"]]
    table.insert(2, "runs x iterations", budget)
    return table


def _step_size_times() -> pd.DataFrame:
    """A row per experiment: its cells run one after another on a core, as many at a time as there are cores."""
    rows = []
    for experiment in step_sizes.EXPERIMENTS:
        found = [record.provenance for record in _recorded(experiment)]
        seconds = sum(one["wall_time_s"] for one in found)
        transitions = sum(one["wall_time_s"] * one["steps_per_second"] for one in found)
        rows.append(
            {
                "experiment": experiment.replace("_", " "),
                "core time": f"{seconds / 60:.0f} min",
                "transitions/s on a core, gradients included": f"{transitions / seconds / 1e6:.0f} million",
                "hardware": " / ".join(sorted({f"{one['cpu']}, {one['cpu_cores']} cores" for one in found})),
            }
        )
    return pd.DataFrame(rows)


# README.md


def readme() -> str:
    """README.md with its counts of verdicts and its list of notebooks as they are."""
    text = (paths.project_folder() / "README.md").read_text(encoding="utf-8")
    for name, content in (("verdicts", verdicts_by_basis()), ("notebooks", _notebooks())):
        begin, end = f"<!-- {name}: written by make results -->", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{_markdown(content)}\n{end}{rest.split(end)[1]}"
    return text


def _notebooks() -> pd.DataFrame:
    """The notebooks with what they show, as in data/notebooks.yaml; those not written yet say so."""
    rows = [
        {
            "notebook": f"[{entry.name}](notebooks/{entry.name}.ipynb)" if entry.exists else entry.name,
            "what it derives, checks or runs": entry.shows + ("" if entry.exists else " *(planned)*"),
        }
        for entry in load_catalogue().values()
    ]
    return pd.DataFrame(rows)


def main() -> None:
    """Write RESULTS.md and the counts in README.md."""
    for name, content in (("RESULTS.md", page()), ("README.md", readme())):
        paths.write_atomically(paths.project_folder() / name, content)


if __name__ == "__main__":
    main()
