"""LQG with one parameter: tables equal the rules, counts equal the ascent they stand for, limits are kept."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from paperlib.lipschitz import NotAContraction, lqg_experiment
from paperlib.lipschitz.lqg_experiment import load_lqg, run_lqg
from paperlib.lipschitz.simulation.ascent import Ascent, take_step
from paperlib.lipschitz.simulation.domains import LQG
from paperlib.lipschitz.simulation.lqg_iterations import (
    estimated_iterations,
    exact_iterations,
    horizon,
    problem_of,
    tabulate,
)
from paperlib.repro.store import RunStore

DOMAIN = LQG(0.4, discount=0.8, standard_deviation=1.0)


@pytest.mark.parametrize("rule", ["sss_slc", "agss", "largest_guarantee"])
def test_between_points_of_the_table_steps_and_gradients_are_those_of_the_rule(rule):
    table, problem = tabulate(DOMAIN, rule), problem_of(DOMAIN)
    theta = np.random.default_rng(0).uniform(-0.9, 0.4, (50, 1))
    gradient = problem.returns.estimate(theta).gradient
    step = take_step(problem, rule, theta, gradient)
    interpolated = [np.interp(theta[:, 0], table.parameters, v) for v in (table.step_sizes, table.gradients)]
    assert np.allclose(interpolated[0], step.step_size, rtol=1e-5)
    assert np.allclose(interpolated[1], gradient[:, 0], rtol=1e-5, atol=1e-5 * np.abs(gradient).max())


def test_the_count_is_that_of_the_ascent_it_stands_for():
    table, problem = tabulate(DOMAIN, "sss_slc"), problem_of(DOMAIN)
    near = lambda theta: np.abs(theta[:, 0] - table.optimum) <= 0.01  # noqa: E731
    start = table.optimum - 0.012
    ascent = Ascent(problem, "sss_slc", np.array([[start]]), 10_000, record_at=[0], target=near)
    while not ascent.done:
        ascent.advance()
    assert abs(ascent.iteration - exact_iterations(table, start)) <= 1
    assert ascent.iteration > 20


def test_a_start_on_target_needs_no_iteration_and_too_few_are_said_to_be():
    table = tabulate(DOMAIN, "agss")
    assert exact_iterations(table, table.optimum) == 0
    assert exact_iterations(table, -0.5, limit=10) == -1
    arguments = {"episodes": 4, "seed": (0,)}
    assert estimated_iterations(DOMAIN, table, table.optimum, **arguments) == 0
    assert estimated_iterations(DOMAIN, table, -0.5, limit=10, **arguments) == -1


def test_estimated_gradients_lead_to_about_the_exact_count_and_the_same_seed_to_the_same():
    table = tabulate(DOMAIN, "agss")
    exact = exact_iterations(table, -0.5)
    counts = [estimated_iterations(DOMAIN, table, -0.5, episodes=50, seed=(0, run)) for run in (0, 1, 0)]
    assert counts[0] == counts[2] != counts[1]
    assert all(0.8 * exact < count < 1.25 * exact for count in counts)


def test_beyond_the_horizon_lies_the_stated_share():
    for discount in (0.0, 0.5, 0.95):
        assert discount ** horizon(discount) <= 0.01 < (discount ** (horizon(discount) - 1) if discount else 1)


@pytest.mark.parametrize("profile", ["smoke", "quick", "paper"])
def test_every_profile_can_be_loaded(profile):
    cells = load_lqg(profile)
    assert len({cell.label for cell in cells}) == len(cells)
    assert (len(cells), cells[0].runs) == (30, 10) or profile != "paper"


def test_cells_are_run_once_and_are_the_same_side_by_side(tmp_path, monkeypatch):
    cells = load_lqg("smoke")
    alone = run_lqg(cells, RunStore(tmp_path / "alone"))
    for one, other in zip(alone, run_lqg(cells, RunStore(tmp_path / "both"), workers=2), strict=True):
        pd.testing.assert_frame_equal(one.table("runs"), other.table("runs"))
    monkeypatch.setattr(lqg_experiment, "estimated_iterations", None)  # any further run would fail
    assert [r.name for r in run_lqg(cells, RunStore(tmp_path / "alone"))] == [r.name for r in alone]


def test_a_cell_without_a_record_at_the_end_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(lqg_experiment, "_run_cell", lambda cell, store: None)
    with pytest.raises(RuntimeError, match="2 of 2 runs have no record"):
        run_lqg(load_lqg("smoke"), RunStore(tmp_path))


def test_agss_is_cut_off_only_beyond_the_slowest_run_of_the_lipschitz_rule(tmp_path):
    cell = dataclasses.replace(load_lqg("smoke")[0], longest=100)
    runs = run_lqg([cell], RunStore(tmp_path))[0].table("runs")
    lipschitz, agss = (runs[runs["rule"] == rule] for rule in ("sss_slc", "agss"))
    assert (agss["limit"] == int(1.25 * lipschitz["iterations"].max())).all()
    assert (lipschitz["iterations"] > 0).all()


def test_a_cell_without_a_margin_at_the_start_is_refused():
    cell = load_lqg("smoke")[0]
    with pytest.raises(NotAContraction, match="A = 0.9.*start -0.5"):
        lqg_experiment._require_margin(dataclasses.replace(cell, a=0.9))


def test_an_unknown_profile_is_named():
    with pytest.raises(ValueError, match="'huge'"):
        load_lqg("huge")
