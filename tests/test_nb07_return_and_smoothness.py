"""Notebook 07: what is measured of Tables 1 and 2 where cells are complete, what is said where they are not."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from made_runs import (
    ALL,
    AS_PRINTED,
    NONE_RECORDED,
    OF_PAVE,
    PRINTED,
    ROUGH_PAVE,
    SEEDS,
    assert_turned,
    changed,
    printed_value,
    record,
    runs_of,
    td3,
    verdict,
)

from paperlib.notebooks.nb07_return_and_smoothness import episodes as along
from paperlib.notebooks.nb07_return_and_smoothness import measures as tables
from paperlib.notebooks.shared.scores import RecordedScores, over_lowest
from paperlib.pave.engine.checkpoints import TrainedNetworks
from paperlib.pave.engine.evaluation import Episode
from paperlib.pave.figures.recorded import tables_figure
from paperlib.pave.records.printed_tables import ENVIRONMENTS, METHODS
from paperlib.pave.records.scores import NotRecorded, RecordedRuns

MUTATIONS = {
    "table1.td3_return.walker": (
        lambda r: tables.cell_means(r, PRINTED, "td3", "return", "walker"),
        ALL,
        runs_of(changed([("walker", "td3", m) for m in METHODS], **{"return": 1.3})),
    ),
    "table2.sac_smoothness.ant": (
        lambda r: tables.cell_means(r, PRINTED, "sac", "smoothness", "ant"),
        ALL,
        runs_of(changed([("ant", "sac", m) for m in METHODS], smoothness=0.5)),
    ),
    "td3.return_kept.walker": (
        lambda r: tables.return_change(td3(r, "return"), "walker"),
        ALL,
        runs_of(changed(OF_PAVE, **{"return": 0.5})),
    ),
    "td3.smoother_than_base.ant": (
        lambda r: r.below("ant", "td3", "pave", "base", "smoothness"),
        ALL,
        ROUGH_PAVE,
    ),
    "td3.walker_best_return": (
        lambda r: tables.best_of_all(r, "walker", "td3", "return"),
        ALL,
        runs_of(changed(OF_PAVE, **{"return": 0.5})),
    ),
    "td3.walker_smoothest": (lambda r: tables.best_of_all(r, "walker", "td3", "smoothness"), ALL, ROUGH_PAVE),
    "tables.smoothness_wins.td3_hopper": (
        lambda r: over_lowest(td3(r, "smoothness"), "hopper"),
        ALL,
        ROUGH_PAVE,
    ),
    "sac.reacher_actor_side_as_smooth": (
        lambda r: tables.actor_side_over_pave(RecordedScores(r, "sac", "smoothness"), "reacher"),
        ALL,
        runs_of(changed(OF_PAVE, smoothness=0.1)),
    ),
    "sac.pendulum_smoothest": (lambda r: tables.best_of_all(r, "pendulum", "sac", "smoothness"), ALL, ROUGH_PAVE),
    "sac.ant_grad_highest_return": (
        lambda r: tables.best_of_all(r, "ant", "sac", "return", "grad"),
        runs_of(changed([("ant", "sac", "grad")], **{"return": 2.0})),
        runs_of(changed(OF_PAVE, **{"return": 2.0})),
    ),
}


@pytest.mark.parametrize("claim", MUTATIONS)
def test_runs_that_behave_otherwise_turn_the_verdict(claim):
    assert_turned(claim, *MUTATIONS[claim])


def test_spread_over_runs_and_pooled_spread_are_told_apart():
    alike = runs_of({cell: of | {"spread_of_episodes": 70.0} for cell, of in AS_PRINTED.items()})
    printed = PRINTED.assign(return_std=45.0)
    ratios = [tables.ratio_of_spreads(alike, printed, pooled=pooled) for pooled in (False, True)]
    assert ratios[1] == pytest.approx(1.0, abs=0.1) and ratios[0] > 1.5
    with pytest.raises(NotRecorded):
        tables.ratio_of_spreads(NONE_RECORDED, PRINTED, pooled=True)


def test_the_return_of_reacher_alone_falls_in_print():
    words = {e: verdict(f"td3.return_kept.{e}", tables.return_change(td3(ALL, "return"), e)) for e in ENVIRONMENTS}
    assert words.pop("reacher") == "does not hold" and set(words.values()) == {"holds"}


def test_a_recorded_row_decides_its_share_and_the_whole_follows_from_the_parts():
    parts = [verdict(f"td3.return_kept.{e}", tables.return_change(td3(ALL, "return"), e)) for e in ENVIRONMENTS]
    count = {"hold": parts.count("holds"), "fail": parts.count("does not hold"), "undecided": 0, "not_run": 0}
    assert verdict("td3.return_kept", count, count) == "holds, with an exception"
    only_ant = RecordedRuns({c: r for c, r in ALL._records.items() if c[0] == "ant"}, SEEDS)
    assert verdict("td3.return_kept.ant", tables.return_change(td3(only_ant, "return"), "ant")) == "holds"
    with pytest.raises(NotRecorded):
        tables.return_change(td3(only_ant, "return"), "hopper")


def test_cases_that_are_not_recorded_are_left_open():
    without = RecordedRuns({c: r for c, r in ALL._records.items() if c[2] != "caps"}, SEEDS)
    measured = tables.best_of_all(without, "walker", "td3", "return")
    assert measured["caps"] is None and measured["base"] is not None
    assert verdict("td3.walker_best_return", measured) == "not run at this profile"


def test_runs_of_one_seed_share_their_starts_so_that_a_common_shift_is_no_difference():
    shift = {seed: 40.0 * (seed - 3) for seed in SEEDS}
    cells = {}
    for method in METHODS:
        value = printed_value("sac", "pendulum", method, "return")
        for seed in SEEDS:
            made = record(seed, spread=0.0, **{"return": value + shift[seed] + seed % 2, "smoothness": 0.5})
            cells["pendulum", "sac", method, seed] = made
    measured = tables.cell_means(RecordedRuns(cells, SEEDS), PRINTED, "sac", "return", "pendulum")
    assert measured["caps"]["high"] - measured["caps"]["low"] < 1 < measured["base"]["high"] - measured["base"]["low"]
    assert measured["caps"]["printed_error"] < 0.1 * measured["base"]["printed_error"]
    assert verdict("table2.sac_return.pendulum", measured) == "undecided"  # the level is not settled


def test_the_error_of_a_printed_mean_is_that_of_fifty_episodes_unless_runs_differ():
    alike, apart = (
        tables.beside_print(of, PRINTED, ("ant", "td3", "base"), "return")["printed_error"]
        for of in (ALL, runs_of(changed([("ant", "td3", "base")], spread_of_episodes=0.01)))
    )
    assert alike == pytest.approx(printed_value("td3", "ant", "base", "return", "std") / 50**0.5)
    assert apart > 2 * alike


def test_the_table_beside_print_has_a_row_per_printed_cell_and_says_what_is_not_run():
    one_cell = {("pendulum", "sac", "base"): AS_PRINTED["pendulum", "sac", "base"]}
    table = tables.against_print(runs_of(one_cell), PRINTED, "return")
    assert len(table) == len(PRINTED) == 60 and (table["runs"] == "not run").sum() == 59
    assert table.loc[table["runs"] == "5", "rule"].tolist() == ["undecided: +0.0 standard errors"]
    improvement = tables.improvement_over_base(ALL)
    assert len(improvement) == 2 * 4 * 2 * 7


def test_a_method_is_ahead_of_pave_only_in_both_measures():
    of = {m: 1.0 for m in METHODS}
    returns = {("ant", m): value for m, value in (of | {"caps": 2.0, "grad": 2.0}).items()}
    smoothness = {("ant", m): value for m, value in (of | {"caps": 0.5, "asap": 0.5}).items()}
    assert tables.ahead_of_pave(returns, smoothness, "ant") == ["caps"]


def small_and_large(runs):
    """How many panels of the figure of Table 1 and 2 have small titles, and how many large ones."""
    figure = tables_figure(runs, PRINTED, "return", "return")
    sizes = [axes.title.get_fontsize() for axes in figure.get_axes() if axes.get_title()]
    said = [part for part in figure.subfigs if part.get_suptitle()]
    plt.close(figure)
    return sum(size < 10 for size in sizes), sum(size >= 10 for size in sizes), len(said)


def test_what_is_printed_only_is_drawn_small_and_said_once():
    one = runs_of({cell: of for cell, of in AS_PRINTED.items() if cell[:2] == ("pendulum", "sac")})
    assert small_and_large(one) == (11, 1, 1)
    assert small_and_large(ALL) == (0, 12, 0)
    assert small_and_large(NONE_RECORDED) == (12, 0, 1)


def made_bound(**slopes):
    """Runs of SAC on Pendulum whose M_sup and mu are the same numbers in another order; smoothness follows `slopes`."""
    shuffled = dict(zip(METHODS, (3.0, 5.0, 1.0, 4.0, 2.0), strict=True))
    cells = {}
    for k, method in enumerate(METHODS):
        of = {"mixed_hessian_sup": shuffled[method], "curvature_median": k + 1.0}
        score = 10 + sum(slope * of[name] for name, slope in slopes.items())
        cells["pendulum", "sac", method] = of | {"smoothness": score}
    return runs_of(cells)


def test_smoothness_is_said_to_go_with_the_curvature_where_it_does_and_not_where_it_goes_with_the_mixed_hessian():
    with_curvature, with_mixed = made_bound(curvature_median=-1.0), made_bound(mixed_hessian_sup=1.0)
    assert tables.curvature_rather_than_mixed_hessian(with_curvature)["low"] > 0
    assert tables.curvature_rather_than_mixed_hessian(with_mixed)["high"] < 0
    with pytest.raises(NotRecorded):
        tables.curvature_rather_than_mixed_hessian(NONE_RECORDED)


def test_the_smoothest_average_is_sought_among_those_that_keep_the_return():
    table = pd.DataFrame(
        {"weight": [1.0, 0.5, 0.1], "return": [-100.0, -101.5, -103.0], "published score": [0.5, 0.3, 0.1]}
    )
    assert along.smoothest_without_loss(table)["weight"] == 0.5


def networks_and_episode(steps=40):
    """A policy that is steep in one coordinate of the state, a concave critic, and states that drift."""
    actor = torch.nn.Sequential(torch.nn.Linear(3, 1))
    actor[0].weight.data, actor[0].bias.data = torch.tensor([[0.5, 0.0, 0.0]]), torch.zeros(1)

    class Concave(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.size = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))

        def forward(self, x):
            return self.size * (-2 * x[:, 3:] ** 2 + 3 * x[:, :1] * x[:, 3:])

    states = np.cumsum(np.random.default_rng(0).normal(0, 0.1, (steps, 3)), axis=0).astype(np.float32)
    networks = TrainedNetworks(actor, (torch.nn.Sequential(Concave()),), 1, {})
    actions = networks.act(torch.as_tensor(states)).numpy()
    return networks, [Episode(states, actions, 2 * actions, np.zeros(steps))]


def test_the_chain_of_one_action_begins_with_a_bound_that_is_the_greedy_slope():
    table = along.chain(*networks_and_episode())
    assert table["bound"].to_numpy() == pytest.approx(3 / 4) and table["greedy"].to_numpy() == pytest.approx(3 / 4)
    assert (table["actor"] <= 0.5 + 1e-6).all() and (table["followed"] <= 0.5 + 1e-6).all()
    assert (table["moved"] >= 0.01).all() and len(table) <= 39  # the last step has no successor


def test_the_chain_leaves_out_states_that_stand_still_and_actions_at_their_bound():
    networks, (episode,) = networks_and_episode()
    still = Episode(np.ones_like(episode.observations), episode.scaled_actions, *(episode.environment_actions,) * 2)
    assert len(along.chain(networks, [still])) == 0
    at_bound = Episode(episode.observations, np.ones_like(episode.scaled_actions), *(episode.environment_actions,) * 2)
    assert len(along.chain(networks, [at_bound])) == 0


def test_a_link_is_a_rank_correlation_and_none_is_left_when_states_are_paired_at_random():
    table = pd.DataFrame({"greedy": np.linspace(1, 9, 400), "actor": np.exp(np.linspace(1, 9, 400))})
    assert along.rank_correlation({"base": table}, "greedy_to_actor") == {"base": pytest.approx(1.0)}
    assert abs(along.rank_correlation({"base": table}, "greedy_to_actor", shuffled=True)["base"]) < 0.2
