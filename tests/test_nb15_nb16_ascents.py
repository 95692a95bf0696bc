"""Notebooks 15's and 16's measures of recorded runs, on runs made up so that the answer is known."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from paperlib.lipschitz.figures import RULE_LABELS
from paperlib.lipschitz.rules import LIPSCHITZ_RULES
from paperlib.lipschitz.simulation.domains import ShipSteering
from paperlib.notebooks.nb15_mass_spring_damper import records as spring_records
from paperlib.notebooks.nb16_ship_steering import records as ship_records
from paperlib.notebooks.shared import ascent_figures
from paperlib.notebooks.shared import ascents as ascent_records
from paperlib.notebooks.shared.ascents import Ascents
from paperlib.repro import verdicts
from paperlib.repro.checks import judge
from paperlib.repro.claims import load_claims

CLAIMS = load_claims()
RUNS, ITERATIONS = 8, 1000
SPRING_CELLS = ("c1", "c2", "c1, interchanged", "c2, interchanged")
CELLS = (*SPRING_CELLS, "north fast", "north slow", "east fast", "east slow", "east fast, longer")
RANK = {"sss_slc": 1.0, "sss_mlc": 2.0, "mss_mlc": 3.0, "agss": 0.5, "largest_guarantee": 3.0}


def verdict(claim, measured):
    """The verdict where a correction, if the claim has one, fares no better."""
    claim = CLAIMS[claim if claim.startswith("ours.") else f"lip.{claim}"]
    return verdicts.decide(claim, measured, measured if claim.correction else None, "", "smoke").verdict


def record(cell, rule, *, rank=None, speed=1.0, noise=0.02, weights=1.0, spread=0.1, **changed):
    """Scores rise from -8 towards -8 + rank; steps fall as constants rise; L_pi rises at `speed`, first fast."""
    rank = RANK[rule] if rank is None else rank
    generator = np.random.default_rng([CELLS.index(cell), [*RULE_LABELS].index(rule)])
    it = np.r_[0, np.linspace(1, ITERATIONS - 1, 40)]
    part = it / ITERATIONS
    growth = 1 - np.exp(-5 * part)
    shape = {
        "score": -8 + rank * growth,
        "step_size": rank / (1 + 3 * growth) if rule != "agss" else np.full_like(it, 0.5),
        "policy_constant": speed * growth,
        "margin": 0.4 - 0.2 * growth,
        "lipschitz_norm": 1 + 3 * growth,
        "gradient_norm": speed * (1 - 0.5 * growth),
        "theta_0": 2 * part,
        "theta_1": part if rule == "sss_mlc" else 0 * part,
        "step_size_0": 1 + part,
        "realised": 2 + part,
        "guarantee": 1 + part / 2,
    } | changed  # fmt: skip
    curves = pd.concat(
        pd.DataFrame(
            {"iteration": it.astype(int), "quantity": name, "mean": v, "standard_deviation": noise, "runs": RUNS}
        )
        for name, v in shape.items()
    )
    middles = (np.arange(10) + 0.5) / 10
    tenths = pd.DataFrame(
        [
            {"run": run, "tenth": tenth, "violations": 0.0, "first_component": 1.0}
            | {
                name: np.interp(middles[tenth], part, shape[name])
                + (noise * generator.normal() if name == "score" else 0)
                for name in ("score", "step_size", "policy_constant", "margin")
            }
            for run in range(RUNS)
            for tenth in range(10)
        ]
    )
    angle = generator.uniform(0.2, 1.2, 200)
    trace = pd.DataFrame(
        {
            "run": np.arange(200) % RUNS,
            "iteration": np.arange(200),
            "score": 0.0,
            "angle": angle,
            "mss_over_sss_mlc": 1 + angle,
        }
    )
    runs = pd.DataFrame({f"theta_{i}": weights * (1 + spread * generator.normal(size=RUNS)) for i in range(3)}).assign(
        audited=ITERATIONS, violations=2, smallest_surplus=-1e-9, stopped=-1
    )
    tables = {"curves": curves, "tenths": tenths, "trace": trace, "runs": runs}
    spec = {"cell": cell, "rule": rule, "iterations": ITERATIONS, "runs": RUNS, "episodes": 10, "steps": 5}
    return SimpleNamespace(spec=spec, table=tables.__getitem__)


def ascents(**changed):
    """`changed`: arguments of `record` by "cell/rule", "cell/" or "/rule"."""

    def arguments(cell, rule):
        found = {}
        for key in (f"{cell}/", f"/{rule}", f"{cell}/{rule}"):
            found |= changed.get(key, {})
        return found

    pairs = [(c, r) for c in CELLS for r in RULE_LABELS if "interchanged" not in c or r in LIPSCHITZ_RULES]
    return Ascents([record(cell, rule, **arguments(cell, rule)) for cell, rule in pairs])


GOOD = ascents(**{"east slow/": {"speed": 0.5}, "north slow/": {"speed": 0.5}})
SLOW_AGSS = {"north slow/agss": {"rank": 0.1, "speed": 0.5}}
FLAT = np.full(41, 0.3)


def compared(a):
    return spring_records.comparisons(a, ("c1", "c2"), ("sss_mlc", "mss_mlc"), ("sss_slc", "agss"))


CASES = {
    "msd.multiple_constants_outperform": (compared, ascents(**{"c2/mss_mlc": {"rank": 0.2}})),
    "msd.mss_outperforms_sss_mlc": (
        lambda a: {c: ascent_records.better(a, c, "mss_mlc", "sss_mlc") for c in ("c1", "c2")},
        ascents(**{"c1/mss_mlc": {"rank": 1.0}}),
    ),
    "fig2.small_intervals": (
        lambda a: {c: spring_records.half_width_over_range(a, c, "agss") for c in ("c1", "c2")},
        ascents(**{"c2/agss": {"noise": 2.0}}),
    ),
    "ship.first_scenario_is_easier": (ship_records.first_scenario_easier, None),
    "fig4.lipschitz_rules_unaffected_by_speed": (
        ship_records.effect_of_speed,
        ascents(**{"north slow/sss_mlc": {"rank": 0.4}}),
    ),
    "fig4.agss_falls_behind": (ship_records.agss_falls_behind, ascents(**{"north slow/agss": {"rank": 4.0}})),
    "fig4.smaller_gradients_at_low_speed": (ship_records.gradients_at_low_speed, ascents()),
    "fig4.agss_slowed_by_transition_model": (ship_records.agss_slowed, ascents()),
    "fig4.gap_grows_with_smoothness": (ship_records.gap_grows, ascents(**{"north slow/agss": {"rank": 2.5}})),
    "fig5.first_component_dominates": (lambda a: ship_records.first_component_share(a, "east fast"), None),
    "fig5.policy_constant_rises": (
        lambda a: ship_records.by_rule(ship_records.rank_correlation_with_iteration, a, "east fast", "policy_constant"),
        ascents(**{"east fast/sss_slc": {"speed": -1.0}}),
    ),
    "fig5.margin_falls": (
        lambda a: ship_records.by_rule(ship_records.last_over_first, a, "east fast", "margin"),
        ascents(**{"east fast/mss_mlc": {"margin": FLAT}}),
    ),
    "fig5.high_rate_of_constant": (
        lambda a: ship_records.by_rule(ship_records.share_of_rise_in_first_quarter, a, "east fast"),
        ascents(**{"east fast/mss_mlc": {"policy_constant": np.linspace(0, 1, 41)}}),
    ),
    "fig5.high_rate_of_constant_in_longer_runs": (
        lambda a: ship_records.by_rule(ship_records.share_of_rise_in_first_quarter, a, "east fast, longer"),
        ascents(**{"east fast, longer/sss_slc": {"policy_constant": np.linspace(0, 1, 41)}}),
    ),
    "msd.agss_similar_to_slc_in_c2": (
        lambda a: spring_records.either_over_the_other(a, "c2", "agss", "sss_slc"),
        ascents(**{"c2/agss": {"rank": 0.5}}),
    ),
    "ours.ship.mss_leaves_a_parameter": (
        lambda a: {c: ship_records.share_of_the_second_parameter(a, c) for c in ("east fast", "east fast, longer")},
        ascents(**{"east fast, longer/mss_mlc": {"theta_1": np.linspace(0, 1, 41)}}),
    ),
    "fig5.step_falls_as_constants_rise": (
        lambda a: ship_records.by_rule(ship_records.slope_of_step_on_constants, a, "east fast"),
        ascents(**{"east fast/mss_mlc": {"step_size": FLAT}}),
    ),
    "fig5.agss_best_at_high_speed": (
        lambda a: ship_records.agss_ends_higher(a, "east fast"),
        None,
    ),
    "fig5.larger_steps_at_low_speed": (ship_records.early_steps_at_low_speed, ascents()),
    "fig5.lipschitz_rules_win_at_low_speed": (
        lambda a: ship_records.lipschitz_beats_agss(a, "east slow"),
        ascents(**{"east slow/agss": {"rank": 2.0}}),
    ),
    "fig5.policy_constant_rises_more_slowly": (ship_records.rise_at_low_speed, ascents()),
    "fig5.agss_step_is_constant": (
        ship_records.variation_of_agss_step,
        ascents(**{"east slow/agss": {"step_size": np.linspace(1, 2, 41)}}),
    ),
    "fig5.agss_step_unchanged_by_speed": (
        ship_records.agss_step_at_low_speed,
        ascents(**{"east slow/agss": {"step_size": np.full(41, 0.7)}}),
    ),
}

RIGHT = {
    "ship.first_scenario_is_easier": ascents(**{"east fast/": {"rank": 0.2}, "east slow/": {"rank": 0.2}}),
    "fig5.agss_best_at_high_speed": ascents(**{"east fast/agss": {"rank": 5.0}}),
    "fig5.larger_steps_at_low_speed": ascents(**{"east slow/": {"rank": 4.0}}),
    "msd.agss_similar_to_slc_in_c2": ascents(**{"c2/agss": {"rank": 1.1}}),
    "fig4.agss_slowed_by_transition_model": ascents(**SLOW_AGSS),
    "fig4.gap_grows_with_smoothness": ascents(**SLOW_AGSS),
}
WRONG = {
    "ship.first_scenario_is_easier": RIGHT["fig5.larger_steps_at_low_speed"],
    "fig5.agss_best_at_high_speed": GOOD,
}


@pytest.mark.parametrize("claim", [name for name in CASES if name != "fig5.first_component_dominates"])
def test_runs_that_behave_otherwise_turn_the_verdict(claim):
    measure, wrong = CASES[claim]
    assert verdict(claim, measure(RIGHT.get(claim, GOOD))) == "holds"
    assert verdict(claim, measure(WRONG.get(claim, wrong))) == "does not hold"


def test_the_share_of_the_first_component_is_that_of_the_first_tenth():
    assert verdict("fig5.first_component_dominates", ship_records.first_component_share(GOOD, "east fast")) == "holds"
    table = GOOD.table("tenths", "east fast", "sss_slc")
    table.loc[table["tenth"] == 0, "first_component"] = 0.5
    assert ship_records.first_component_share(GOOD, "east fast")["SSS-SLC"] == 0.5
    table.loc[table["tenth"] == 0, "first_component"] = 1.0


def test_a_final_policy_that_turns_about_is_not_smooth():
    ship = ShipSteering(speed=0.01, reference_heading=0.0)
    for weights, spread, expected in ((1.0, 0.1, "holds"), (500.0, 10.0, "does not hold")):
        runs = ascents(**{"east fast, longer/": {"weights": weights, "spread": spread}})
        changes = {
            f"{length}, {kind}": change
            for length, cell in (("10,000", "east fast"), ("40,000", "east fast, longer"))
            for kind, change in ship_records.heading_changes(runs, cell, "agss", ship).items()
        }
        assert verdict("fig5.final_policy_is_smooth", changes) == expected


def test_the_correlation_is_that_of_angle_and_advantage():
    found = {cell: spring_records.angle_and_advantage_correlation(GOOD, cell) for cell in ("c1", "c2")}
    assert found["c1"] == pytest.approx({"mean": 1.0, "low": 1.0, "high": 1.0})
    assert verdict("msd.mss_advantage_and_angle", found) == "holds"


def test_runs_of_opposite_correlation_leave_it_undecided():
    table = record("c1", "mss_mlc").table("trace")
    falls = table["run"] >= RUNS // 4
    table["mss_over_sss_mlc"] = table["mss_over_sss_mlc"].where(~falls, 3 - table["angle"])
    mixed = SimpleNamespace(spec={"cell": "c1", "rule": "mss_mlc"}, table={"trace": table}.__getitem__)
    found = spring_records.angle_and_advantage_correlation(Ascents([mixed]), "c1")
    assert found["high"] - found["low"] > 0.5


def test_one_speed_over_the_other_is_never_below_one():
    halved = ascents(**{"north slow/": {"rank": 0.7}, "north fast/": {"rank": 1.4}})
    other = ascents(**{"north slow/": {"rank": 1.4}, "north fast/": {"rank": 0.7}})
    for runs in (halved, other):
        effects = ship_records.effect_of_speed(runs)
        assert effects["MSS-MLC, improvement"]["mean"] == pytest.approx(2, rel=0.05)
        assert effects["MSS-MLC, time"]["mean"] == pytest.approx(1, rel=0.1)
    assert verdict("fig4.lipschitz_rules_unaffected_by_speed", {"x": {"mean": 2.5, "low": 2.4, "high": 2.6}}) == (
        "does not hold"
    )


def test_the_time_to_ninety_percent_is_that_of_the_curve():
    exact = -np.log(1 - 0.9 * (1 - np.exp(-4.75))) / 5 * ITERATIONS
    assert ship_records.updates_to_share(GOOD, "north fast", "mss_mlc").mean() == pytest.approx(exact, rel=0.1)


def test_the_audit_counts_updates_of_all_runs():
    audit = GOOD.total_updates("c1").set_index("rule")
    assert (audit["updates audited"] == RUNS * ITERATIONS).all() and (audit["below the guarantee"] == 2 * RUNS).all()


def test_scores_made_again_are_compared_where_both_were_kept():
    again = record("c1", "agss")
    again.table("trace")["score"] += [0.0] * 199 + [1.0]
    assert ascent_records.made_again([record("c1", "agss")], [again]) == {"scores": 200, "differ": 1}


def test_the_larger_guarantee_is_shown_only_where_one_of_its_curves_leaves_those_of_mss_mlc():
    assert ascent_records.distinct_rules(GOOD, "c2") == ["sss_slc", "sss_mlc", "mss_mlc", "agss"]
    apart = ascents(**{"c2/largest_guarantee": {"margin": np.linspace(0.4, 0.1, 41)}})
    assert ascent_records.distinct_rules(apart, "c1") == ["sss_slc", "sss_mlc", "mss_mlc", "agss"]
    assert ascent_records.distinct_rules(apart, "c2") == [*RULE_LABELS]


def test_only_rules_that_were_run_on_a_cell_are_shown():
    assert ascent_records.distinct_rules(GOOD, "c1, interchanged") == ["sss_slc", "sss_mlc", "mss_mlc"]


def test_mss_mlc_is_drawn_above_the_other_rules_of_the_paper():
    assert ascent_figures.layer("mss_mlc") > max(map(ascent_figures.layer, ("sss_slc", "sss_mlc", "agss")))


def test_iterations_that_follow_at_once_are_drawn_once():
    curve = pd.DataFrame({"iteration": [0, 1, 2, 400, 499, 500, 501, 600, 1000], "mean": range(9)})
    assert ascent_figures.spaced(curve)["iteration"].tolist() == [0, 400, 499, 600, 1000]


def test_agss_made_the_same_runs_in_both_readings_and_the_other_rules_did_not():
    runs = ascents(**{"c1, interchanged/sss_slc": {"rank": 0.2}})
    other = spring_records.interchanged(runs)
    assert other.rules("c1") == ["sss_slc", "sss_mlc", "mss_mlc", "agss"]
    assert np.array_equal(other.per_run("c1", "agss", "score"), runs.per_run("c1", "agss", "score"))
    assert other.per_run("c1", "sss_slc", "score").mean() < runs.per_run("c1", "sss_slc", "score").mean() - 0.3


AS_THE_PROSE_HAS_IT = {
    "c1, interchanged/sss_slc": {"rank": 0.3},
    "c2, interchanged/sss_slc": {"rank": 0.55},
}


@pytest.mark.parametrize("claim", ["msd.agss_faster_than_slc_in_c1", "ours.msd.constants_interchanged"])
def test_four_sentences_that_come_true_together_say_that_the_constants_are_interchanged(claim):
    assert sum(satisfied(ascents(**AS_THE_PROSE_HAS_IT)).values()) == 4
    assert sum(satisfied(GOOD).values()) == 2  # SSS-SLC ahead of AGSS: neither faster in c1, nor similar in c2
    ledger = CLAIMS[claim if claim.startswith("ours.") else f"lip.{claim}"]
    rule = ledger.correction.rule if ledger.correction else ledger.rule
    assert [judge(rule.check, rule.parameters, number).result for number in (4, 3)] == ["passes", "fails"]


def satisfied(runs):
    found = spring_records.sentences(spring_records.interchanged(runs), {"c1": 0.91, "c2": 0.79})
    return {claim: spring_records.satisfies(claim, measured) for claim, measured in found.items()}


def test_in_words_a_sentence_is_shown_by_the_case_that_does_least_for_it():
    probabilities = {
        "a": {"probability": 0.9, "low": 0.8, "high": 1.0},
        "b": {"probability": 0.6, "low": 0.4, "high": 0.7},
    }
    ratios = {"a": {"mean": 1.0, "low": 0.9, "high": 1.1}, "b": {"mean": 1.4, "low": 1.3, "high": 1.5}}
    assert spring_records.in_words(probabilities) == "0.600 [0.400, 0.700]"
    assert spring_records.in_words(ratios) == "1.400 [1.300, 1.500]"
    assert spring_records.in_words(-0.12) == "-0.12"


def test_the_share_of_the_attainable_is_one_at_the_best_score_and_wider_with_its_error():
    end = GOOD.per_run("c1", "mss_mlc", "score", [9]).mean()
    exact, rough = (ascent_records.share_of_attainable(GOOD, "c1", "mss_mlc", end, e) for e in (0.0, 0.3))
    assert exact["mean"] == pytest.approx(1) and exact["high"] - exact["low"] < 0.05
    assert rough["mean"] - rough["low"] > 0.1
    half = ascent_records.share_of_attainable(GOOD, "c1", "mss_mlc", end + (end + 8))
    assert half["mean"] == pytest.approx(0.5)
    nothing_left = {"mean": 1 - exact["mean"], "low": 1 - exact["high"], "high": 1 - exact["low"]}
    assert verdict("ours.msd.return_left_unreached", {"c1": nothing_left}) == "does not hold"


def test_a_mean_is_written_to_the_second_digit_of_its_error():
    values = -6.56038 + 0.0012 * np.array([-1.0, 1.0, -1.0, 1.0])
    assert ascent_records.with_error(values) == "-6.56038 ± 0.00069"
    assert ascent_records.with_error(np.array([100.0, 140.0, 120.0])) == "120 ± 12"


def test_the_audit_says_how_much_more_is_realised_than_guaranteed():
    assert GOOD.total_updates("c1")["realised over guaranteed"].to_numpy() == pytest.approx(2.0)
