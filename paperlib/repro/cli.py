"""The command `paperlib`.

Exit codes: 0 all well, 1 a notebook or benchmark failed or a verdict is missing, 2 wrong usage or no checkout.
"""

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import pandas as pd

import paperlib
from paperlib.repro import paths, pipeline, progress, recording, tables, verdicts
from paperlib.repro.catalogue import SCOREBOARD, CatalogueEntry, existing_notebooks, load_catalogue
from paperlib.repro.claims import PAPERS, LedgerError
from paperlib.repro.profiles import DEFAULT_PROFILE, PROFILES, Profile
from paperlib.repro.store import RunStore

DESCRIPTION = "Run the notebooks, see how they stand, read the scoreboard, train and record runs, benchmark."


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = _parser()
    try:
        options = parser.parse_args(arguments)
        paths.require_this_checkout()
        return options.command(options)
    except paths.NoCheckout as error:
        print(f"paperlib: {error}", file=sys.stderr)
        return 2
    except (LedgerError, FileNotFoundError, ValueError) as error:
        print(f"paperlib: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="paperlib", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"paperlib {paperlib.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = _command(commands, "run", _run, "execute notebooks into the build folder")
    _add_notebooks(run, "notebooks to execute, by name, number or file, e.g. 06 (default: all that are not up to date)")
    meanings = "; ".join(f"{profile.name}: {profile.meaning}" for profile in PROFILES.values())
    run.add_argument("--profile", choices=PROFILES, default=DEFAULT_PROFILE, help=f"{meanings} (default: %(default)s)")
    run.add_argument("--if-out-of-date", action="store_true", help="leave named notebooks alone that are up to date")

    outdated = _command(commands, "outdated", _outdated, "make's targets for the notebooks that are not up to date")
    outdated.add_argument("--profile", choices=PROFILES, default=DEFAULT_PROFILE, help="(default: %(default)s)")

    _command(commands, "status", _status, "how the notebooks, the run store, figures and tables stand")

    claims = _command(commands, "claims", _claims, "the scoreboard: claims and their verdicts")
    claims.add_argument("--paper", choices=PAPERS, help="only claims of this paper")
    claims.add_argument("--notebook", type=_notebook_name, metavar="NOTEBOOK", help="only claims of this notebook")
    claims.add_argument("--verdict", choices=verdicts.STATES, metavar="VERDICT", help=", ".join(verdicts.STATES))
    claims.add_argument("--strict", action="store_true", help="exit 1 if an existing notebook lacks a current verdict")

    train = _command(commands, "train", _train, "train what an experiment asks for at the papers' budgets, resumably")
    train.add_argument("experiment", metavar="EXPERIMENT", help="its name in `paperlib status`")
    text = "only runs of this environment, method, cell, ..., e.g. environment=pendulum algorithm=td3 method=base"
    train.add_argument("wanted", nargs="*", type=_condition, metavar="NAME=VALUE", help=text)
    train.add_argument("--workers", type=int, default=1, metavar="N", help="groups of runs at a time (default 1)")

    record = _command(commands, "record", _record, "keep finished runs of experiments under data/results")
    record.add_argument("experiments", nargs="+", metavar="EXPERIMENT", help="their names in `paperlib status`")
    record.add_argument("--from", dest="source", type=Path, metavar="STORE", help="a run store (default build/runs)")

    bench = _command(commands, "bench", _bench, "run the benchmarks on this machine")
    bench.add_argument("benchmarks", nargs="*", type=_benchmark, metavar="BENCHMARK", help="names (default: all)")

    publish = _command(commands, "publish", _publish, "copy executed notebooks back as the committed ones")
    _add_notebooks(publish, "notebooks to publish (default: all)")
    return parser


def _command(commands, name: str, function, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(command=function)
    return parser


def _add_notebooks(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("notebooks", nargs="*", type=_existing_notebook, metavar="NOTEBOOK", help=text)


def _catalogue_entry(given: str) -> CatalogueEntry:
    """The notebook of this name or number, or of this file."""
    paths.require_this_checkout()
    catalogue = load_catalogue()
    if given in catalogue:
        return catalogue[given]
    name = Path(given).name.removesuffix(".ipynb")
    matches = [entry for entry in catalogue.values() if name in (entry.name, entry.name.partition("_")[0])]
    if len(matches) != 1:
        raise argparse.ArgumentTypeError(f"no notebook {given!r} in data/notebooks.yaml")
    if os.sep in given and not (matches[0].exists and Path(given).exists() and matches[0].source.samefile(given)):
        raise argparse.ArgumentTypeError(f"{given} is not among the notebooks of {paths.project_folder()}")
    return matches[0]


def _notebook_name(given: str) -> str:
    return _catalogue_entry(given).name


def _existing_notebook(given: str) -> CatalogueEntry:
    entry = _catalogue_entry(given)
    if not entry.exists:
        raise argparse.ArgumentTypeError(f"notebook {entry.name} is planned but not written yet")
    return entry


def _benchmark_folder() -> Path:
    return paths.project_folder() / "benchmarks"


def _benchmark(name: str) -> Path:
    path = _benchmark_folder() / f"{name}.py"
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"no benchmark {name!r} in {_benchmark_folder().name}/")
    return path


def _run(options: argparse.Namespace) -> int:
    profile = PROFILES[options.profile]
    paths.require_build_folder()
    again = bool(options.notebooks) and not options.if_out_of_date
    failures = sum(not _run_one(entry, profile, again=again) for entry in options.notebooks or existing_notebooks())
    if options.notebooks:
        return int(failures > 0)
    unacceptable = _print_scoreboard(verdicts.scoreboard())
    _print_artefacts()
    return int(failures > 0 or unacceptable > 0)


def _run_one(entry: CatalogueEntry, profile: Profile, *, again: bool) -> bool:
    """Execute a notebook, unless it is up to date and not to be executed again; False if it failed."""
    with pipeline.turn(entry):
        if not again and pipeline.is_up_to_date(entry, profile):
            print(f"{entry.name}: up to date", flush=True)
            return True
        from paperlib.repro import execution  # papermill loads slowly, and the other commands do without it

        print(f"{entry.name}: running at profile {profile.name}", flush=True)
        begin = time.monotonic()
        try:
            executed = execution.execute(entry, profile)
        except execution.NotebookFailed as error:
            print(error, file=sys.stderr, flush=True)
            return False
    print(f"{entry.name}: done in {time.monotonic() - begin:.0f} s: {_relative(executed)}", flush=True)
    return True


def _outdated(options: argparse.Namespace) -> int:
    profile = PROFILES[options.profile]
    for entry in existing_notebooks():
        if entry.name != SCOREBOARD and not pipeline.is_up_to_date(entry, profile):
            print(f"notebooks/{entry.name}")
    return 0


def _status(options: argparse.Namespace) -> int:
    rows = [
        {"notebook": entry.name, "state": pipeline.condition(entry), "profile": pipeline.executed_profile(entry)}
        for entry in existing_notebooks()
    ]
    print(tables.to_text(pd.DataFrame(rows, columns=["notebook", "state", "profile"])))
    print()
    _print_runs()
    for campaign in recording.campaigns():
        print(f"\n{_report(campaign)}")
    print()
    _print_artefacts()
    return int(any(row["state"] == pipeline.FAILED for row in rows))


def _report(campaign: EntryPoint) -> str:
    """What a package has to say; a checkout without its data or that package must not hide the rest of the status."""
    try:
        return campaign.load().report()
    except (FileNotFoundError, ModuleNotFoundError) as error:
        return f"{campaign.name}: {error}"


def _print_runs() -> None:
    store = RunStore(paths.runs_folder())
    store.clear_leftovers()
    counts = Counter((record.spec["experiment"], record.status) for record in store.records())
    print(f"{counts.total()} runs in {_relative(paths.runs_folder())}")
    for (experiment, status), count in sorted(counts.items()):
        print(f"  {experiment}: {count} {status}")
    for note in progress.notes(paths.runs_folder()):
        print(f"  under way or interrupted: {note['label']}, {note['done']:,} of {note['total']:,} steps")


def _print_artefacts() -> None:
    artefacts = pipeline.artefacts()
    print(f"{len(artefacts)} files of figures and tables")
    for path in artefacts:
        print(f"  {_relative(path)}")


def _claims(options: argparse.Namespace) -> int:
    table = verdicts.scoreboard()
    for column, wanted in (("paper", options.paper), ("notebook", options.notebook), ("state", options.verdict)):
        if wanted is not None:
            table = table[table[column] == wanted]
    filtered = bool(options.paper or options.notebook or options.verdict)
    unacceptable = _print_scoreboard(table, list_all=filtered)
    return int(options.strict and unacceptable > 0)


def _print_scoreboard(table: pd.DataFrame, *, list_all: bool = False) -> int:
    """Print the counts, then the claims that need a look; returns how many lack a current verdict."""
    print(tables.to_text(verdicts.counts(table)))
    print(f"\n{tables.to_text(verdicts.bases(table))}")
    quiet = () if list_all else (verdicts.HOLDS, verdicts.NOT_YET_CHECKED)
    for row in table[~table["state"].isin(quiet)].itertuples(index=False):
        print(f"\n{row.claim} ({row.where}): {row.state}\n  {row.rule}")
        facts = {"printed": row.printed, "measured": row.measured, "detail": row.detail, "see": row.artefact}
        for name, fact in facts.items():
            if fact:
                print(f"  {name}: {fact}")
    unacceptable = int(table["state"].isin(verdicts.UNACCEPTABLE).sum())
    print(f"\n{len(table)} claims, {unacceptable} of them without the verdict they should have")
    irregularities = verdicts.irregularities()
    for line in (verdicts.mixed_profiles(table), *irregularities):
        if line:
            print(line)
    return unacceptable + len(irregularities)


def _condition(given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{given!r} is not NAME=VALUE, as environment=pendulum is")
    return name, value


def _train(options: argparse.Namespace) -> int:
    campaign, store = recording.campaign_of(options.experiment), RunStore(paths.runs_folder())
    wanted = recording.matching(campaign.runs(options.experiment), dict(options.wanted))
    missing = recording.not_recorded(wanted)
    print(f"{len(missing)} of {len(wanted)} runs of {options.experiment} are not recorded", flush=True)
    made = campaign.make(missing, store, options.workers)
    print(f"{len(made)} in {_relative(store.root)}; `paperlib record {options.experiment}` keeps them")
    return 0


def _record(options: argparse.Namespace) -> int:
    source = RunStore(options.source or paths.runs_folder())
    for experiment in options.experiments:
        campaign = recording.campaign_of(experiment)
        for run in recording.record_finished(campaign.runs(experiment), source, campaign.keep_files):
            print(f"recorded: {experiment}, {run.label}", flush=True)
    for campaign in dict.fromkeys(recording.campaign_of(name) for name in options.experiments):
        print(campaign.report())
    return 0


def _bench(options: argparse.Namespace) -> int:
    benchmarks = options.benchmarks or sorted(_benchmark_folder().glob("*.py"))
    if not benchmarks:
        print(f"no benchmarks in {_benchmark_folder()}", file=sys.stderr)
        return 1
    failures = 0
    for path in benchmarks:
        print(f"{path.stem}:", flush=True)
        failures += subprocess.run([sys.executable, path], check=False).returncode != 0
    return int(failures > 0)


def _publish(options: argparse.Namespace) -> int:
    from paperlib.repro import publishing  # nbformat loads slowly

    for entry in options.notebooks or existing_notebooks():
        print(f"{entry.name}: {'published' if publishing.publish(entry) else 'unchanged'}")
    if not options.notebooks:
        changed = publishing.publish_verdicts()
        print(f"{_relative(paths.published_verdicts())}: {'published' if changed else 'unchanged'}")
    return 0


def _relative(path: Path) -> Path:
    project = paths.project_folder()
    return path.relative_to(project) if path.is_relative_to(project) else path
