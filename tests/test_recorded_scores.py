"""Scores by cell: recorded runs and printed numbers in one formula, and the verdicts on them."""

from types import SimpleNamespace

import pandas as pd
import pytest
from made_runs import ALL, NONE_RECORDED, SEEDS, record, td3

from paperlib.notebooks.nb07_return_and_smoothness import measures as tables
from paperlib.notebooks.shared.scores import beside_print, decide, difference, of_cells, over_lowest, over_runs, ratio
from paperlib.pave.records import printed_tables
from paperlib.pave.records.printed_tables import METHODS
from paperlib.pave.records.scores import NotRecorded, RecordedRuns


def test_a_cell_counts_with_all_its_seeds_and_what_is_missing_is_named():
    some = RecordedRuns({("ant", "td3", "base", seed): record(seed) for seed in SEEDS[:4]}, SEEDS)
    assert not some.has("ant", "td3", "base") and ALL.has("ant", "td3", "base")
    with pytest.raises(NotRecorded, match="not run at this budget: ant td3 base, walker sac pave"):
        some.require([("walker", "sac", "pave"), ("ant", "td3", "base")])
    assert some.evaluations().empty


def test_a_claim_without_its_runs_gets_the_missing_cells_and_with_them_a_verdict():
    said = []
    notebook = SimpleNamespace(
        not_run=lambda claim, reason: said.append((claim, reason)) or "not run",
        verdict=lambda claim, measured, artefact, **rest: said.append((claim, measured, rest)) or "decided",
    )
    cell = ("walker", "td3", "return")
    assert decide(notebook, "c", "f", tables.best_of_all, NONE_RECORDED, *cell) == "not run"
    assert "walker td3 pave" in said[-1][1]
    assert decide(notebook, "c", "f", tables.best_of_all, ALL, *cell) == "decided"
    assert set(said[-1][1]) == set(METHODS) - {"pave"} and said[-1][2] == {}
    needs_runs = {"corrected": lambda x: td3(NONE_RECORDED, "return")["ant", "base"]}
    assert decide(notebook, "c", "f", abs, -1, **needs_runs) == "not run"
    assert decide(notebook, "c", "f", abs, -1, corrected=lambda x: 2 * x, broken=lambda x: 0) == "decided"
    assert said[-1][1:] == (1, {"corrected": -2, "broken": 0})


def test_recorded_runs_as_printed_give_what_the_printed_numbers_give():
    printed = printed_tables.values(printed_tables.return_and_smoothness(), "smoothness", "td3")
    recorded = td3(ALL, "smoothness")
    for formula, cell in ((ratio, ("ant", "pave", "base")), (difference, ("ant", "pave", "base"))):
        assert formula(recorded, *cell) == pytest.approx(formula(printed, *cell))
    interval = over_lowest(recorded, "ant")
    assert interval["mean"] == pytest.approx(over_lowest(printed, "ant"))
    assert interval["low"] <= interval["mean"] <= interval["high"]
    assert over_runs(printed["ant", "pave"]) == pytest.approx(over_runs(recorded["ant", "pave"])["mean"])


def test_all_cells_that_a_formula_lacks_are_named():
    with pytest.raises(NotRecorded, match="ant td3 base, ant td3 pave"):
        of_cells(td3(NONE_RECORDED, "return"), [("ant", "pave"), ("ant", "base")])


def test_a_printed_cell_without_runs_is_left_open_beside_those_that_have_them():
    printed = {"return": {("ant", "base"): 1.0, ("ant", "other"): 2.0, ("walker", "base"): 3.0}}
    beside = beside_print({"return": td3(ALL, "return")}, printed, "ant")
    assert list(beside) == ["base, return", "other, return"] and beside["other, return"] is None
    assert beside["base, return"]["printed"] == 1.0


def test_a_record_from_before_a_measure_was_kept_is_named_with_what_it_lacks():
    old = SimpleNamespace(table={"geometry": pd.DataFrame({"action_units": ["environment"]})}.__getitem__, contents={})
    runs = RecordedRuns({("ant", "td3", "base", seed): old for seed in SEEDS}, SEEDS)
    with pytest.raises(NotRecorded, match="before pointwise_bound_median was kept, to be run again: ant td3 base"):
        runs.scores("ant", "td3", "base", "pointwise_bound_median")
    with pytest.raises(NotRecorded, match="before policy was kept"):
        runs.scores("ant", "td3", "base", "action_sd_largest")
    with pytest.raises(NotRecorded, match="before visited was kept"):
        runs.visited("ant", "td3", "base")
