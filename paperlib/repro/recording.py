"""Recorded runs: finished ones kept under data/results, and the one rule by which a record counts for a run.

A record counts for a run if it has the run's specification but for what the machine decided: the code revision, as a
record stays valid when code is made faster, and the backend that stepped the environments, which is not to be had
everywhere. Budget, settings, coefficients and seed are in the specification, so a shorter run is never taken for a
longer one, and any number of budgets can be recorded side by side. Of several such records the latest counts.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, TypeVar

from paperlib.repro import paths
from paperlib.repro.store import Record, RunStore

DECIDED_BY_THE_MACHINE = ("backend", "code")
CAMPAIGNS = "paperlib.campaigns"
"""Entry points of the packages' campaigns."""


class Run(Protocol):
    """What is asked of a run of either paper."""

    @property
    def experiment(self) -> str:
        """Name of the file under data/experiments that asks for it."""

    @property
    def label(self) -> str:
        """What people call it within its experiment; its name in a store is made from the specification."""

    def spec(self) -> dict:
        """What names the run in a store."""


R = TypeVar("R", bound=Run)


class NotRecorded(LookupError):
    """Runs that a measure needs and that are not recorded."""


@dataclass(frozen=True)
class Campaign:
    """What a package wants recorded, and how it is made.

    experiments: names of files under data/experiments. runs(experiment): what it asks for at the paper's budget.
    make(runs, store, workers): the records of runs, those that the store lacks being run first. report(): how the
    recording stands, for `paperlib status`. keep_files(record): files of a record that are kept beside its tables.
    """

    experiments: tuple[str, ...]
    runs: Callable[[str], list[Any]]
    make: Callable[[list[Any], RunStore, int], Sequence[Record]]
    report: Callable[[], str]
    keep_files: Callable[[Record], Mapping[str, bytes]] = lambda record: {}


def campaigns() -> tuple[EntryPoint, ...]:
    """The installed packages' campaigns, to be loaded."""
    return tuple(entry_points(group=CAMPAIGNS))


def campaign_of(experiment: str) -> Campaign:
    """The campaign that an experiment belongs to; ValueError naming the experiments there are."""
    known = [entry.load() for entry in campaigns()]
    for campaign in known:
        if experiment in campaign.experiments:
            return campaign
    names = ", ".join(name for campaign in known for name in campaign.experiments)
    raise ValueError(f"no experiment {experiment!r} is recorded; there are: {names}")


def matching(runs: Sequence[R], wanted: Mapping[str, str]) -> list[R]:
    """The runs whose attributes read as wanted; ValueError naming what there is, if none does."""
    found = list(runs)
    for name, value in wanted.items():
        if not all(hasattr(run, name) for run in found):
            raise ValueError(f"runs have no {name!r}; they have {', '.join(vars(found[0]))}")
        known = list(dict.fromkeys(str(getattr(run, name)) for run in found))
        if value not in known:
            raise ValueError(f"no run has {name} {value!r}; there are: {', '.join(known)}")
        found = [run for run in found if str(getattr(run, name)) == value]
    return found


def results() -> RunStore:
    """The store of recorded runs."""
    return RunStore(paths.data_folder() / "results", committed=True)


def find_records(runs: Sequence[Run], *stores: RunStore) -> list[Record | None]:
    """The record of each run in any of the stores, None where none counts for it.

    Of several the latest; of two copies of one record the fuller one, as not everything is kept under data/results.
    """
    latest: dict[str, Record] = {}
    for experiment in dict.fromkeys(run.experiment for run in runs):
        for record in (record for store in stores for record in store.records(experiment)):
            asked = _asked_for(record.spec)
            if asked not in latest or _rank(latest[asked]) < _rank(record):
                latest[asked] = record
    return [latest.get(_asked_for(run.spec())) for run in runs]


def _asked_for(spec: Mapping) -> str:
    asked = {name: value for name, value in spec.items() if name not in DECIDED_BY_THE_MACHINE}
    return json.dumps(asked, sort_keys=True)


def _rank(record: Record) -> tuple[str, int]:
    return record.provenance["date"], sum(file["bytes"] for file in record.contents.values())


def recorded(runs: Sequence[Run]) -> list[Record | None]:
    """The record of each run under data/results, None where there is none."""
    return find_records(runs, results())


def not_recorded(runs: Sequence[R]) -> list[R]:
    """The runs that have no record under data/results."""
    return [run for run, record in zip(runs, recorded(runs), strict=True) if record is None]


def record_finished(
    runs: Sequence[R], source: RunStore, keep_files: Callable[[Record], Mapping[str, bytes]] = lambda record: {}
) -> Iterator[R]:
    """Keep the records of `source` for those of the runs that are not recorded yet; yields the runs as they are kept.

    runs: those wanted at the budget that is to be recorded; whatever else `source` holds stays where it is.
    keep_files: files of a record that are kept beside its tables.
    """
    missing, target = not_recorded(runs), results()
    for run, record in zip(missing, find_records(missing, source), strict=True):
        if record is None:
            continue
        target.save(
            record.spec,
            {name: record.table(name) for name in record.column_types},
            provenance=record.provenance,
            diverged_at_step=record.diverged_at_step,
            files=keep_files(record),
        )
        yield run


def records_of(runs: Sequence[Run], store: RunStore) -> list[Record]:
    """The records of runs that were just made, in order; RuntimeError naming those that have none."""
    specs = [run.spec() for run in runs]
    found = [store.find(spec) for spec in specs]
    if missing := [store.name(spec) for spec, record in zip(specs, found, strict=True) if record is None]:
        raise RuntimeError(f"{len(missing)} of {len(runs)} runs have no record in {store.root}: {', '.join(missing)}")
    return [record for record in found if record is not None]
