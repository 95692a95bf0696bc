"""Notebook 14's room: its ascents, searches and tables give what is known otherwise.

That a wrong formula loses its verdict is checked in the notebook, beside each claim.
"""

import numpy as np
import pandas as pd
import pytest

from paperlib.lipschitz.simulation.exact_lqg import ExactLQG
from paperlib.lipschitz.simulation.lqg_iterations import problem_of
from paperlib.notebooks.nb14_lqg import bias as lqg_bias
from paperlib.notebooks.nb14_lqg import closed_loop as lqg_closed_loop
from paperlib.notebooks.nb14_lqg import gradients as lqg_gradients
from paperlib.notebooks.nb14_lqg import records as lqg_records
from paperlib.notebooks.nb14_lqg import steps as lqg_steps
from paperlib.notebooks.nb14_lqg.steps import domain_of, table_of

FEW = lqg_steps.GRID[4::9]
CELL = (0.4, 0.9, 0.5)
DOMAIN = domain_of(CELL)


def runs_of(rows):
    """A table of runs from (a, gamma, sigma, rule, iterations)."""
    columns = ["a", "discount", "standard_deviation", "rule", "iterations"]
    return pd.DataFrame([(*row[:4], n) for row in rows for n in row[4]], columns=columns).assign(limit=10**9)


RUNS = runs_of([(a, 0.9, s, r, n) for a in (0.1, 0.2, 0.3, 0.4) for s in (0.5, 1.0)
                for r, n in (("sss_slc", [100, 110]), ("agss", [300, 320]))])  # fmt: skip


def test_recorded_runs_are_compared_cell_by_cell():
    ratios = lqg_records.advantage_at_small_a(RUNS)
    assert [ratio["mean"] for ratio in ratios.values()] == pytest.approx([310 / 105] * 4)
    assert all(p["probability"] == 1 for p in lqg_records.probability_of_fewer_iterations(RUNS).values())


def test_runs_must_vary_by_the_estimate_alone():
    exact = {(cell, rule): 5 for cell in lqg_steps.GRID for rule in ("sss_slc", "agss")}
    cells = len(RUNS.groupby(["a", "discount", "standard_deviation"]))
    twice = lqg_records.exact_runs(exact, exact)
    assert lqg_records.spread_failures(RUNS, twice) == {"cases": cells, "failures": 0}
    once_more = lqg_records.exact_runs(exact, {key: 6 for key in exact})
    assert lqg_records.spread_failures(RUNS, once_more) == {"cases": cells, "failures": cells}
    assert lqg_records.spread_failures(RUNS.assign(iterations=7), twice) == {"cases": cells, "failures": cells}


def test_neighbours_differ_in_one_place_by_one_value():
    pairs = lqg_steps.lower_neighbours(2, lqg_steps.SIGMA, lqg_steps.GRID)
    assert len(pairs) == 2 * len(lqg_steps.GRID) / 3
    for lower, cell in pairs:
        assert lower[:2] == cell[:2] and lqg_steps.SIGMA.index(cell[2]) == lqg_steps.SIGMA.index(lower[2]) + 1


def test_a_trajectory_is_the_ascent_that_the_tables_count():
    way = lqg_steps.trajectory(problem_of(DOMAIN), "sss_slc", 3)
    table = table_of(CELL, "sss_slc")
    theta, by_hand = lqg_steps.START, []
    for _ in range(3):
        theta += np.interp(theta, table.parameters, table.step_sizes * table.gradients)
        by_hand.append(theta - lqg_steps.START)
    assert way == pytest.approx(by_hand, rel=1e-4)


def test_the_searched_constants_scale_with_the_problem():
    one, other = (lqg_gradients.searched_constants(domain_of((a, 0.9, 0.5)), -0.3) for a in (0.2, 0.4))
    assert other["L_P"] == pytest.approx(2 * one["L_P"])
    assert {name: other[name] for name in other if name != "L_P"} == {n: v for n, v in one.items() if n != "L_P"}


def test_far_from_the_optimum_and_with_many_episodes_no_update_lowers_the_return():
    assert lqg_gradients.worsened_by_estimate(DOMAIN, [-0.3], episodes=2000, runs=60)["failures"] == 0


def test_the_guarantee_of_agss_is_about_half_of_what_is_realised():
    """By construction, whatever the bound: so this does not measure how loose it is."""
    made = lqg_steps.improvements("agss", FEW, 20)
    ratio = made.guaranteed / made.realised
    assert ratio.min() > 0.49 and ratio.max() < 0.51


def test_the_step_to_the_optimum_is_the_best_step():
    table = table_of(CELL, "agss")
    at_start = lqg_steps.at_start(table)
    own = table.step_sizes[at_start]
    updates = own * table.gradients[at_start] * np.geomspace(1, 1e6, 2000)
    returns = ExactLQG(DOMAIN).score(np.clip(lqg_steps.START + updates, None, 0.5)[:, None])
    best = np.geomspace(1, 1e6, 2000)[np.argmax(returns)]
    assert (table.optimum - lqg_steps.START) / table.gradients[at_start] / own == pytest.approx(best, rel=0.01)


def test_runs_that_were_cut_off_count_their_limit_and_are_refused_where_a_mean_is_asked_for():
    cut = RUNS.assign(iterations=RUNS["iterations"].where(RUNS["rule"] == "sss_slc", -1), limit=200)
    assert all(p["probability"] == 1 for p in lqg_records.probability_of_fewer_iterations(cut).values())
    with pytest.raises(KeyError, match="cut off"):
        lqg_records.advantage_at_small_a(cut)


def test_guarantees_break_more_often_with_fewer_episodes():
    few, many = (lqg_gradients.broken_guarantees(DOMAIN, "sss_slc", -0.5, e, 100) for e in (2, 300))
    assert few["below the guarantee"] > 20 > many["below the guarantee"]


def test_points_of_one_discount_share_random_numbers_and_do_not_disturb_each_other():
    points = [(domain_of((0.1, 0.8, 0.5)), -0.5), (domain_of((0.5, 0.8, 1.0)), -0.3), (domain_of((0.5, 0.0, 1.0)), 0.1)]
    together = lqg_bias.mean_estimates(points, "none", [1000, 500, 500])
    alone = [lqg_bias.mean_estimates([point], "none", n)[0] for point, n in zip(points, (1000, 500, 500), strict=True)]
    assert together == pytest.approx(np.array(alone), rel=1e-12)


def test_the_baseline_of_the_same_episodes_is_biased_and_that_of_the_others_is_not():
    point = domain_of((0.1, 0.8, 0.5)), lqg_steps.START
    exact = ExactLQG(point[0]).estimate(np.array([[point[1]]])).gradient[0, 0]
    off = {}
    for baseline in ("own", "leave_one_out"):
        mean, error = lqg_bias.mean_estimates([point], baseline, 5000)[0]
        off[baseline] = (mean - exact) / error
    assert abs(off["leave_one_out"]) < 4 and off["own"] < -10


def test_a_displaced_zero_is_found_with_its_error():
    offsets = np.linspace(-0.1, 0.1, 9)
    curve = pd.DataFrame({"offset": offsets, "mean": -1.5 * (offsets - 0.02), "error": 0.003})
    zero = lqg_bias.displaced_zero(curve)
    assert zero["mean"] == pytest.approx(0.02)
    assert zero["low"] < 0.02 < zero["high"] and zero["high"] - zero["low"] < 0.01


def test_table_two_is_a_grid_in_which_runs_that_were_cut_off_are_marked():
    stopped = RUNS.assign(limit=200)
    stopped.loc[(stopped["rule"] == "agss") & (stopped["a"] == 0.1), "iterations"] = -1
    exact = {(cell, rule): 12345 for cell in lqg_steps.GRID for rule in ("sss_slc", "agss")}
    table = lqg_records.table_two(stopped, exact).set_index(["gamma", "A"])
    assert list(table.index) == [("0.9", f"{a:g}") for a in (0.1, 0.2, 0.3, 0.4)]
    assert table.loc[("0.9", "0.1"), "sigma = 0.5, AGSS: exact / GPOMDP"] == "12,345 / > 200 (stopped)"
    assert table.loc[("0.9", "0.1"), "sigma = 1, SSS: exact / GPOMDP"].startswith("12,345 / 105 [")
    assert len(lqg_records.columns(stopped, exact)) == 4 * 2 * 2 - 2


def test_the_change_by_reading_is_that_of_each_rule_and_of_their_ratio():
    restricted = {(CELL, "sss_slc"): 100, (CELL, "agss"): 300}
    clipped = {(CELL, "sss_slc"): 50, (CELL, "agss"): 300}
    row = lqg_steps.change_by_reading(restricted, clipped).iloc[0]
    assert (row["Lipschitz rule"], row["AGSS"], row["AGSS / Lipschitz"]) == (0.5, 1.0, 2.0)


@pytest.mark.parametrize("rule", ["sss_slc", "agss"])
def test_both_rules_take_the_same_policy_to_the_same_policy(rule):
    one, twice = (lqg_steps.step_with_scaled_feature(CELL, rule, scale) for scale in (1.0, 2.0))
    table = table_of(CELL, rule)
    assert one == pytest.approx(table.step_sizes[lqg_steps.at_start(table)])
    assert twice == pytest.approx(one / 4)


def test_the_score_of_the_restricted_policy_stays_within_the_constants_and_that_of_unlimited_actions_does_not():
    restricted, unlimited = (domain_of((0.4, 0.9, 1.0), truncated) for truncated in (True, False))
    bound = restricted.policy().constants([0.0]).score_bound[0]
    assert lqg_gradients.largest_drawn_score(restricted, 0.0, 100_000) <= bound
    assert lqg_gradients.largest_drawn_score(unlimited, 0.0, 100_000) > 1.5 * bound
    assert lqg_gradients.searched_constants(restricted, 0.0)["M"] <= bound * (1 + 1e-9)


def test_with_the_closed_loop_constant_the_rule_arrives_where_the_printed_condition_fails():
    cell = (0.9, 0.9, 0.5)
    found = lqg_closed_loop.margins(cell)
    assert found["paper"].min() < 0 < found["closed_loop"].min()
    assert lqg_closed_loop.gains(cell).min() >= 1 - 1e-9 and lqg_closed_loop.gains(cell).max() > 2
    needed = lqg_closed_loop.iterations_from_zero(cell)
    assert needed["paper"] == -1 < needed["with K"]
