"""Recorded runs: finished ones of the recorded budget are kept once, with the networks asked for, and count alone."""

import os
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import torch
import yaml

from paperlib.pave.engine.checkpoints import TrainedNetworks, networks_from_bytes, networks_to_bytes
from paperlib.pave.experiments import load_experiment
from paperlib.pave.records import campaign
from paperlib.pave.records.scores import RecordedRuns, recorded_runs
from paperlib.repro import cli, paths, recording
from paperlib.repro.recording import find_records, not_recorded, record_finished, recorded, records_of, results
from paperlib.repro.store import RunStore

DATA = paths.data_folder()

DEFINITION = {
    "environments": ["pendulum", "hopper"],
    "algorithms": ["sac"],
    "methods": ["base", "caps"],
    "steps": 100,
    "evaluate_every": 50,
    "evaluation_episodes": 1,
    "final_episodes": 1,
    "checkpoint_every": 50,
    "profiles": {
        "smoke": {"seeds": 2, "steps": 50},
        "quick": {"seeds": 2, "settings": {"both": {"hidden": [8]}}},
        "paper": {"seeds": 2},
    },
}
TINY = [torch.nn.Sequential(torch.nn.Linear(inputs, 1)) for inputs in (3, 4, 4)]
NETWORKS = networks_to_bytes(TrainedNetworks(TINY[0], (TINY[1], TINY[2]), 1, {}))
PROVENANCE = {"date": "2026-01-01T00:00:00+00:00"}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    published = paths.data_folder() / "published"
    shutil.copytree(published, tmp_path / "published")
    shutil.copy(paths.data_folder() / "environments.yaml", tmp_path)
    shutil.copytree(paths.data_folder() / "results" / "benchmarks", tmp_path / "results" / "benchmarks")
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "tiny.yaml").write_text(yaml.safe_dump(DEFINITION))
    monkeypatch.setattr(paths, "data_folder", lambda: tmp_path)
    return load_experiment("tiny", "paper")


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs")


def record(experiment, store):
    """The cells that are recorded by this."""
    kept = record_finished(campaign.paper_runs(experiment), store, campaign.CAMPAIGN.keep_files)
    return (campaign.cell_of(run) for run in kept)


def finish(store, run, *, date=PROVENANCE["date"], **changes):
    table = pd.DataFrame({"episode": [0], "return": [float(run.seed)]})
    spec = run.spec() | changes
    return store.save(spec, {"episodes": table}, provenance={"date": date}, files={"networks.pt": NETWORKS})


def test_finished_runs_are_recorded_once_with_their_tables(runs, store):
    finish(store, runs[0])
    assert list(record("tiny", store)) == [("pendulum", "sac", "base", runs[0].seed)]
    assert list(record("tiny", store)) == []
    kept = recorded(runs)[0]
    assert kept.table("episodes")["return"].item() == runs[0].seed
    assert kept.provenance == PROVENANCE
    assert recorded(runs)[1:] == [None] * (len(runs) - 1)
    assert recorded([]) == []


@pytest.mark.parametrize("profile", ["smoke", "quick"])
def test_runs_of_a_smaller_budget_are_never_recorded_as_published(runs, store, profile):
    for run in load_experiment("tiny", profile):
        finish(store, run)
    assert list(record("tiny", store)) == []
    assert not_recorded(runs) == runs
    finish(store, runs[0])
    assert list(record("tiny", store)) == [campaign.cell_of(runs[0])]
    assert not_recorded(runs) == runs[1:]


def test_two_budgets_are_recorded_side_by_side(runs, store, tmp_path):
    tenth = DEFINITION | {"profiles": {"paper": {"seeds": 2, "steps": 50}}}
    (tmp_path / "experiments" / "tenth.yaml").write_text(yaml.safe_dump(tenth))
    tenths = load_experiment("tenth", "paper")
    finish(store, runs[0])
    finish(store, tenths[0])
    for experiment in ("tiny", "tenth"):
        assert len(list(record(experiment, store))) == 1
    assert [record.spec["budget"]["steps"] for record in recorded([runs[0], tenths[0]])] == [100, 50]
    assert not_recorded([*runs, *tenths]) == runs[1:] + tenths[1:]


def test_networks_are_kept_of_first_seeds_and_the_actor_of_those_that_are_played(runs, store, monkeypatch):
    monkeypatch.setattr(campaign, "WITH_NETWORKS", {"tiny"})
    for run in runs:
        finish(store, run)
    list(record("tiny", store))
    records = dict(zip(runs, recorded(runs), strict=True))
    kept = {run: record for run, record in records.items() if "networks.pt" in record.contents}
    assert list(kept) == [run for run in runs if run.seed == runs[0].seed]
    played = {campaign.cell_of(r)[:3]: networks_from_bytes(k.file("networks.pt")).actor for r, k in kept.items()}
    assert [cell for cell, actor in played.items() if actor is not None] == [("pendulum", "sac", "base")]


def test_a_record_stays_valid_when_the_engine_or_the_backend_changes(runs, store):
    finish(store, runs[0], code="an older revision", backend="another")
    list(record("tiny", store))
    finish(store, runs[0])
    assert list(record("tiny", store)) == []
    assert not_recorded(runs) == runs[1:]


def test_of_several_revisions_the_latest_is_recorded_and_no_other(runs, store):
    revisions = {f"revision {day}": f"2026-01-{day:02d}T00:00:00+00:00" for day in (3, 9, 1, 5)}
    for code, date in revisions.items():
        finish(store, runs[0], date=date, code=code)
    assert list(record("tiny", store)) == [campaign.cell_of(runs[0])]
    (kept,) = results().records("tiny")
    assert kept.spec["code"] == "revision 9"
    for code, date in revisions.items():
        finish(results(), runs[0], date=date, code=code)
    assert recorded(runs)[0].spec["code"] == "revision 9"


def test_of_two_copies_of_a_record_the_fuller_one_counts(runs, store):
    finish(store, runs[0])
    results().save(runs[0].spec(), {}, provenance=PROVENANCE, files={"networks.pt": NETWORKS[:100]})
    for stores in ((results(), store), (store, results())):
        (record,) = find_records(runs[:1], *stores)
        assert record.file("networks.pt") == NETWORKS


def test_a_run_that_diverged_is_recorded_as_that(runs, store):
    store.save(runs[0].spec(), {}, provenance=PROVENANCE, diverged_at_step=7)
    list(record("tiny", store))
    assert (recorded(runs)[0].status, recorded(runs)[0].diverged_at_step) == ("diverged", 7)


def test_runs_just_made_have_a_record_each_or_are_named(runs, store):
    finish(store, runs[0])
    assert [record.spec["seed"] for record in records_of(runs[:1], store)] == [runs[0].seed]
    with pytest.raises(RuntimeError, match=f"3 of 4 .*{store.name(runs[1].spec())}"):
        records_of(runs[:4], store)


def test_at_profile_paper_the_run_store_adds_runs_and_networks(runs, store, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "runs_folder", lambda: store.root)
    monkeypatch.setattr(campaign.torch.cuda, "is_available", lambda: False)
    caps = next(run for run in runs if run.method == "caps" and run.seed == runs[0].seed)
    finish(store, caps)
    results().save(caps.spec(), {}, provenance=PROVENANCE)  # without its networks
    finish(store, runs[1])
    for run in load_experiment("tiny", "quick"):
        finish(store, run)
    committed, all_of_it = recorded_runs("tiny", "quick"), recorded_runs("tiny", "paper")
    one_seed = {"seeds": [caps.seed]}
    assert not RecordedRuns(committed._records, **one_seed).has_networks("pendulum", "sac", "caps")
    assert RecordedRuns(all_of_it._records, **one_seed).has_networks("pendulum", "sac", "caps")
    bytes_of = {cell: len(record.file("networks.pt")) for cell, record in all_of_it._records.items()}
    assert set(bytes_of.values()) == {len(NETWORKS)}
    assert set(committed._records) == {campaign.cell_of(caps)}
    assert set(all_of_it._records) == {campaign.cell_of(caps), campaign.cell_of(runs[1])}


def test_the_grid_counts_recorded_runs(runs, store):
    for run in runs[:3]:
        finish(store, run)
    list(record("tiny", store))
    grid = campaign.grid("tiny")
    assert grid.loc[("sac", "base"), "pendulum"] == "2 of 2"
    assert grid.loc[("sac", "caps"), "pendulum"] == "1 of 2"
    assert grid.loc[("sac", "caps"), "hopper"] == "0 of 2"
    assert list(grid.columns) == ["pendulum", "hopper"]


def test_without_a_gpu_nothing_is_trained_and_it_is_said_what_it_would_take(runs, store, capsys, monkeypatch):
    monkeypatch.setattr(campaign.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(campaign, "train", None)  # any training would fail
    campaign.train_missing("tiny", store)
    said = capsys.readouterr().out
    assert (
        f"{len(runs)} runs of tiny" in said
        and "paperlib train tiny environment=pendulum algorithm=sac method=base" in said
        and "by measured rates" in said
    )
    for run in runs:
        finish(store, run)
    campaign.train_missing("tiny", store)
    assert capsys.readouterr().out == ""


def test_with_a_gpu_only_what_is_missing_is_trained(runs, store, monkeypatch):
    trained = []
    monkeypatch.setattr(campaign.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(campaign, "train", lambda missing, store, workers: trained.extend(missing))
    finish(store, runs[0])
    campaign.train_missing("tiny", store)
    assert trained == runs[1:]


def test_the_hours_that_are_left_come_from_measured_rates_of_the_nearest_kind(runs, monkeypatch, tmp_path):
    rates = pd.read_csv(DATA / "results" / "benchmarks" / "engine_speed.csv")
    rates["ms"] = 1.0
    rates.loc[(rates["environment"] == "pendulum") & (rates["program"] == "engine"), "ms"] = 3.6e6 / 100
    monkeypatch.setattr(paths, "tables_folder", lambda: tmp_path)
    assert "on one core of AMD EPYC" in campaign.core_hours(runs)
    rates.to_csv(tmp_path / "bench--engine_speed.csv")
    of_pendulum = [run for run in runs if run.environment == "pendulum"]
    told = f"about {len(of_pendulum)} hours on one core of this machine's CPU, by measured rates"
    assert campaign.core_hours(of_pendulum) == told
    others = [run for run in runs if run.environment != "pendulum"]
    assert campaign.core_hours(others).startswith("about 0 hours")


def run_command(monkeypatch, *arguments):
    monkeypatch.setattr(recording, "campaign_of", lambda experiment: campaign.CAMPAIGN)
    return cli.main(arguments)


def test_one_cell_can_be_trained_by_name_but_for_what_is_recorded(runs, store, monkeypatch, capsys):
    hopper = [run for run in runs if (run.environment, run.method) == ("hopper", "caps")]
    finish(store, hopper[0])
    list(record("tiny", store))
    trained = []
    monkeypatch.setattr(campaign, "train", lambda cell, store, workers: trained.extend(cell) or cell)
    monkeypatch.setattr(paths, "runs_folder", lambda: store.root)
    assert run_command(monkeypatch, "train", "tiny", "environment=hopper", "method=caps") == 0
    assert trained == hopper[1:] and "1 of 2 runs of tiny are not recorded" in capsys.readouterr().out


def test_finished_runs_are_recorded_by_name(runs, store, monkeypatch, capsys):
    monkeypatch.setattr(campaign, "EXPERIMENTS", ())
    finish(store, runs[0])
    assert run_command(monkeypatch, "record", "tiny", "--from", str(store.root)) == 0
    assert f"recorded: tiny, pendulum sac base, seed {runs[0].seed}\n" in capsys.readouterr().out
    assert not_recorded(runs) == runs[1:]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["huge"], "no experiment 'huge' in .*; there are: tiny$"),
        (["lqg"], "lqg is of kind lqg_iterations, not training; of that kind there are: tiny$"),
        (["tiny", "environment=ant"], "no run has environment 'ant'; there are: pendulum, hopper$"),
        (["tiny", "environment=hopper", "method=grad"], "no run has method 'grad'; there are: base, caps$"),
        (["tiny", "planet=mars"], "runs have no 'planet'; they have experiment, environment, method, seed, "),
    ],
)
def test_a_wrong_name_ends_in_one_line_with_the_known_ones(runs, tmp_path, monkeypatch, capsys, arguments, message):
    shutil.copy(DATA / "experiments" / "lqg.yaml", tmp_path / "experiments")
    assert run_command(monkeypatch, "train", *arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)


def test_an_experiment_that_no_campaign_has_is_named_with_those_there_are():
    with pytest.raises(ValueError, match="no experiment 'huge' is recorded; there are: (?=.*lqg)(?=.*peer).*published"):
        recording.campaign_of("huge")


def test_every_campaign_knows_its_experiments_runs():
    for entry in recording.campaigns():
        campaign = entry.load()
        for experiment in campaign.experiments:
            assert recording.campaign_of(experiment) is campaign
            assert campaign.runs(experiment) and {run.experiment for run in campaign.runs(experiment)} == {experiment}


def test_a_reader_that_leaves_early_gets_no_traceback():
    reading, writing = os.pipe()
    os.close(reading)  # as `head` does
    command = [sys.executable, "-m", "paperlib.repro", "status"]
    with open(writing, "wb") as gone:
        ended = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, text=True, cwd=DATA.parent, check=False)
    assert (ended.returncode, ended.stderr) == (1, "")


def test_the_status_report_has_the_grid_and_the_hours(runs, store, monkeypatch):
    monkeypatch.setattr(campaign, "EXPERIMENTS", ("tiny",))
    finish(store, runs[0])
    list(record("tiny", store))
    report = campaign.report()
    assert "1 of 2" in report and f"{len(runs) - 1} runs missing: about" in report
