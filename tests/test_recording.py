"""Recorded runs: finished ones are kept once, with the networks asked for, and count by cell."""

import shutil

import pandas as pd
import pytest
import yaml

from paperlib.pave import recording
from paperlib.pave.experiments import load_experiment
from paperlib.repro import paths
from paperlib.repro.store import RunStore

DEFINITION = {
    "environments": ["pendulum", "hopper"],
    "algorithms": ["sac"],
    "methods": ["base", "caps"],
    "steps": 100,
    "evaluate_every": 50,
    "evaluation_episodes": 1,
    "final_episodes": 1,
    "checkpoint_every": 50,
    "profiles": {"paper": {"seeds": 2}},
}
PROVENANCE = {"date": "2026-01-01T00:00:00+00:00"}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    published = paths.data_folder() / "published"
    shutil.copytree(published, tmp_path / "published")
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "tiny.yaml").write_text(yaml.safe_dump(DEFINITION))
    monkeypatch.setattr(paths, "data_folder", lambda: tmp_path)
    return load_experiment("tiny", "paper")


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs")


def finish(store, run, **changes):
    table = pd.DataFrame({"episode": [0], "return": [float(run.seed)]})
    spec = run.spec() | changes
    return store.save(spec, {"episodes": table}, provenance=PROVENANCE, files={"networks.pt": b"weights"})


def test_finished_runs_are_recorded_once_with_their_tables(runs, store):
    finish(store, runs[0])
    assert list(recording.record_finished("tiny", store)) == [("pendulum", "sac", "base", runs[0].seed)]
    assert list(recording.record_finished("tiny", store)) == []
    record = recording.recorded("tiny")["pendulum", "sac", "base", runs[0].seed]
    assert record.table("episodes")["return"].item() == runs[0].seed
    assert record.provenance == PROVENANCE


def test_networks_are_kept_of_the_first_seed_of_base_and_pave_only(runs, store):
    for run in runs:
        finish(store, run)
    list(recording.record_finished("tiny", store))
    kept = {cell for cell, record in recording.recorded("tiny").items() if "networks.pt" in record.contents}
    assert kept == {("pendulum", "sac", "base", runs[0].seed)}


def test_a_record_stays_valid_when_the_engine_changes(runs, store):
    finish(store, runs[0], code="an older revision")
    list(recording.record_finished("tiny", store))
    finish(store, runs[0])
    assert list(recording.record_finished("tiny", store)) == []
    assert runs[0] not in recording.not_recorded(runs, "tiny")
    assert len(recording.not_recorded(runs, "tiny")) == len(runs) - 1


def test_the_grid_counts_recorded_runs(runs, store):
    for run in runs[:3]:
        finish(store, run)
    list(recording.record_finished("tiny", store))
    grid = recording.grid("tiny")
    assert grid.loc[("sac", "base"), "pendulum"] == "2 of 2"
    assert grid.loc[("sac", "caps"), "pendulum"] == "1 of 2"
    assert grid.loc[("sac", "caps"), "hopper"] == "0 of 2"
    assert list(grid.columns) == ["pendulum", "hopper"]


def test_without_a_gpu_nothing_is_trained_and_it_is_said_what_it_would_take(runs, store, capsys, monkeypatch):
    monkeypatch.setattr(recording.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(recording, "train", None)  # any training would fail
    recording.train_missing("tiny", store)
    said = capsys.readouterr().out
    assert f"{len(runs)} runs of tiny" in said and "--train pendulum sac base tiny" in said and "not measured" in said
    for run in runs:
        finish(store, run)
    recording.train_missing("tiny", store)
    assert capsys.readouterr().out == ""


def test_with_a_gpu_only_what_is_missing_is_trained(runs, store, monkeypatch):
    trained = []
    monkeypatch.setattr(recording.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(recording, "train", lambda missing, store, workers: trained.extend(missing))
    finish(store, runs[0])
    recording.train_missing("tiny", store)
    assert trained == runs[1:]


def test_hours_count_an_environment_and_algorithm_once(runs):
    assert recording.gpu_hours(runs) == pytest.approx(2 * 100 / recording.AIMED_RATE / 3600)


def test_one_cell_can_be_trained_by_name(runs, store, monkeypatch):
    trained = []
    monkeypatch.setattr(recording, "train", lambda cell, store: trained.extend(cell))
    recording.train_cell("tiny", "hopper", "sac", "caps", store)
    assert {(run.environment, run.method) for run in trained} == {("hopper", "caps")} and len(trained) == 2
    with pytest.raises(ValueError, match="no cell ant sac caps"):
        recording.train_cell("tiny", "ant", "sac", "caps", store)


def test_the_status_report_has_the_grid_and_the_hours(runs, store, monkeypatch):
    monkeypatch.setattr(recording, "EXPERIMENTS", ("tiny",))
    finish(store, runs[0])
    list(recording.record_finished("tiny", store))
    report = recording.status_report()
    assert "1 of 2" in report and f"{len(runs) - 1} runs missing" in report and "GPU hours" in report
