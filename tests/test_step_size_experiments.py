"""Step-size experiments: what definitions ask for, what is run, and what bad ones get to hear."""

import gc
import weakref
from functools import partial

import numpy as np
import pandas as pd
import pytest
import yaml

from paperlib.lipschitz import NotAContraction, experiments
from paperlib.lipschitz.experiments import load_step_sizes, run_step_sizes
from paperlib.lipschitz.simulation.ascent import Ascent
from paperlib.repro import paths
from paperlib.repro.store import RunStore

TINY = {
    "kind": "step_sizes",
    "domain": "ship_steering",
    "cells": {"north": {"parameters": {"speed": 0.01, "reference_heading": 1.57}}},
    "rules": ["sss_slc", "agss"],
    "start": 0.0,
    "seed": 3,
    "baseline": "leave_one_out",
    "profiles": {"smoke": {"runs": 2, "episodes": 10, "steps": 5, "iterations": 4, "recorded": 2}},
}


@pytest.fixture
def define(tmp_path, monkeypatch):
    (tmp_path / "experiments").mkdir()
    monkeypatch.setattr(paths, "data_folder", lambda: tmp_path)

    def write(**changes):
        (tmp_path / "experiments" / "tiny.yaml").write_text(yaml.safe_dump(TINY | changes))

    return write


@pytest.mark.parametrize("name", ["mass_spring_damper", "ship_steering"])
@pytest.mark.parametrize("profile", ["smoke", "quick", "paper"])
def test_every_definition_of_the_project_can_be_loaded(name, profile):
    asked = load_step_sizes(name, profile)
    assert {run.rule for run in asked} == set(experiments.RULES)
    runs = {"mass_spring_damper": 100, "ship_steering": 40}[name]
    assert (asked[0].runs, asked[0].episodes) == (runs, 500) or profile != "paper"


def test_a_cell_can_have_a_budget_of_its_own(define):
    define(cells={"north": TINY["cells"]["north"], "long": TINY["cells"]["north"] | {"smoke": {"iterations": 9}}})
    asked = load_step_sizes("tiny", "smoke")
    assert {(run.cell, run.iterations, run.runs) for run in asked} == {("north", 4, 2), ("long", 9, 2)}


def test_runs_are_made_once_and_are_the_same_side_by_side(define, tmp_path, monkeypatch):
    define()
    asked = load_step_sizes("tiny", "smoke")
    alone, together = RunStore(tmp_path / "alone"), RunStore(tmp_path / "together")
    records = run_step_sizes(asked, alone)
    assert [record.spec["rule"] for record in records] == ["sss_slc", "agss"]
    for one, other in zip(records, run_step_sizes(asked, together, workers=2), strict=True):
        for table in ("trace", "curves", "tenths", "runs"):
            pd.testing.assert_frame_equal(one.table(table), other.table(table))
    monkeypatch.setattr(experiments, "ascend", None)  # any further run would fail
    assert [record.name for record in run_step_sizes(asked, alone)] == [record.name for record in records]
    assert not list(tmp_path.glob("alone/unfinished/*/*"))


def test_an_interrupted_run_goes_on_from_its_checkpoint(define, tmp_path, monkeypatch):
    define()
    asked, store = load_step_sizes("tiny", "smoke")[:1], RunStore(tmp_path / "runs")
    whole = run_step_sizes(asked, RunStore(tmp_path / "other"))[0].table("runs")
    advance, starts = Ascent.advance, []

    def interrupted(self):
        if self.iteration == 3:
            raise KeyboardInterrupt
        advance(self)

    def continued(self):
        starts.append(self.iteration)
        advance(self)

    monkeypatch.setattr(experiments, "Ascent", partial(Ascent, save_every=2))
    monkeypatch.setattr(Ascent, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_step_sizes(asked, store)
    monkeypatch.setattr(Ascent, "advance", continued)
    pd.testing.assert_frame_equal(run_step_sizes(asked, store)[0].table("runs"), whole)
    assert starts == [2, 3]  # iterations 0 and 1 came from the checkpoint


def test_an_assumed_constant_replaces_the_derived_one_and_a_metric_all_of_them():
    cells = {run.cell: run.problem() for run in load_step_sizes("mass_spring_damper", "smoke")}
    assert (cells["c1"].mdp.transition, cells["c2"].mdp.transition) == (0.79, 0.91)
    assert cells["c2 weighted"].mdp.transition == pytest.approx(0.91)
    assert cells["c2 weighted"].mdp.reward != cells["c2"].mdp.reward
    assert not np.allclose(cells["c2 weighted"].policy.state_metric, np.eye(2))


BAD = [
    ({"cells": {"fast": {"parameters": {"speed": 0.1, "reference_heading": 0.0}}}}, NotAContraction, "cell fast"),
    ({"cells": {"still": {"parameters": {"speed": 0.0, "reference_heading": 0.0}}}}, ValueError, "speed"),
    ({"rules": ["newton"]}, ValueError, "newton"),
    ({"kind": "training"}, ValueError, "kind training, not step_sizes"),
]


@pytest.mark.parametrize("changes, error, message", BAD)
def test_a_bad_definition_is_an_error_before_anything_is_simulated(define, changes, error, message):
    define(**changes)
    with pytest.raises(error, match=message):
        load_step_sizes("tiny", "smoke")


def test_an_unknown_experiment_or_profile_is_named(define):
    define()
    with pytest.raises(FileNotFoundError, match="'huge'"):
        load_step_sizes("huge", "smoke")
    with pytest.raises(ValueError, match="'paper'.*smoke"):
        load_step_sizes("tiny", "paper")


def test_the_ascent_begins_where_the_definition_says(define, tmp_path):
    define(start=0.1)
    run = load_step_sizes("tiny", "smoke")[0]
    np.testing.assert_array_equal(experiments._ascent(run, tmp_path).theta, np.full((2, 3), 0.1))


def test_rules_of_a_cell_share_their_random_numbers_and_a_finished_cell_keeps_none(define):
    define(cells={"north": TINY["cells"]["north"], "east": {"parameters": {"speed": 0.01, "reference_heading": 0.0}}})
    first, second, other = load_step_sizes("tiny", "smoke")[:3]
    returns = weakref.ref(first.problem().returns)
    assert returns() is not None and second.problem().returns is returns()
    other.problem()
    gc.collect()
    assert returns() is None


def test_a_run_without_a_record_at_the_end_is_an_error(define, tmp_path, monkeypatch):
    define()
    monkeypatch.setattr(experiments, "run_cell", lambda runs, store: None)
    with pytest.raises(RuntimeError, match="2 of 2 runs have no record"):
        run_step_sizes(load_step_sizes("tiny", "smoke"), RunStore(tmp_path))
